# What this job wrote where, and whether it is still there.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.findings cimport Findings
from iovigil.engines.io_u cimport io_u
from iovigil.engines.job_options cimport job_options
from iovigil.engines.stats cimport stats_page
from iovigil.engines.target cimport TargetFiles, target_file
from iovigil.engines.verify cimport verify_format
from iovigil.engines.workload cimport piece
from iovigil.engines.write_log cimport write_log


# Stretches in the order they were written. A full queue forgets its oldest: the last check finds it in the log.
cdef struct stretch:
    uint64_t first  # unit
    uint64_t count
    uint64_t generation  # what was put there; a block that was written again has an entry of its own


cdef struct stretch_queue:
    stretch *places
    uint64_t size
    uint64_t taken
    uint64_t given
    uint64_t batch_left  # of those that are being worked off


cdef class Integrity:
    cdef stats_page *page
    cdef TargetFiles targets
    cdef uint64_t *first_unit  # of each file, and behind the last
    cdef uint64_t unit  # bytes under one header
    cdef uint64_t interval  # verify_interval; 0: one header an I/O
    cdef uint64_t max_bs
    cdef verify_format form
    cdef bint is_logged  # there is a write log
    cdef bint is_checked  # whole blocks are judged, not only kept apart
    cdef bint is_expecting  # the log says which generation a block must have
    cdef bint is_whole  # a block can only be judged as a whole: its pattern begins with it
    cdef write_log log
    cdef bint is_shared  # other jobs write to the same units
    cdef char *scratch
    cdef stretch_queue unchecked  # verify_backlog
    cdef stretch_queue untrimmed  # trim_backlog
    cdef uint64_t verify_backlog
    cdef uint64_t verify_batch
    cdef uint64_t trim_backlog
    cdef uint64_t trim_batch
    cdef uint64_t trim_share  # of 2^32
    cdef bint expects_zeroes  # of trimmed blocks
    cdef uint64_t seed  # of the choice of what is trimmed
    cdef Findings findings

    cdef bint is_taken(self, const piece *drawn) noexcept nogil
    cdef bint holds(self, uint64_t first, uint64_t count, uint64_t generation) noexcept nogil
    cdef void begin(self, io_u *io, bint is_dry) noexcept nogil
    cdef void finish(self, const io_u *io, uint64_t generation) noexcept nogil
    cdef bint next_unchecked(self, piece *drawn, uint64_t *generation, bint *is_trimmed) noexcept nogil
    cdef bint next_backlog(self, piece *drawn, uint64_t *generation, bint *is_trimmed) noexcept nogil
    cdef bint next_trim(self, bint is_last, piece *drawn) noexcept nogil
    cdef void trimmed(self, const io_u *io) noexcept nogil
    cdef bint admit(self, const io_u *io) noexcept nogil
    cdef bint is_good(self, io_u *io, char *scratch) noexcept nogil
    cdef void judge(self, io_u *io) noexcept nogil
    cdef uint64_t expected(self, const io_u *io, uint64_t at) noexcept nogil
    cdef bint is_left_out(self, const io_u *io, uint64_t at) noexcept nogil
    cdef void watch(self, io_u *io) noexcept nogil
    cdef void cut_off(self, uint64_t first, uint64_t count) noexcept nogil
    cdef void start_check(self) noexcept nogil
    cdef void end_check(self) noexcept nogil
    cdef uint64_t unverified_bytes(self) noexcept nogil
    cdef bint has_unverified(self) noexcept nogil

    cdef uint64_t identity(self, bytes lives) except? 0
    cdef uint64_t unit_of(self, uint32_t file, uint64_t offset) noexcept nogil
    cdef void place_of(self, uint64_t unit, piece *drawn) noexcept nogil
