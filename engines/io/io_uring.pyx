# distutils: libraries = uring
"""io_uring: submit and wait in one system call, with registered buffers, file and ring where the host allows."""

import os

from cpython.array cimport array
from libc.errno cimport EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, EPERM, ETIME
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport BUSY, COMPLETED, DATASYNC, QUEUED, READ, SYNC_RANGE, TRIM, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

from iovigil.engines.io.base import EngineUnavailable

cdef extern from "<errno.h>" nogil:
    int EOPNOTSUPP

cdef extern from "<sys/uio.h>" nogil:
    """
    /* Linux 6.14; headers of Debian 13 and before do not have it. */
    #ifndef RWF_DONTCACHE
    #define RWF_DONTCACHE 0x00000080
    #endif
    """
    int RWF_NOWAIT
    int RWF_DONTCACHE

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
    /* Linux 6.12 */
    #ifndef BLOCK_URING_CMD_DISCARD
    #define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
    #endif
    #if defined(__x86_64__) || defined(__i386__)
    #define relax() __builtin_ia32_pause()
    #else
    #define relax() __asm__ __volatile__("" ::: "memory")
    #endif
    """
    void relax()
    unsigned BLOCK_URING_CMD_DISCARD
    int IORING_OP_READV
    int IORING_OP_WRITEV
    int IORING_OP_URING_CMD
    unsigned IORING_SETUP_IOPOLL
    unsigned IORING_SETUP_SQPOLL
    unsigned IORING_SETUP_SQ_AFF
    unsigned IORING_SETUP_COOP_TASKRUN
    unsigned IORING_SETUP_SINGLE_ISSUER
    unsigned IORING_SETUP_DEFER_TASKRUN
    unsigned IORING_FSYNC_DATASYNC
    unsigned IOSQE_FIXED_FILE
    unsigned IOSQE_ASYNC

    ctypedef struct kernel_timespec "struct __kernel_timespec":
        int64_t tv_sec
        long long tv_nsec

    struct io_uring_sqe:
        int rw_flags
        uint32_t cmd_op
        uint64_t addr3

    struct io_uring_cqe:
        uint64_t user_data
        int32_t res

    struct io_uring_params:
        uint32_t cq_entries
        uint32_t flags
        uint32_t sq_thread_cpu

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
    void io_uring_prep_rw(int op, io_uring_sqe *sqe, int fd, const void *addr, unsigned length, uint64_t offset)
    void io_uring_prep_sync_file_range(io_uring_sqe *sqe, int fd, unsigned length, uint64_t offset, int flags)
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
    # While a kernel thread submits, a completion is mostly near: some 10 us of looking cost less than going to sleep.
    LOOKS_BEFORE_SLEEP = 1000


cdef class Engine(IoEngine):
    cdef io_uring ring
    cdef bint is_open
    cdef bint is_polled  # IOPOLL: the kernel looks for completions only when asked
    cdef bint has_submitter  # SQPOLL: a kernel thread takes what is queued
    cdef bint is_vectored
    cdef bint has_fixed_buffers
    cdef unsigned file_flags
    cdef bint has_fixed_files
    cdef bint has_trim  # of devices; else by the plain call
    cdef bint is_plain  # nothing is to be added to a read or write
    cdef int rw_flags
    cdef uint32_t force_async
    cdef uint32_t until_async  # I/Os up to the next that goes to a worker thread
    cdef uint32_t in_flight
    cdef iovec *vectors  # one for each slot
    cdef io_uring_cqe **completions
    cdef uint32_t completions_size  # as many as the ring can hold, answers to cancellations among them

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = False
        self.is_polled = options["hipri"]
        self.has_submitter = options["sqthread_poll"]
        self.is_vectored = not options["nonvectored"]
        self.rw_flags = (RWF_NOWAIT if options["nowait"] else 0) | (RWF_DONTCACHE if options["uncached"] else 0)
        self.force_async = self.until_async = options["force_async"]
        self.is_plain = not (self.rw_flags or self.force_async)
        # A polling ring takes nothing but what can be polled for.
        self.has_trim = not self.is_polled
        if self.is_vectored:
            self.vectors = <iovec *>calloc(iodepth, sizeof(iovec))
            if self.vectors == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.completions)
        free(self.vectors)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        self.set_up_ring()
        # READV and WRITEV have no registered buffers.
        if self.options["fixedbufs"] and not self.is_vectored:
            self.register_buffers(buffers, buffers_size)
        # Before Linux 5.11 the submitting thread knew registered files only.
        if self.options["registerfiles"] or self.has_submitter:
            self.register_files()
        io_uring_register_ring_fd(&self.ring)  # only a saving; older kernels do without
        return 0

    cdef int set_up_ring(self) except -1:
        cdef io_uring_params params
        cdef unsigned flags, always = 0
        cdef int error = -EINVAL
        cdef list choices
        if self.is_polled:
            always |= IORING_SETUP_IOPOLL
        # Each kernel takes the best set that it knows: DEFER_TASKRUN came with 6.1, SINGLE_ISSUER with 6.0,
        # COOP_TASKRUN with 5.19. The two TASKRUN are about a task that submits for itself.
        if self.has_submitter:
            always |= IORING_SETUP_SQPOLL
            if self.options["sqthread_poll_cpu"] >= 0:
                always |= IORING_SETUP_SQ_AFF
            choices = [IORING_SETUP_SINGLE_ISSUER, 0]
        else:
            choices = [IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0]
        for flags in choices:
            memset(&params, 0, sizeof(params))
            params.flags = always | flags
            if always & IORING_SETUP_SQ_AFF:
                params.sq_thread_cpu = self.options["sqthread_poll_cpu"]
            error = io_uring_queue_init_params(self.iodepth, &self.ring, &params)
            if error != -EINVAL:
                break
        if error:
            raise EngineUnavailable(-error, os.strerror(-error) + self.why_no_ring(error), "io_uring")
        self.is_open = True
        self.completions_size = params.cq_entries
        self.completions = <io_uring_cqe **>calloc(params.cq_entries, sizeof(io_uring_cqe *))
        if self.completions == NULL:
            raise MemoryError
        if not self.has_submitter and not flags & IORING_SETUP_DEFER_TASKRUN:
            self.notes.append("io_uring: this kernel has no DEFER_TASKRUN; more CPU time per I/O")
        return 0

    cdef str why_no_ring(self, int error):
        if error == -EINVAL and self.has_submitter and self.options["sqthread_poll_cpu"] >= 0:
            return f": sqthread_poll_cpu: is there a CPU {self.options['sqthread_poll_cpu']} that this job may use?"
        if error == -EPERM and self.has_submitter:
            return ": sqthread_poll may need root on this kernel"
        return ""

    cdef int register_buffers(self, char *buffers, uint64_t buffers_size) except -1:
        cdef iovec whole
        cdef int error
        whole.iov_base = buffers
        whole.iov_len = buffers_size
        error = io_uring_register_buffers(&self.ring, &whole, 1)
        self.has_fixed_buffers = not error
        if error:
            hint = "; raise RLIMIT_MEMLOCK" if error == -ENOMEM else ""
            self.notes.append(f"io_uring: buffers not registered: {os.strerror(-error)}{hint}")
        return 0

    cdef int register_files(self) except -1:
        cdef array fds = array("i", self.targets.fds)
        cdef int error = io_uring_register_files(&self.ring, fds.data.as_ints, self.targets.count)
        self.has_fixed_files = not error
        self.file_flags = 0 if error else IOSQE_FIXED_FILE
        if error:
            self.notes.append(f"io_uring: file not registered: {os.strerror(-error)}")
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef io_uring_sqe *sqe
        cdef int target
        cdef unsigned flags = self.file_flags
        if io.ddir > WRITE and (self.is_polled or io.ddir == TRIM) and not self.can_trim(io):
            io.result = self.change(io)
            return COMPLETED
        sqe = io_uring_get_sqe(&self.ring)
        if sqe == NULL:
            return BUSY
        target = io.file if self.has_fixed_files else self.files[io.file].fd
        if io.ddir <= WRITE:
            if self.has_fixed_buffers:
                if io.ddir == READ:
                    io_uring_prep_read_fixed(sqe, target, io.buf, io.length, io.offset, 0)
                else:
                    io_uring_prep_write_fixed(sqe, target, io.buf, io.length, io.offset, 0)
            elif self.is_vectored:
                self.vectors[io.index].iov_base = io.buf
                self.vectors[io.index].iov_len = io.length
                io_uring_prep_rw(IORING_OP_READV if io.ddir == READ else IORING_OP_WRITEV, sqe, target,
                                 &self.vectors[io.index], 1, io.offset)
            elif io.ddir == READ:
                io_uring_prep_read(sqe, target, io.buf, io.length, io.offset)
            else:
                io_uring_prep_write(sqe, target, io.buf, io.length, io.offset)
            if not self.is_plain:
                sqe.rw_flags = self.rw_flags
                if self.force_async:
                    self.until_async -= 1
                    if self.until_async == 0:
                        self.until_async = self.force_async
                        flags |= IOSQE_ASYNC
        elif io.ddir == TRIM:
            io_uring_prep_rw(IORING_OP_URING_CMD, sqe, target, <void *>io.offset, 0, 0)
            sqe.cmd_op = BLOCK_URING_CMD_DISCARD
            sqe.addr3 = io.length
        elif io.ddir == SYNC_RANGE:
            io_uring_prep_sync_file_range(sqe, target, io.length, io.offset, <int>self.range_flags)
        else:
            io_uring_prep_fsync(sqe, target, IORING_FSYNC_DATASYNC if io.ddir == DATASYNC else 0)
        io_uring_sqe_set_flags(sqe, flags)
        io_uring_sqe_set_data(sqe, io)
        self.in_flight += 1
        return QUEUED

    cdef bint can_trim(self, const io_u *io) noexcept nogil:
        return self.has_trim and self.files[io.file].is_device

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef io_u *io
        cdef uint32_t ready, index, count = 0
        cdef int answer
        wanted = min(wanted, self.in_flight)
        if most:
            wanted = min(wanted, most)
        answer = self.wait(wanted, timeout_ns)
        if answer < 0 and answer not in (-EINTR, -ETIME, -EAGAIN, -EBUSY):
            return answer

        ready = io_uring_cq_ready(&self.ring)
        if most:
            ready = min(ready, most)
        elif ready < self.in_flight and ready > REAP_SOME:
            ready = max(wanted, <uint32_t>REAP_SOME)
        ready = min(ready, self.completions_size)
        ready = io_uring_peek_batch_cqe(&self.ring, self.completions, ready)
        for index in range(ready):
            io = <io_u *>self.completions[index].user_data
            if io != NULL:  # else the answer to a cancellation
                io.result = self.completions[index].res
                if io.ddir == TRIM:
                    self.finish_trim(io)
                self.events[count] = io
                count += 1
        io_uring_cq_advance(&self.ring, ready)
        self.in_flight -= count
        return <int>count

    cdef inline int wait(self, uint32_t wanted, uint64_t timeout_ns) noexcept nogil:
        """Submit what was queued, and wait; -errno where that was cut short."""
        cdef kernel_timespec timeout
        cdef io_uring_cqe *first = NULL
        if self.has_submitter:
            if self.look(wanted):
                return 0
        elif self.is_polled and wanted and timeout_ns:
            return self.poll(wanted, timeout_ns)
        if wanted and timeout_ns:
            timeout.tv_sec = <int64_t>(timeout_ns // 1000000000)
            timeout.tv_nsec = <int64_t>(timeout_ns % 1000000000)
            return io_uring_submit_and_wait_timeout(&self.ring, &first, wanted, &timeout, NULL)
        return io_uring_submit_and_wait(&self.ring, wanted)

    cdef bint look(self, uint32_t wanted) noexcept nogil:
        """Show the kernel's thread what was queued, waking it where it sleeps; whether so many come within moments."""
        cdef uint32_t _look
        if io_uring_submit(&self.ring) < 0:
            return False
        for _look in range(<uint32_t>LOOKS_BEFORE_SLEEP):
            if io_uring_cq_ready(&self.ring) >= wanted:
                return True
            relax()
        return False

    cdef int poll(self, uint32_t wanted, uint64_t timeout_ns) noexcept nogil:
        """A wait that has an end: the kernel's own, with IOPOLL, knows no timeout."""
        cdef uint64_t end_ns = monotonic_ns() + timeout_ns
        cdef int answer
        while True:
            answer = io_uring_submit_and_wait(&self.ring, 0)
            if answer < 0 or io_uring_cq_ready(&self.ring) >= wanted:
                return answer
            if monotonic_ns() >= end_ns:
                return -ETIME

    cdef void finish_trim(self, io_u *io) noexcept nogil:
        if io.result == 0:
            io.result = io.length
        elif io.result in (-EINVAL, -EOPNOTSUPP):
            # Before Linux 6.12; a device that cannot trim at all says so once more.
            self.has_trim = False
            io.result = self.change(io)

    cdef int cancel(self, io_u *io) noexcept nogil:
        cdef io_uring_sqe *sqe
        if self.is_polled:
            return -EOPNOTSUPP
        sqe = io_uring_get_sqe(&self.ring)
        if sqe == NULL:
            return -EBUSY
        io_uring_prep_cancel(sqe, io, 0)
        io_uring_sqe_set_data(sqe, NULL)
        return 0

    cdef void close(self) noexcept:
        if self.is_open:
            self.is_open = False
            io_uring_queue_exit(&self.ring)

    cdef str hint(self, int error):
        if error == EOPNOTSUPP and self.is_polled:
            return ("; hipri=1 needs direct=1 and a device with queues to poll "
                    "(NVMe: the module's parameter poll_queues): else leave it out")
        if error == EOPNOTSUPP and self.rw_flags:
            asked = " or ".join([f"{name}=1" for name in ("nowait", "uncached") if self.options[name]])
            return f"; the target or its kernel does not know {asked}: leave it out"
        if error == EAGAIN and self.options["nowait"]:
            return "; it would have had to wait, and nowait=1 forbids that: ignore_error=EAGAIN counts such I/Os only"
        return ""


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
