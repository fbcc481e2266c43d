# The greatest iodepth that keeps a latency.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.job_options cimport job_options


# What the loop is to do next.
cdef enum SearchAction:
    SEARCH_NOTHING = 0
    SEARCH_CHANGED = 1  # let what is in flight end, then search_begin
    SEARCH_SETTLED = 2  # the same; what is measured from then on is the answer
    SEARCH_DONE = 3  # the answer is measured: end the job
    SEARCH_FAILED = 4  # not even one I/O at a time keeps the target: ETIMEDOUT


cdef struct search:
    bint is_on
    bint is_waiting  # for what was in flight at another depth
    bint is_final  # the answer is being measured
    bint goes_on  # latency_run
    uint32_t depth  # in flight at most
    uint32_t low  # the greatest depth that kept the target; 0 is none
    uint32_t high  # the least that did not; beyond `most` is none
    uint32_t most  # iodepth
    uint32_t streak  # good windows in a row at a depth that has settled
    uint64_t target_ns
    uint64_t window_ns
    double percentile
    uint64_t window_end_ns
    uint64_t seen  # I/Os of this window
    uint64_t late


cdef void search_init(search *self, const job_options *options) noexcept nogil
cdef void search_begin(search *self, uint64_t now) noexcept nogil
cdef SearchAction search_judge(search *self, uint64_t now) noexcept nogil


cdef inline void search_note(search *self, uint64_t lat_ns) noexcept nogil:
    """An I/O has completed. Of those that end while the search waits, `search_begin` forgets."""
    self.seen += 1
    self.late += lat_ns > self.target_ns


cdef inline SearchAction search_look(search *self, uint64_t now) noexcept nogil:
    """What follows from the I/Os so far; nothing between a change of depth and `search_begin`."""
    # Where all I/Os have to keep the target, one that does not has decided the window.
    if self.is_waiting or not self.seen or (now < self.window_end_ns and (
            self.is_final or not self.late or self.percentile < 100)):
        return SEARCH_NOTHING
    return search_judge(self, now)
