# One I/O from pick to completion, and the words its engine answers with. Declarations only.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum Ddir:
    READ = 0
    WRITE = 1
    TRIM = 2
    SYNC = 3
    # Accounted as SYNC:
    DATASYNC = 4
    SYNC_RANGE = 5


# What queue() says about this one request (not about the engine).
cdef enum QueueStatus:
    COMPLETED = 0  # done now: io.result holds bytes or -errno
    QUEUED = 1  # reap() will return it
    BUSY = 2  # not taken: commit or reap, then offer it again


# What an I/O is beside its direction, as bits of `flags`.
cdef enum IoFlag:
    IO_VERIFIED = 1  # a read whose contents are checked
    IO_TRIMMED = 2  # ... which must be zeroes
    IO_BACKLOG = 4  # comes from verify_backlog: counts neither against the size nor against number_ios
    IO_MIXED = 16  # a read among writes: judged by what stayed as it was meanwhile
    IO_OUT = 8  # picked, and not yet released, nor given to a checker


# One cache line of hot fields. `buf`, `offset` and `length` describe what is still to be
# transferred, so that the rest of a short I/O is offered again by moving them.
cdef struct io_u:
    char *buf
    uint64_t offset  # bytes, in the file
    uint64_t start_ns  # picked; lat counts from here
    uint64_t issued_ns  # handed to the engine; clat counts from here
    int64_t result  # bytes transferred, or -errno
    uint64_t numberio  # generation of a verified write, 0 without verify
    uint32_t length  # bytes still to transfer
    uint32_t block_length  # bytes of the whole block
    uint32_t index  # slot, below iodepth: in-flight stamp, what an engine keeps of an I/O
    uint16_t file  # index in the engine's files
    uint8_t ddir
    uint8_t flags  # IoFlag
