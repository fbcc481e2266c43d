# A text file that the loop appends to: lines are made in memory and written out when the buffer is full.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef enum:
    LOG_BUFFER_BYTES = 1 << 18
    NUMBER_BYTES = 20  # digits of 2^64 - 1


cdef struct log_file:
    int fd  # -1: not wanted
    int error  # errno of the first write that failed; nothing is written after it
    uint64_t lost_bytes
    uint64_t used
    char *buffer


cdef int log_file_open(log_file *self, path, bint appends) except -1
cdef void log_file_flush(log_file *self) noexcept nogil
cdef void log_file_write(log_file *self, const char *text, uint64_t length) noexcept nogil
cdef void log_file_close(log_file *self) noexcept nogil
cdef log_file_note(const log_file *self, path)

cdef extern from * nogil:
    """
    static const char iovigil_digits[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
        "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
        "9899";

    /* Two digits at a time: printf would cost more than the I/O that the line is about. */
    static inline char *iovigil_put_number(char *at, uint64_t value) {
        char text[20], *first = text + sizeof text;
        while (value >= 100) {
            first -= 2;
            memcpy(first, iovigil_digits + 2 * (value % 100), 2);
            value /= 100;
        }
        if (value >= 10) {
            first -= 2;
            memcpy(first, iovigil_digits + 2 * value, 2);
        } else {
            *--first = (char)('0' + value);
        }
        memcpy(at, first, (size_t)(text + sizeof text - first));
        return at + (text + sizeof text - first);
    }
    """
    char *put_number "iovigil_put_number" (char *at, uint64_t value) noexcept


cdef inline char *put_text(char *at, const char *text, uint64_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length


cdef inline char *log_file_line(log_file *self, uint64_t most) noexcept nogil:
    """Where a line of at most so many bytes, fewer than the buffer has, may be made; `log_file_end` then keeps it."""
    if self.used + most > <uint64_t>LOG_BUFFER_BYTES:
        log_file_flush(self)
    return self.buffer + self.used


cdef inline void log_file_end(log_file *self, const char *end) noexcept nogil:
    self.used = <uint64_t>(end - self.buffer)
