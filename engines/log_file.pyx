"""A text file that the loop appends to: lines are made in memory and written out when the buffer is full."""

import os

from libc.errno cimport EINTR, errno as c_errno
from libc.stdlib cimport free, malloc
from posix.unistd cimport close, write


cdef int log_file_open(log_file *self, path, bint appends) except -1:
    """Create or empty the file; `appends` keeps what it holds. Raises OSError or MemoryError."""
    self.error = 0
    self.lost_bytes = 0
    self.used = 0
    self.fd = -1
    self.buffer = <char *>malloc(LOG_BUFFER_BYTES)
    if self.buffer == NULL:
        raise MemoryError
    # Whole lines go out in each write, so that jobs which share a file do not cut each other's.
    kept = os.O_APPEND if appends else os.O_TRUNC
    self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | kept, 0o644)
    return 0


cdef void log_file_flush(log_file *self) noexcept nogil:
    log_file_write(self, self.buffer, self.used)
    self.used = 0


cdef void log_file_write(log_file *self, const char *text, uint64_t length) noexcept nogil:
    """Write past the buffer. After an error nothing more is written: a gap in the middle would not be seen."""
    cdef ssize_t done
    while length and not self.error:
        done = write(self.fd, text, length)
        if done >= 0:
            text += done
            length -= <uint64_t>done
        elif c_errno != EINTR:
            self.error = c_errno
    self.lost_bytes += length


cdef void log_file_close(log_file *self) noexcept nogil:
    if self.buffer != NULL and self.fd >= 0:
        log_file_flush(self)
        close(self.fd)
    self.fd = -1
    free(self.buffer)
    self.buffer = NULL


cdef log_file_note(const log_file *self, path):
    """What people should know of the file: that it could not be written to its end; otherwise None."""
    if not self.error:
        return None
    return f"{path}: {os.strerror(self.error)}; the last {self.lost_bytes} bytes of the log were lost"
