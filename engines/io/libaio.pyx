"""Linux's own asynchronous I/O: submitted together in one system call, reaped from a ring that the kernel shares."""

import os

from libc.errno cimport EAGAIN, EINTR, EINVAL, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove, memset
from posix.time cimport CLOCK_MONOTONIC, clock_nanosleep, timespec

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport (
    BUSY, COMPLETED, DATASYNC, QUEUED, READ, SYNC_RANGE, TRIM, WRITE, QueueStatus, io_u,
)
from iovigil.engines.target cimport TargetFiles

from iovigil.engines.io.base import EngineUnavailable

cdef extern from "<errno.h>" nogil:
    int ECANCELED
    int EINPROGRESS
    int EOPNOTSUPP

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_io_setup
    long SYS_io_destroy
    long SYS_io_submit
    long SYS_io_cancel
    long SYS_io_getevents

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef extern from "<linux/aio_abi.h>" nogil:
    """
    /* What an aio_context_t points at. In no header, and the same since Linux 2.6. */
    struct shared_ring {
        uint32_t id, size, head, tail, magic, compatible_features, incompatible_features, header_bytes;
    };
    #define SHARED_RING_MAGIC 0xa10a10a1u
    #define load_acquire(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
    #define store_release(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
    """
    ctypedef unsigned long aio_context_t
    int IOCB_CMD_PREAD
    int IOCB_CMD_PWRITE
    int IOCB_CMD_FSYNC
    int IOCB_CMD_FDSYNC
    int RWF_NOWAIT

    struct io_event:
        uint64_t data
        int64_t res

    struct iocb:
        uint64_t aio_data
        int aio_rw_flags
        uint16_t aio_lio_opcode
        uint32_t aio_fildes
        uint64_t aio_buf
        uint64_t aio_nbytes
        int64_t aio_offset

    struct shared_ring:
        uint32_t size
        uint32_t head
        uint32_t tail
        uint32_t magic
        uint32_t incompatible_features
        uint32_t header_bytes

    uint32_t SHARED_RING_MAGIC
    uint32_t load_acquire(const uint32_t *place)
    void store_release(uint32_t *place, uint32_t value)

cdef enum:
    # As with io_uring: a queue that is reaped whole runs empty meanwhile.
    REAP_SOME = 4
    # More than two in one io_submit the kernel plugs (AIO_PLUG_THRESHOLD in fs/aio.c): the disk gets them when the last
    # has been taken, which cost one of 90,000 reads a second 15 % of them. Where the CPU is the limit, all go at once.
    UNPLUGGED = 2
    REFUSED_PAUSE_NS = 100000
    REFUSALS_MOST = 10000  # a second of them, with nothing under way that could make room


