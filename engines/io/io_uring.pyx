# distutils: libraries = uring
"""io_uring: submit and wait in one system call, with registered buffers, file and ring where the host allows."""

import os

from cpython.array cimport array
from libc.errno cimport EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, ETIME
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport BUSY, COMPLETED, DATASYNC, QUEUED, READ, TRIM, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

from iovigil.engines.io.base import EngineUnavailable

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<liburing.h>" nogil:
    """
    /* Linux 6.1; headers of Debian 12 have it, older ones do not. */
    #ifndef IORING_SETUP_DEFER_TASKRUN
    #define IORING_SETUP_DEFER_TASKRUN (1U << 13)
    #endif
    #ifndef IORING_SETUP_SINGLE_ISSUER
    #define IORING_SETUP_SINGLE_ISSUER (1U << 12)
    #endif
    """
    unsigned IORING_SETUP_COOP_TASKRUN
    unsigned IORING_SETUP_SINGLE_ISSUER
    unsigned IORING_SETUP_DEFER_TASKRUN
    unsigned IORING_FSYNC_DATASYNC
    unsigned IOSQE_FIXED_FILE

    ctypedef struct kernel_timespec "struct __kernel_timespec":
        int64_t tv_sec
        long long tv_nsec

    struct io_uring_sqe:
        pass

    struct io_uring_cqe:
        uint64_t user_data
        int32_t res

    struct io_uring_params:
        uint32_t cq_entries
        uint32_t flags

    struct io_uring:
        pass

    int io_uring_queue_init_params(unsigned entries, io_uring *ring, io_uring_params *params)
    void io_uring_queue_exit(io_uring *ring)
    int io_uring_register_buffers(io_uring *ring, const iovec *iovecs, unsigned nr_iovecs)
    int io_uring_register_files(io_uring *ring, const int *files, unsigned nr_files)
    int io_uring_register_ring_fd(io_uring *ring)
    io_uring_sqe *io_uring_get_sqe(io_uring *ring)
    void io_uring_sqe_set_data(io_uring_sqe *sqe, void *data)
    void io_uring_sqe_set_flags(io_uring_sqe *sqe, unsigned flags)
    void io_uring_prep_read(io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, uint64_t offset)
    void io_uring_prep_write(io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, uint64_t offset)
    void io_uring_prep_read_fixed(io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, uint64_t offset, int index)
    void io_uring_prep_write_fixed(io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, uint64_t offset,
                                   int index)
    void io_uring_prep_fsync(io_uring_sqe *sqe, int fd, unsigned flags)
    void io_uring_prep_cancel(io_uring_sqe *sqe, void *user_data, int flags)
    int io_uring_submit(io_uring *ring)
    int io_uring_submit_and_wait(io_uring *ring, unsigned wait_nr)
    int io_uring_submit_and_wait_timeout(io_uring *ring, io_uring_cqe **cqe, unsigned wait_nr,
                                         kernel_timespec *timeout, void *sigmask)
    unsigned io_uring_cq_ready(const io_uring *ring)
    unsigned io_uring_peek_batch_cqe(io_uring *ring, io_uring_cqe **cqes, unsigned count)
    void io_uring_cq_advance(io_uring *ring, unsigned count)

cdef enum:
    # On a saturated disk the queue must not run empty while completions are worked off:
    # take a few, refill, and take all only when all have come (then the CPU is the bottleneck). With 4
    # a disk that makes 100,000 reads a second at depth 32 makes as many as with fio, with 8 it loses 5 %.
    REAP_SOME = 4


