# The stats page: shared memory with one writer, the job, and any reader, dead or alive.
# This is the only place where its layout is written.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from iovigil.engines.clock cimport clock_source
from iovigil.engines.latency cimport latency_stats

cdef enum:
    PAGE_MAGIC = 0x6C696769766F69  # "iovigil"
    PAGE_VERSION = 3
    DDIR_COUNT = 4
    COUNTER_COUNT = 5
    MISMATCH_COUNT = 6
    LATENCY_COUNT = 4
    ERRNO_COUNT = 134  # EHWPOISON is 133; what lies beyond counts in slot 0
    DEPTH_COUNT = 7  # 1, 2, 4, 8, 16, 32, 64 and more
    MAX_IODEPTH = 4096
    MISMATCHES_KEPT = 64
    TEXT_SIZE = 512


cpdef enum RunState:
    """fio's run states; a job never goes back past INITIALIZED."""
    NOT_CREATED = 0
    CREATED = 1
    INITIALIZED = 2
    RAMP = 3
    SETTING_UP = 4
    RUNNING = 5
    PRE_READING = 6
    VERIFYING = 7
    FSYNCING = 8
    FINISHING = 9
    EXITED = 10
    REAPED = 11


cpdef enum Counter:
    """What is counted per data direction."""
    IOS = 0
    BYTES = 1
    SHORT_IOS = 2
    VERIFIED_BYTES = 3
    DROPPED_IOS = 4  # intended at a rate, but given up after a stall


cpdef enum Latency:
    SLAT = 0
    CLAT = 1
    LAT = 2
    RESPONSE = 3  # from the intended start, of jobs with a rate


cpdef enum Mismatch:
    """What was wrong with a block that failed verification."""
    CHECKSUM = 0
    HEADER = 1
    MISPLACED = 2
    STALE = 3
    ZEROED = 4
    TORN = 5


# Running mean and extremes of half-second rates, as fio's bw_* and iops_* report.
cdef struct rate_samples:
    uint64_t count
    double minimum
    double maximum
    double sum
    double sum_square


cdef struct mismatch_record:
    uint64_t offset  # of the block
    uint64_t length
    int64_t first_byte  # offset in the target of the first wrong byte, -1 where it cannot be told
    uint64_t kind
    uint64_t expected  # generation (header's numberio); 0 when not known
    uint64_t found
    int64_t wrong_bits  # against what should be there, -1 where that is not known
    int64_t found_offset  # of a misplaced block: where it belongs; -1 where it does not say
    uint64_t found_ns  # when it was read, by the job's clock
    uint64_t is_dumped  # verify_dump has written it to a file
    uint64_t file  # which of the job's targets


# Where a scrub stands. Of a page without one all are 0.
cdef struct scrub_figures:
    uint64_t region_bytes
    uint64_t cursor_bytes  # of the region, in this cycle
    uint64_t cycle  # from 1, the one that writes every block for the first time
    uint64_t cycle_begun_unix
    uint64_t cycles_completed
    uint64_t last_ended_unix  # when the last complete cycle ended; 0 before
    uint64_t oldest_unix  # the block longest unread was read, or first written, no earlier than this
    uint64_t unknown_blocks  # that could not be written


cdef struct stats_page:
    uint64_t magic
    uint32_t version
    uint32_t size
    clock_source clock  # made by the agent, so that no child spends time on it

    uint64_t is_released  # written by the agent: the job may start
    uint64_t stop  # written by the agent: end as soon as possible
    uint64_t state
    uint64_t error  # errno of the job's first fatal error, positive
    uint64_t first_error  # errno of the first error that continue_on_error passed over
    uint64_t total_errors
    uint64_t is_complete  # the job came to its own end: everything below is final

    # CLOCK_MONOTONIC
    uint64_t spawned_ns
    uint64_t first_io_ns
    uint64_t epoch_ns  # measuring began: after ramp_time
    uint64_t ended_ns
    uint64_t phase_ns  # start of the phase now running, 0 between phases
    uint64_t phase_ddirs  # bits: which directions the running phase is timed for
    uint64_t runtime_ns[DDIR_COUNT]  # of the phases that ended

    uint64_t counter[COUNTER_COUNT][DDIR_COUNT]
    uint64_t errors[DDIR_COUNT][ERRNO_COUNT]
    uint64_t mismatch[MISMATCH_COUNT]
    uint64_t unverified_bytes  # written in this run, but not read back for lack of time
    uint64_t inherited_bytes  # written by a run before, and handed to this one to read back
    uint64_t latency_depth  # that the search for latency_target has come to; 0 without one
    uint64_t depth_level[DEPTH_COUNT]
    uint64_t submits[DEPTH_COUNT]
    uint64_t completes[DEPTH_COUNT]
    rate_samples bw[DDIR_COUNT]  # KiB/s
    rate_samples iops[DDIR_COUNT]

    uint64_t user_us
    uint64_t system_us
    uint64_t context_switches
    uint64_t major_faults
    uint64_t minor_faults
    uint64_t max_rss_bytes

    mismatch_record mismatches[MISMATCHES_KEPT]
    char text[TEXT_SIZE]  # what went wrong, for people

    latency_stats latency[LATENCY_COUNT][DDIR_COUNT]
    uint64_t inflight_ns[MAX_IODEPTH]  # issue stamp of each slot, 0 when free

    scrub_figures scrub


cdef class PackedPage:
    cdef bytes data


cdef class StatsPage:
    cdef stats_page *page
    cdef int fd  # -1: private memory
    cdef int map(self, int flags) except -1
    cdef void initialise(self) noexcept
    cpdef close(self)
