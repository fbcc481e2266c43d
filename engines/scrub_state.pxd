# What outlives a scrub's process: one record, of which a small file holds the last two.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from iovigil.engines.scrub_plan cimport scrub_plan

cdef enum:
    STATE_VERSION = 1
    SLOT_SIZE = 4096
    SLOT_COUNT = 2
    IDENTITY_SIZE = 128
    STRETCH_COUNT = 64
    EXCEPTIONS_MOST = 256


# All numbers in the machine's own byte order; places are counted in blocks, times in seconds of Unix time.
cdef struct scrub_record:
    uint64_t magic
    uint32_t version
    uint32_t size
    uint64_t sequence  # of the records; the newest good one counts

    # The region, and which life of it.
    uint8_t region_id[16]
    uint64_t nonce  # of the contents
    uint64_t inode  # of the probe file; of a device's region half of its UUID
    uint64_t born_ns  # ... and the other half
    char identity[IDENTITY_SIZE]  # of the disk: serial number, WWN; empty where it tells none
    uint64_t start  # bytes
    uint64_t length
    uint64_t block_bytes
    uint64_t created_unix
    scrub_plan plan

    # Where it stands. Blocks from `cursor` to `window_end` may be under way; all others are as the plan says.
    uint64_t cycle
    uint64_t cursor
    uint64_t window_end

    uint64_t planned_unix  # when this cycle was meant to begin: its pace counts from here
    uint64_t begun_unix
    uint64_t last_begun_unix  # of the last complete cycle
    uint64_t last_ended_unix
    uint64_t cycles_completed
    uint64_t oldest_unix  # the block longest unread was read no earlier than this
    uint64_t passed_unix[STRETCH_COUNT]  # when the cursor left each 64th of the region

    uint64_t exception_count
    uint64_t exceptions[EXCEPTIONS_MOST]  # blocks whose contents are not known, to be written again


cdef class ScrubState:
    cdef int fd
    cdef scrub_record record
    cdef uint64_t exceptions_lost  # blocks for which there was no room, since `load`
    cdef char *slot  # room for one, as it is written

    cdef str load(self)
    cdef dict fields(self)
    cdef int save(self) noexcept nogil
    cdef bint add_exception(self, uint64_t block) noexcept nogil
