"""The greatest iodepth that keeps a latency: latency_target.

From 1 the depth doubles after each window that kept the target, until one does not; then the gap between the two is
halved. A depth below one that failed is measured once more before it counts as the answer, because the disk may have
changed since. Then statistics begin again, and one last window at that depth is the result.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from iovigil.engines.job_options cimport job_options, read_options

cdef enum:
    LONGEST_STREAK = 8  # good windows before a greater depth is tried again (latency_run)


cdef void search_init(search *self, const job_options *options) noexcept nogil:
    memset(self, 0, sizeof(search))
    self.is_on = options.latency_target > 0
    self.goes_on = options.latency_run
    self.most = <uint32_t>options.iodepth
    self.depth = 1 if self.is_on else self.most
    self.high = self.most + 1
    self.target_ns = 1000 * options.latency_target
    self.window_ns = 1000 * options.latency_window
    self.percentile = options.latency_percentile


cdef void search_begin(search *self, uint64_t now) noexcept nogil:
    """A window begins: at the start, and whenever no I/O of another depth is in flight any more."""
    self.is_waiting = False
    self.seen = self.late = 0
    self.window_end_ns = now + self.window_ns


cdef SearchAction search_judge(search *self, uint64_t now) noexcept nogil:
    # A little more than exact: 100 - 99.9 is less than 0.1.
    cdef bint is_good = 100.0 * <double>self.late <= (100.0 - self.percentile + 1e-9) * <double>self.seen
    if self.is_final:
        return SEARCH_DONE
    if is_good:
        return rise(self, now)
    if self.depth == 1 and not self.goes_on:
        return SEARCH_FAILED
    return fall(self, now)


cdef SearchAction rise(search *self, uint64_t now) noexcept nogil:
    cdef uint32_t next_depth = 2 * self.depth
    self.low = self.depth
    if self.high <= self.most:
        next_depth = (self.depth + self.high) // 2
    next_depth = min(next_depth, self.most)
    if next_depth != self.depth:
        return change(self, next_depth)
    if not self.goes_on:
        self.is_final = True
        self.is_waiting = True
        return SEARCH_SETTLED
    self.streak += 1
    if self.streak >= LONGEST_STREAK and self.depth < self.most:
        # The disk may have become faster: one step, and as from the start if that is good.
        self.high = self.most + 1
        return change(self, self.depth + 1)
    search_begin(self, now)
    return SEARCH_NOTHING


cdef SearchAction fall(search *self, uint64_t now) noexcept nogil:
    if self.depth == 1:
        search_begin(self, now)  # as near to the target as can be
        return SEARCH_NOTHING
    self.high = self.depth
    if self.low >= self.high:
        self.low = 0  # what was good is so no longer
    return change(self, max((self.high + self.low) // 2, 1))


cdef SearchAction change(search *self, uint32_t depth) noexcept nogil:
    self.depth = depth
    self.streak = 0
    self.is_waiting = True
    return SEARCH_CHANGED


cdef class Search:
    """The search for a depth, on a clock of the caller's: for tests."""

    cdef search search

    def __cinit__(self, dict options not None):
        cdef job_options native = read_options(options)
        search_init(&self.search, &native)

    def begin(self, uint64_t now):
        search_begin(&self.search, now)

    def note(self, uint64_t lat_ns):
        search_note(&self.search, lat_ns)

    def look(self, uint64_t now):
        """nothing, changed, settled, done or failed."""
        return ("nothing", "changed", "settled", "done", "failed")[<int>search_look(&self.search, now)]

    @property
    def depth(self):
        return self.search.depth
