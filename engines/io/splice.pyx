"""splice: pages go between the file and a pipe, and between the pipe and the buffer."""

import os

from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint64_t
from posix.unistd cimport close as close_fd, read

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, READ, WRITE, QueueStatus, io_u

cdef extern from "<fcntl.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    int F_SETPIPE_SZ
    int O_CLOEXEC
    int fcntl(int fd, int command, ...)
    int pipe2(int *fds, int flags)
    unsigned SPLICE_F_NONBLOCK
    ssize_t splice(int source, int64_t *source_offset, int to, int64_t *to_offset, size_t length, unsigned flags)
    ssize_t vmsplice(int fd, const iovec *iov, size_t count, unsigned flags)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    PIPE_BYTES = 1 << 20  # what a process without privileges may have
    DEFAULT_PIPE_BYTES = 1 << 16


cdef class Engine(IoEngine):
    cdef int pipe[2]
    cdef uint64_t pipe_bytes
    cdef int error  # errno of the I/O at hand

    def __cinit__(self, *_arguments):
        self.pipe[0] = self.pipe[1] = -1

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef int error
        if -1 in self.targets.fds:
            raise OSError("ioengine=splice needs a file or a device: set filename")
        error = self.renew_pipe()
        if error:
            raise OSError(-error, os.strerror(-error), "pipe")
        if self.pipe_bytes < buffers_size and self.pipe_bytes < PIPE_BYTES:
            self.notes.append(f"splice: the pipe stays at {self.pipe_bytes >> 10} KiB: more system calls per I/O "
                              "(see /proc/sys/fs/pipe-max-size and pipe-user-pages-soft)")
        return 0

    cdef int renew_pipe(self) noexcept nogil:
        """An empty pipe, as long as is allowed; 0 or -errno."""
        cdef int size
        self.close_pipe()
        if pipe2(self.pipe, O_CLOEXEC):
            self.pipe[0] = self.pipe[1] = -1
            return -errno
        size = fcntl(self.pipe[1], F_SETPIPE_SZ, <int>PIPE_BYTES)
        self.pipe_bytes = <uint64_t>size if size > 0 else DEFAULT_PIPE_BYTES
        return 0

    cdef void close_pipe(self) noexcept nogil:
        cdef int end
        for end in range(2):
            if self.pipe[end] >= 0:
                close_fd(self.pipe[end])
                self.pipe[end] = -1

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef uint64_t done = 0
        cdef int64_t moved
        if io.ddir > WRITE:
            io.result = self.change(io)
            return COMPLETED
        self.error = 0
        while done < io.length:
            moved = self.read_some(io, done) if io.ddir == READ else self.write_some(io, done)
            done += <uint64_t>moved
            if self.error or not moved:
                break
        # After some bytes an error is met again by the rest, which is then offered by itself.
        io.result = <int64_t>done if done else -self.error
        if self.error:
            self.renew_pipe()  # what was left in it belongs to no other I/O
        return COMPLETED

    cdef int64_t read_some(self, io_u *io, uint64_t done) noexcept nogil:
        """As much as the pipe holds: bytes, 0 at the end of the file or after an error."""
        cdef int64_t offset = <int64_t>(io.offset + done), in_pipe, got = 0, count
        while True:
            in_pipe = splice(self.files[io.file].fd, &offset, self.pipe[1], NULL,
                             min(io.length - done, self.pipe_bytes), 0)
            if in_pipe >= 0:
                break
            if errno != EINTR:
                self.error = errno
                return 0
        while got < in_pipe:
            # A page that the disk failed to deliver is an error here, not above.
            count = read(self.pipe[0], io.buf + done + got, <size_t>(in_pipe - got))
            if count > 0:
                got += count
            elif count == 0 or errno != EINTR:
                self.error = errno if count else EIO
                break
        return got

    cdef int64_t write_some(self, io_u *io, uint64_t done) noexcept nogil:
        """As much as the pipe takes: bytes that are in the file; after an error those before it."""
        cdef int64_t offset = <int64_t>(io.offset + done), in_pipe, put = 0, count
        cdef iovec rest
        rest.iov_base = io.buf + done
        rest.iov_len = <size_t>(io.length - done)
        while True:
            # The pipe is empty: nonblocking it takes what it can hold, and does not wait to take all.
            in_pipe = vmsplice(self.pipe[1], &rest, 1, SPLICE_F_NONBLOCK)
            if in_pipe >= 0:
                break
            if errno != EINTR:
                self.error = errno
                return 0
        while put < in_pipe:
            count = splice(self.pipe[0], NULL, self.files[io.file].fd, &offset, <size_t>(in_pipe - put), 0)
            if count > 0:
                put += count
            elif count == 0 or errno != EINTR:
                self.error = errno if count else EIO
                break
        return put

    cdef void close(self) noexcept:
        self.close_pipe()
