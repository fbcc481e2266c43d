"""POSIX asynchronous I/O: aio_read and its kin, which the C library carries out with threads."""

from libc.errno cimport EAGAIN, EBUSY, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove, memset
from posix.fcntl cimport O_DSYNC, O_SYNC
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, clock_nanosleep, timespec

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport (
    BUSY, COMPLETED, DATASYNC, QUEUED, READ, SYNC_RANGE, TRIM, WRITE, QueueStatus, io_u,
)
from iovigil.engines.target cimport TargetFiles

cdef extern from "<errno.h>" nogil:
    int EALREADY
    int ECANCELED
    int EINPROGRESS

cdef extern from "<aio.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #if defined(__x86_64__) || defined(__i386__)
    #define relax() __builtin_ia32_pause()
    #else
    #define relax() __asm__ __volatile__("" ::: "memory")
    #endif
    """
    void relax()

    struct sigevent:
        int sigev_notify

    int SIGEV_NONE

    struct aiocb:
        int aio_fildes
        void *aio_buf
        size_t aio_nbytes
        int64_t aio_offset
        sigevent aio_sigevent

    struct aioinit:
        int aio_threads
        int aio_num

    int AIO_CANCELED
    int AIO_ALLDONE
    void aio_init(const aioinit *sizes)
    int aio_read(aiocb *control)
    int aio_write(aiocb *control)
    int aio_fsync(int kind, aiocb *control)
    int aio_error(const aiocb *control)
    ssize_t aio_return(aiocb *control)
    int aio_suspend(const aiocb *const *controls, int count, const timespec *timeout)
    int aio_cancel(int fd, aiocb *control)

cdef enum:
    # The thread that wakes us pays for it: where it works on another CPU, and from a page cache, looking for a few
    # microseconds first spares that. Anywhere else looking is in vain, so that it is rarely tried again.
    LOOKS_BEFORE_SLEEP = 200
    LOOKLESS_AFTER_FAILURE = 31
    REFUSED_PAUSE_NS = 100000
    REFUSALS_MOST = 10000  # a second of them, with nothing under way that could make room


cdef class Engine(IoEngine):
    cdef aiocb *controls  # one for each slot
    cdef io_u **pending  # queued, not yet submitted; in order
    cdef uint32_t pending_count
    cdef io_u **under_way  # with the library, in order of submission
    cdef aiocb **waited_for  # their control blocks
    cdef uint32_t submitted
    cdef io_u **finished  # without the library: refused or taken back
    cdef uint32_t finished_count
    cdef uint32_t refusals
    cdef bint is_in_order  # one file: the library works off its I/Os one after the other
    cdef uint32_t lookless  # waits up to the next that looks first

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = False
        self.is_in_order = targets.count == 1
        self.controls = <aiocb *>calloc(iodepth, sizeof(aiocb))
        self.pending = <io_u **>calloc(iodepth, sizeof(io_u *))
        self.under_way = <io_u **>calloc(iodepth, sizeof(io_u *))
        self.waited_for = <aiocb **>calloc(iodepth, sizeof(aiocb *))
        self.finished = <io_u **>calloc(iodepth, sizeof(io_u *))
        if (self.controls == NULL or self.pending == NULL or self.under_way == NULL or self.waited_for == NULL
                or self.finished == NULL):
            raise MemoryError

    def __dealloc__(self):
        free(self.controls)
        free(self.pending)
        free(self.under_way)
        free(self.waited_for)
        free(self.finished)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef aioinit sizes
        memset(&sizes, 0, sizeof(sizes))
        # The library works off the I/Os of one file one after the other: more threads than files have nothing to do.
        sizes.aio_threads = <int>min(self.targets.count, self.iodepth)
        sizes.aio_num = <int>self.iodepth
        aio_init(&sizes)
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        if io.ddir == TRIM or io.ddir == SYNC_RANGE:
            if io.ddir == SYNC_RANGE and self.pending_count:
                return BUSY  # what is to be synced has not been submitted
            io.result = self.change(io)
            return COMPLETED
        # Not begun before reap, so that the stamp of its issue comes first.
        self.pending[self.pending_count] = io
        self.pending_count += 1
        return QUEUED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef timespec timeout
        cdef uint64_t end_ns = monotonic_ns() + timeout_ns if timeout_ns else 0, now
        cdef uint32_t count = 0, first, number
        if self.pending_count:
            self.submit()
        most = min(most, self.iodepth) if most else self.iodepth
        while self.finished_count and count < most:
            self.finished_count -= 1
            self.events[count] = self.finished[self.finished_count]
            count += 1
        wanted = min(min(wanted, most), count + self.submitted)
        count = self.collect(count, most)
        if count < wanted:
            if self.lookless:
                self.lookless -= 1
            elif self.look():
                count = self.collect(count, most)
            else:
                self.lookless = LOOKLESS_AFTER_FAILURE
        while count < wanted:
            if end_ns:
                now = monotonic_ns()
                if now >= end_ns:
                    break
                timeout.tv_sec = <int64_t>((end_ns - now) // 1000000000)
                timeout.tv_nsec = <int64_t>((end_ns - now) % 1000000000)
            # The library looks up each of these: where one tells for all before it, that one is enough.
            first = wanted - count - 1 if self.is_in_order else 0
            number = 1 if self.is_in_order else self.submitted
            if aio_suspend(<const aiocb *const *>self.waited_for + first, <int>number, &timeout if end_ns else NULL):
                if errno != EAGAIN and errno != EINTR:
                    return -errno
                break  # its time is over, or a signal came
            count = self.collect(count, most)
        # What came just now.
        return <int>(self.collect(count, most) if count < most else count)

    cdef bint look(self) noexcept nogil:
        """Give the oldest I/O, which is mostly the next to be done, a moment; whether that was enough."""
        cdef uint32_t _look
        for _look in range(<uint32_t>LOOKS_BEFORE_SLEEP):
            if aio_error(self.waited_for[0]) != EINPROGRESS:
                return True
            relax()
        return False

    cdef uint32_t collect(self, uint32_t count, uint32_t most) noexcept nogil:
        """Put what is done behind the `count` events; returns how many there are then."""
        cdef uint32_t index, left = 0
        cdef aiocb *control
        cdef io_u *io
        cdef int error
        for index in range(self.submitted):
            io = self.under_way[index]
            control = self.waited_for[index]
            error = aio_error(control) if count < most else EINPROGRESS
            if error == EINPROGRESS:
                self.under_way[left] = io
                self.waited_for[left] = control
                left += 1
                continue
            io.result = aio_return(control)
            if error:
                io.result = -error
            self.events[count] = io
            count += 1
        self.submitted = left
        return count

    cdef void submit(self) noexcept nogil:
        """Hand what is pending to the library, as far as it has room."""
        cdef timespec pause
        cdef uint32_t first = 0
        cdef io_u *io
        while first < self.pending_count:
            io = self.pending[first]
            if self.begin(io) == 0:
                self.under_way[self.submitted] = io
                self.waited_for[self.submitted] = &self.controls[io.index]
                self.submitted += 1
                self.refusals = 0
            elif errno == EAGAIN and (self.submitted or self.refusals < <uint32_t>REFUSALS_MOST):
                # No room: completions make some. With nothing under way the room is somebody else's.
                if not self.submitted:
                    self.refusals += 1
                    pause = timespec(tv_sec=0, tv_nsec=REFUSED_PAUSE_NS)
                    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL)
                break
            else:
                self.finish(io, -errno)
            first += 1
        self.pending_count -= first
        if self.pending_count and first:
            memmove(self.pending, self.pending + first, self.pending_count * sizeof(io_u *))

    cdef int begin(self, io_u *io) noexcept nogil:
        cdef aiocb *control = &self.controls[io.index]
        memset(control, 0, sizeof(aiocb))
        # 0 is SIGEV_SIGNAL: the thread would send signal 0, which takes three system calls.
        control.aio_sigevent.sigev_notify = SIGEV_NONE
        control.aio_fildes = self.files[io.file].fd
        if io.ddir > WRITE:
            return aio_fsync(O_DSYNC if io.ddir == DATASYNC else O_SYNC, control)
        control.aio_buf = io.buf
        control.aio_nbytes = io.length
        control.aio_offset = <int64_t>io.offset
        return aio_read(control) if io.ddir == READ else aio_write(control)

    cdef void finish(self, io_u *io, int64_t result) noexcept nogil:
        """Have the next reap return it."""
        io.result = result
        self.finished[self.finished_count] = io
        self.finished_count += 1

    cdef int cancel(self, io_u *io) noexcept nogil:
        cdef uint32_t index
        cdef int answer
        for index in range(self.pending_count):
            if self.pending[index] == io:
                self.pending_count -= 1
                memmove(self.pending + index, self.pending + index + 1,
                        (self.pending_count - index) * sizeof(io_u *))
                self.finish(io, -ECANCELED)
                return 0
        answer = aio_cancel(self.files[io.file].fd, &self.controls[io.index])
        if answer == AIO_CANCELED:
            return 0
        if answer < 0:
            return -errno
        return -EALREADY if answer == AIO_ALLDONE else -EBUSY


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
