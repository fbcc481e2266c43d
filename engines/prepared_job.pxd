# What one job is made of.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.buffers cimport Buffers
from iovigil.engines.checkers cimport Checkers
from iovigil.engines.contents cimport contents
from iovigil.engines.depth_search cimport search
from iovigil.engines.flow cimport flow
from iovigil.engines.integrity cimport Integrity
from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport io_u
from iovigil.engines.job_options cimport job_options
from iovigil.engines.logs cimport Logs
from iovigil.engines.outcomes cimport Outcomes, Vouched
from iovigil.engines.pace cimport pace
from iovigil.engines.recorder cimport Recorder
from iovigil.engines.replay cimport Replay
from iovigil.engines.scrub cimport Scrub
from iovigil.engines.stats cimport StatsPage, stats_page
from iovigil.engines.target cimport TargetFiles
from iovigil.engines.think cimport think
from iovigil.engines.workload cimport workload


cdef enum:
    # Instead of advice to the kernel.
    BY_DIRECTION = -1
    NO_ADVICE = -2


cdef class PreparedJob:
    cdef readonly StatsPage stats
    cdef stats_page *page
    cdef IoEngine engine
    cdef job_options options
    cdef TargetFiles targets
    cdef uint64_t min_bs  # of all directions that the job has
    cdef uint64_t max_bs
    cdef uint64_t region_bytes  # of all files
    cdef uint64_t pass_bytes  # to transfer in one loop

    cdef Buffers buffers
    cdef io_u *ios
    cdef io_u **free
    cdef uint32_t free_count
    cdef io_u **again  # to be offered once more: refused for lack of room, or the rest of a short I/O
    cdef uint32_t again_count
    cdef io_u **batch  # queued since the last submission

    cdef workload work
    cdef pace pace
    cdef think think
    cdef flow flow
    cdef object flow_place  # FlowPage, and the place there; None: the job is in no flow
    cdef uint64_t flow_weight
    cdef contents contents
    cdef search search
    cdef Integrity integrity
    cdef Logs logs
    cdef Recorder recorder
    cdef Replay replay
    cdef Outcomes outcomes  # for the verify state file
    cdef bint keeps_outcomes
    cdef Vouched vouched  # taken from one
    cdef tuple state_file  # its directory, the job's name and index; None: the job has none
    cdef str state_header  # verify_header
    cdef uint64_t seed
    cdef list state_notes
    cdef Scrub scrub
    cdef bint is_scrub
    cdef object names  # of the files, as iologs have them
    cdef bint is_recorded
    cdef bint restamps  # what is logged of an I/O takes long enough to look at the clock again
    cdef Checkers checkers
    cdef bint has_checkers
    cdef uint32_t depth  # I/Os there are
    cdef uint32_t depth_limit  # I/Os that may be in flight now
    cdef uint32_t submit_most
    cdef uint32_t reap_least
    cdef uint32_t reap_most
    cdef bint is_batching  # the options say how many are submitted and reaped together
    cdef uint64_t *due_ns  # intended start of each I/O of a paced job

    # What the options come to.
    cdef bint is_usual  # nothing that few jobs ask for
    cdef bint measures_all  # and no more
    cdef bint reads_back
    cdef bint settles  # what was transferred is looked at once more
    cdef bint checks_reads
    cdef bint has_backlog
    cdef bint has_conflicts
    cdef bint is_mixed
    cdef bint is_idle  # nothing the engine does is I/O
    cdef bint is_watched
    cdef bint skips_slat
    cdef bint skips_clat
    cdef bint skips_lat
    cdef bint syncs
    cdef uint64_t range_writes
    cdef int access_advice  # of posix_fadvise
    cdef int ignored[3][32]
    cdef int ignored_count[3]

    cdef int set_up(self, dict options, files, uint32_t number, location, shared_log,
                    scrub) except -1
    cdef uint64_t set_up_state(self, dict options, uint64_t seed) except? 0
    cdef bint uses(self, int ddir) noexcept
    cdef object end(self, size, first)
    cdef void limit_depth(self, uint32_t depth) noexcept nogil
    cdef adopt(self, Replay replay)
