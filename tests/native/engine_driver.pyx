"""An I/O engine's native methods, one call each, for tests: compiled by the fixture that needs it."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from posix.mman cimport MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

cdef enum:
    MOST_SLOTS = 64


cdef class Driver:
    """One engine, a buffer of `bs` bytes for each of its slots, and what has been asked of it."""

    cdef IoEngine engine
    cdef io_u ios[MOST_SLOTS]
    cdef char *buffers
    cdef uint64_t buffers_size
    cdef uint32_t bs

    def __init__(self, module, files, iodepth, options, bs=4096):
        assert iodepth <= <int>MOST_SLOTS
        self.bs = bs
        self.buffers_size = bs * iodepth
        self.buffers = <char *>mmap(NULL, self.buffers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        self.engine = module.Engine(TargetFiles(files), iodepth, options)
        self.engine.open(self.buffers, self.buffers_size)

    def close(self):
        self.engine.close()
        munmap(self.buffers, self.buffers_size)

    @property
    def is_sync(self):
        return bool(self.engine.is_sync)

    @property
    def notes(self):
        return self.engine.notes

    def fill(self, uint32_t slot, bytes content):
        assert len(content) <= self.bs
        memcpy(self.buffers + slot * self.bs, <const char *>content, len(content))

    def content(self, uint32_t slot, uint32_t length):
        return self.buffers[slot * self.bs:slot * self.bs + length]

    def queue(self, uint32_t slot, int ddir, uint64_t offset, uint32_t length, int file=0):
        cdef io_u *io = &self.ios[slot]
        cdef QueueStatus status
        io.buf = self.buffers + slot * self.bs
        io.index = slot
        io.ddir = ddir
        io.offset = offset
        io.length = io.block_length = length
        io.file = file
        io.result = -9999
        with nogil:
            status = self.engine.queue(io)
        return <int>status

    def reap(self, uint32_t wanted, uint32_t most=0, double timeout_s=0):
        """The slots that have come back. Raises OSError."""
        cdef uint64_t timeout_ns = <uint64_t>(1e9 * timeout_s)
        cdef int count
        with nogil:
            count = self.engine.reap(wanted, most, timeout_ns)
        if count < 0:
            raise OSError(-count, "reap")
        return [self.engine.events[index].index for index in range(count)]

    def result(self, uint32_t slot):
        return self.ios[slot].result

    def cancel(self, uint32_t slot):
        return self.engine.cancel(&self.ios[slot])

    def hint(self, int error):
        return self.engine.hint(error)
