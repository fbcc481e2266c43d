"""The exit statuses by which a child tells its agent why it ended."""

OK = 0
JOB_FAILED = 1  # the stats page says how: errno, mismatches, text
SETUP_FAILED = 2  # nothing was measured: bad options, no memory
TARGET_REFUSED = 3  # the guard did not admit the target
ENGINE_UNAVAILABLE = 4  # this host does not allow the I/O engine; another may do
TARGET_FAILED = 5  # the target was admitted but could not be opened or laid out
ASLEEP = 6  # nothing was begun: the disk is in standby, and is not to be woken
TARGET_GONE = 7  # what was to be opened was removed, or the server of its file system has died