cdef class Engine(IoEngine):
    cdef aio_context_t context
    cdef bint is_open
    cdef iocb *iocbs  # one for each slot
    cdef iocb **pending  # queued, not yet submitted; in order
    cdef uint32_t pending_count
    cdef uint32_t at_once  # in one io_submit
    cdef uint32_t submitted  # with the kernel
    cdef io_u **finished  # without the kernel: refused or taken back
    cdef uint32_t finished_count
    cdef uint32_t refusals
    cdef io_event *completions
    cdef shared_ring *ring  # NULL: of a layout that we do not know
    cdef io_event *ring_events
    cdef int flags
    cdef bint has_no_sync  # a file system of old; then fsync goes by the plain call

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = False
        self.flags = RWF_NOWAIT if options["nowait"] else 0
        self.at_once = options["iodepth_batch_submit"] or (UNPLUGGED if options["direct"] else iodepth)
        self.iocbs = <iocb *>calloc(iodepth, sizeof(iocb))
        self.pending = <iocb **>calloc(iodepth, sizeof(iocb *))
        self.finished = <io_u **>calloc(iodepth, sizeof(io_u *))
        self.completions = <io_event *>calloc(iodepth, sizeof(io_event))
        if self.iocbs == NULL or self.pending == NULL or self.finished == NULL or self.completions == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.iocbs)
        free(self.pending)
        free(self.finished)
        free(self.completions)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef shared_ring *ring
        if syscall(SYS_io_setup, <unsigned long>self.iodepth, &self.context) < 0:
            error = errno
            raise EngineUnavailable(error, why_not(error, self.iodepth), "libaio")
        self.is_open = True
        ring = <shared_ring *>self.context
        if ring.magic == SHARED_RING_MAGIC and not ring.incompatible_features:
            self.ring = ring
            self.ring_events = <io_event *>(<char *>ring + ring.header_bytes)
        elif self.options["userspace_reap"]:
            self.notes.append("libaio: userspace_reap: this kernel's ring is of another kind; reaped by system calls")
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef iocb *control
        if io.ddir == SYNC_RANGE or (io.ddir > TRIM and self.has_no_sync):
            if self.pending_count:
                return BUSY  # what is to be synced has not been submitted
            io.result = self.change(io)
            return COMPLETED
        if io.ddir == TRIM:
            io.result = self.change(io)
            return COMPLETED
        control = &self.iocbs[io.index]
        memset(control, 0, sizeof(iocb))
        control.aio_data = <uint64_t>io
        control.aio_fildes = <uint32_t>self.files[io.file].fd
        if io.ddir <= WRITE:
            control.aio_lio_opcode = IOCB_CMD_PREAD if io.ddir == READ else IOCB_CMD_PWRITE
            control.aio_rw_flags = self.flags
            control.aio_buf = <uint64_t>io.buf
            control.aio_nbytes = io.length
            control.aio_offset = <int64_t>io.offset
        else:
            control.aio_lio_opcode = IOCB_CMD_FDSYNC if io.ddir == DATASYNC else IOCB_CMD_FSYNC
        self.pending[self.pending_count] = control
        self.pending_count += 1
        return QUEUED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef timespec timeout
        cdef uint32_t count = 0, some, ready
        cdef long answer, index
        if self.pending_count:
            self.submit()
        some = most if most else max(wanted, <uint32_t>REAP_SOME)
        most = min(most, self.iodepth) if most else self.iodepth
        while self.finished_count and count < most:
            self.finished_count -= 1
            self.events[count] = self.finished[self.finished_count]
            count += 1
        wanted = min(min(wanted, most), count + self.submitted)

        if self.ring == NULL or count + self.completed() < wanted:
            wanted -= min(wanted, count)
            timeout.tv_sec = <int64_t>(timeout_ns // 1000000000)
            timeout.tv_nsec = <int64_t>(timeout_ns % 1000000000)
            # Without the ring nobody can tell whether all have come: then as many as there are.
            answer = syscall(SYS_io_getevents, self.context, <long>wanted,
                             <long>(max(wanted, min(some, most - count)) if self.ring != NULL else most - count),
                             self.completions, &timeout if timeout_ns else NULL)
            if answer < 0:
                if errno != EINTR:
                    return -errno
                answer = 0
            for index in range(answer):
                self.events[count] = self.take_back(&self.completions[index])
                count += 1
        if self.ring != NULL:
            ready = self.completed()
            if ready < self.submitted:
                ready = min(ready, some - min(some, count))
            ready = min(ready, most - count)
            if ready:
                count = self.take_from_ring(ready, count)
        return <int>count

    cdef inline uint32_t completed(self) noexcept nogil:
        """How many wait in the ring."""
        cdef uint32_t tail = load_acquire(&self.ring.tail), head = self.ring.head
        return tail - head if tail >= head else tail + self.ring.size - head

    cdef inline uint32_t take_from_ring(self, uint32_t number, uint32_t count) noexcept nogil:
        """Move so many from the ring behind the `count` events; returns how many there are then."""
        cdef uint32_t head = self.ring.head, size = self.ring.size
        cdef uint32_t _event
        for _event in range(number):
            self.events[count] = self.take_back(&self.ring_events[head])
            count += 1
            head += 1
            if head >= size:
                head = 0
        store_release(&self.ring.head, head)
        return count

    cdef inline io_u *take_back(self, const io_event *event) noexcept nogil:
        cdef io_u *io = <io_u *>event.data
        io.result = event.res
        self.submitted -= 1
        if io.result == -EINVAL and io.ddir > TRIM:
            self.sync_plainly(io)
        return io

    cdef void submit(self) noexcept nogil:
        """Hand what is pending to the kernel, as far as it has room."""
        cdef timespec pause
        cdef uint32_t first = 0
        cdef long taken
        while first < self.pending_count:
            taken = syscall(SYS_io_submit, self.context, <long>min(self.pending_count - first, self.at_once),
                            self.pending + first)
            if taken > 0:
                first += <uint32_t>taken
                self.submitted += <uint32_t>taken
                self.refusals = 0
            elif taken < 0 and errno == EINTR:
                break
            elif (taken == 0 or errno == EAGAIN) and (self.submitted or self.refusals < <uint32_t>REFUSALS_MOST):
                # No room: completions make some. With nothing under way the room is somebody else's.
                if not self.submitted:
                    self.refusals += 1
                    pause = timespec(tv_sec=0, tv_nsec=REFUSED_PAUSE_NS)
                    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL)
                break
            else:
                self.refuse(<io_u *>self.pending[first].aio_data, errno if taken < 0 else EAGAIN)
                first += 1
        self.pending_count -= first
        if self.pending_count and first:
            memmove(self.pending, self.pending + first, self.pending_count * sizeof(iocb *))

    cdef void refuse(self, io_u *io, int error) noexcept nogil:
        """The kernel did not take the I/O: that is its result."""
        io.result = -error
        if error == EINVAL and io.ddir > TRIM:
            self.sync_plainly(io)
        self.finished[self.finished_count] = io
        self.finished_count += 1

    cdef void sync_plainly(self, io_u *io) noexcept nogil:
        """The file's own file system, or a kernel before 4.18, has no asynchronous fsync."""
        self.has_no_sync = True
        io.result = self.change(io)

    cdef int cancel(self, io_u *io) noexcept nogil:
        cdef iocb *control = &self.iocbs[io.index]
        cdef io_event unused
        cdef uint32_t index
        for index in range(self.pending_count):
            if self.pending[index] == control:
                self.pending_count -= 1
                memmove(self.pending + index, self.pending + index + 1,
                        (self.pending_count - index) * sizeof(iocb *))
                self.refuse(io, ECANCELED)
                return 0
        # The kernel can take back next to nothing; what it does comes by the ring, as all else.
        if syscall(SYS_io_cancel, self.context, control, &unused) == 0 or errno == EINPROGRESS:
            return 0
        return -errno

    cdef void close(self) noexcept:
        if self.is_open:
            self.is_open = False
            syscall(SYS_io_destroy, self.context)

    cdef str hint(self, int error):
        if error == EAGAIN and self.options["nowait"]:
            return "; it would have had to wait, and nowait=1 forbids that: ignore_error=EAGAIN counts such I/Os only"
        if error == EOPNOTSUPP and self.options["nowait"]:
            return "; the target or its kernel does not know nowait=1: leave it out"
        return ""


cdef str why_not(int error, uint32_t iodepth):
    """What a failed io_setup means, and what to change."""
    reason = os.strerror(error)
    if error != EAGAIN:
        return reason
    try:
        with open("/proc/sys/fs/aio-max-nr") as most, open("/proc/sys/fs/aio-nr") as used:
            return (f"{reason}: of fs.aio-max-nr = {int(most.read())} places {int(used.read())} are taken, and iodepth "
                    f"asks for {iodepth}; raise it with `sysctl fs.aio-max-nr=N`, or lower iodepth")
    except (OSError, ValueError):
        return f"{reason}; raise fs.aio-max-nr, or lower iodepth"
