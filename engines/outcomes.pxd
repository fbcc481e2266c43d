# What became of a job's writes, by their number: kept for a verify state file, or taken from one.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.workload cimport piece


# All of it at one moment.
cdef struct tally:
    uint64_t issued  # writes, from 0 on
    uint64_t vouched  # the writes before this one are all accounted for
    uint64_t *in_flight  # of each slot: the number of its write + 1; 0 is none
    uint64_t *failed
    uint64_t failed_count
    uint64_t *completed  # of each file a ring: where its last writes went
    uint64_t *completed_count  # of each file


cdef class Outcomes:
    cdef uint32_t depth  # of each ring
    cdef uint32_t slot_count
    cdef uint32_t file_count  # of rings; 0: none are kept
    cdef bint is_synced_only  # verify_policy
    cdef tally now
    cdef tally syncing  # when the sync began that is under way
    cdef tally synced  # when the last one began that has ended well
    cdef uint32_t sync_slot

    cdef void issue(self, uint32_t slot) noexcept nogil
    cdef void complete(self, uint32_t slot, uint32_t file, uint64_t offset) noexcept nogil
    cdef void fail(self, uint32_t slot) noexcept nogil
    cdef void begin_sync(self, uint32_t slot) noexcept nogil
    cdef void end_sync(self, uint32_t slot, bint is_done) noexcept nogil
    cdef void copy(self, tally *to, const tally *what) noexcept nogil


cdef class Vouched:
    cdef bint is_loaded
    cdef uint64_t count  # writes that the file knows of
    cdef uint64_t seen  # of them so far
    cdef uint64_t *open  # numbers of those that are open, in order
    cdef uint64_t open_count
    cdef uint64_t next_open
    cdef uint64_t *completed  # pairs of file and offset, where the file has no numbers
    cdef uint64_t completed_count
    cdef uint64_t window  # from this one on a write is open unless it is among the completed
    cdef bint has_places
    cdef piece *doubtful  # where open writes went, and nothing was written since
    cdef uint64_t doubtful_count
    cdef uint64_t room

    cdef void note(self, const piece *drawn) noexcept nogil
    cdef bint is_open(self, const piece *drawn) noexcept nogil
    cdef bint doubts(self, const piece *drawn) noexcept nogil
