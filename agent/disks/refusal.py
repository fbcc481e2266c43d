"""Why a target was not admitted."""

# The modules that run before a child's exec (this one, footer, layout, guard) import nothing heavier than `os`:
# their start-up time is paid at every run. sysfs, mounts and claims hold to it too, for the guard is to use them.


class Refused(Exception):
    """The target is not admitted; the text says why, and what to do."""
