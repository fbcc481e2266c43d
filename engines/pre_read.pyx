"""Read a job's targets once before it starts, so that it finds them in the page cache."""

import errno
import os

from libc.errno cimport EINTR, EIO
from libc.errno cimport errno as c_errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free
from posix.stdlib cimport posix_memalign
from posix.unistd cimport pread

from iovigil.engines.clock cimport now_ns
from iovigil.engines.io_u cimport READ
from iovigil.engines.latency cimport slot_add, slot_get, slot_set
from iovigil.engines.stats cimport ERRNO_COUNT, RunState, StatsPage, stats_page

cdef enum:
    CHUNK = 1 << 20
    PAGE_BYTES = 4096


cdef int read_region(stats_page *page, char *buffer, int fd, uint64_t *at, uint64_t end) noexcept nogil:
    """Read up to `end`; 0, or an errno of the read at `at`."""
    cdef int64_t got
    while at[0] < end and not slot_get(&page.stop):
        slot_set(&page.inflight_ns[0], now_ns(&page.clock))  # a read that never returns is seen to be old
        got = pread(fd, buffer, min(end - at[0], <uint64_t>CHUNK), <int64_t>at[0])
        if got < 0:
            if c_errno != EINTR:
                return c_errno
        elif got == 0:
            return EIO  # the target ends before its region does
        else:
            at[0] += <uint64_t>got
    return 0


def pre_read(StatsPage page not None, regions):
    """Read each (descriptor, end, start, length) from end to end, or until the stop word.

    Returns whether all could be read; if not, the page holds the error and the job is over.
    """
    cdef void *buffer = NULL
    cdef uint64_t at, end
    cdef int fd, error = posix_memalign(&buffer, PAGE_BYTES, CHUNK)
    if error:
        raise MemoryError
    page.state = RunState.PRE_READING
    try:
        for fd, limit, start, length in regions:
            at = start
            # A job that fills its target has a region without an end.
            end = min(start + length, limit) if limit else start + length
            if fd < 0:
                continue
            with nogil:
                error = read_region(page.page, <char *>buffer, fd, &at, end)
                slot_set(&page.page.inflight_ns[0], 0)
            if error:
                fail(page, error, at)
                return False
    finally:
        free(buffer)
    return True


cdef fail(StatsPage page, int error, uint64_t at):
    slot_add(&page.page.errors[<int>READ][error if error < <int>ERRNO_COUNT else 0], 1)
    slot_add(&page.page.total_errors, 1)
    page.page.error = error
    page.text = f"pre_read at offset {at}: {os.strerror(error)} ({errno.errorcode.get(error, error)})"
    slot_set(&page.page.is_complete, 1)
    page.state = RunState.EXITED