cdef class Engine(IoEngine):
    cdef io_uring ring
    cdef bint is_open
    cdef bint has_fixed_buffers
    cdef unsigned file_flags
    cdef bint has_fixed_files
    cdef uint32_t in_flight
    cdef io_uring_cqe **completions
    cdef uint32_t completions_size  # as many as the ring can hold, answers to cancellations among them

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = False

    def __dealloc__(self):
        free(self.completions)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef io_uring_params params
        cdef iovec whole
        cdef unsigned flags
        cdef int error = -EINVAL
        cdef array fds
        # Each kernel takes the best set that it knows: DEFER_TASKRUN came with 6.1, COOP_TASKRUN with 5.19.
        for flags in (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0):
            memset(&params, 0, sizeof(params))
            params.flags = flags
            error = io_uring_queue_init_params(self.iodepth, &self.ring, &params)
            if error != -EINVAL:
                break
        if error:
            raise EngineUnavailable(-error, os.strerror(-error), "io_uring")
        self.is_open = True
        self.completions_size = params.cq_entries
        self.completions = <io_uring_cqe **>calloc(params.cq_entries, sizeof(io_uring_cqe *))
        if self.completions == NULL:
            raise MemoryError
        if not flags & IORING_SETUP_DEFER_TASKRUN:
            self.notes.append("io_uring: this kernel has no DEFER_TASKRUN; more CPU time per I/O")

        whole.iov_base = buffers
        whole.iov_len = buffers_size
        error = io_uring_register_buffers(&self.ring, &whole, 1)
        self.has_fixed_buffers = not error
        if error:
            hint = "; raise RLIMIT_MEMLOCK" if error == -ENOMEM else ""
            self.notes.append(f"io_uring: buffers not registered: {os.strerror(-error)}{hint}")
        fds = array("i", self.targets.fds)
        error = io_uring_register_files(&self.ring, fds.data.as_ints, self.targets.count)
        self.has_fixed_files = not error
        self.file_flags = 0 if error else IOSQE_FIXED_FILE
        if error:
            self.notes.append(f"io_uring: file not registered: {os.strerror(-error)}")
        io_uring_register_ring_fd(&self.ring)  # only a saving; older kernels do without
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef io_uring_sqe *sqe
        cdef int target
        if io.ddir == TRIM:
            # Linux has a command for devices since 6.12; the plain call does on all.
            io.result = self.change(io)
            return COMPLETED
        sqe = io_uring_get_sqe(&self.ring)
        if sqe == NULL:
            return BUSY
        target = io.file if self.has_fixed_files else self.files[io.file].fd
        if io.ddir == READ:
            if self.has_fixed_buffers:
                io_uring_prep_read_fixed(sqe, target, io.buf, io.length, io.offset, 0)
            else:
                io_uring_prep_read(sqe, target, io.buf, io.length, io.offset)
        elif io.ddir == WRITE:
            if self.has_fixed_buffers:
                io_uring_prep_write_fixed(sqe, target, io.buf, io.length, io.offset, 0)
            else:
                io_uring_prep_write(sqe, target, io.buf, io.length, io.offset)
        else:
            io_uring_prep_fsync(sqe, target, IORING_FSYNC_DATASYNC if io.ddir == DATASYNC else 0)
        io_uring_sqe_set_flags(sqe, self.file_flags)
        io_uring_sqe_set_data(sqe, io)
        self.in_flight += 1
        return QUEUED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef kernel_timespec timeout
        cdef io_uring_cqe *first = NULL
        cdef io_u *io
        cdef uint32_t ready, index, count = 0
        cdef int answer
        if wanted and timeout_ns:
            timeout.tv_sec = <int64_t>(timeout_ns // 1000000000)
            timeout.tv_nsec = <int64_t>(timeout_ns % 1000000000)
            answer = io_uring_submit_and_wait_timeout(&self.ring, &first, wanted, &timeout, NULL)
        else:
            answer = io_uring_submit_and_wait(&self.ring, wanted)
        if answer < 0 and answer not in (-EINTR, -ETIME, -EAGAIN, -EBUSY):
            return answer

        ready = io_uring_cq_ready(&self.ring)
        if most:
            ready = min(ready, most)
        elif ready < self.in_flight and ready > REAP_SOME:
            ready = REAP_SOME
        ready = min(ready, self.completions_size)
        ready = io_uring_peek_batch_cqe(&self.ring, self.completions, ready)
        for index in range(ready):
            io = <io_u *>self.completions[index].user_data
            if io != NULL:  # else the answer to a cancellation
                io.result = self.completions[index].res
                self.events[count] = io
                count += 1
        io_uring_cq_advance(&self.ring, ready)
        self.in_flight -= count
        return <int>count

    cdef int cancel(self, io_u *io) noexcept nogil:
        cdef io_uring_sqe *sqe = io_uring_get_sqe(&self.ring)
        if sqe == NULL:
            return -EBUSY
        io_uring_prep_cancel(sqe, io, 0)
        io_uring_sqe_set_data(sqe, NULL)
        return 0

    cdef void close(self) noexcept:
        if self.is_open:
            self.is_open = False
            io_uring_queue_exit(&self.ring)
