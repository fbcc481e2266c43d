"""How fast the job is going: half-second samples, and whether it keeps its minimum rates."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from iovigil.engines.latency cimport slot_add
from iovigil.engines.stats cimport Counter, rate_samples, stats_page

cdef enum:
    SAMPLE_NS = 500000000  # fio's interval for bw_* and iops_*
    SETTLE_NS = 2000000000  # minimum rates are not judged before


cdef void rates_start(rates *self, uint64_t epoch_ns) noexcept nogil:
    """Count from `epoch_ns`, where measuring begins."""
    memset(self, 0, sizeof(rates))
    self.sampled.at_ns = epoch_ns
    self.next_sample_ns = epoch_ns + SAMPLE_NS
    self.next_judgement_ns = epoch_ns + SETTLE_NS


cdef void rates_look(rates *self, stats_page *page, const job_options *options, uint64_t now) noexcept nogil:
    """Take the sample or pass the judgement that is due, if one is."""
    if now >= self.next_sample_ns:
        sample(self, page, now)
        self.next_sample_ns = now + SAMPLE_NS
    if now >= self.next_judgement_ns:
        judge(self, page, options, now)
        self.next_judgement_ns = now + 1000 * options.ratecycle


cdef inline void note(progress *self, const stats_page *page, uint64_t now) noexcept nogil:
    cdef int ddir
    self.at_ns = now
    for ddir in range(2):
        self.bytes[ddir] = page.counter[<int>Counter.BYTES][ddir]
        self.ios[ddir] = page.counter[<int>Counter.IOS][ddir]


cdef void sample(rates *self, stats_page *page, uint64_t now) noexcept nogil:
    """One sample of throughput (KiB/s) and I/O rate for every direction that moved."""
    cdef progress current
    cdef int ddir
    cdef double seconds = <double>(now - self.sampled.at_ns) / 1e9
    note(&current, page, now)
    for ddir in range(2):
        if current.ios[ddir] != self.sampled.ios[ddir]:
            add(&page.bw[ddir], <double>(current.bytes[ddir] - self.sampled.bytes[ddir]) / 1024 / seconds)
            add(&page.iops[ddir], <double>(current.ios[ddir] - self.sampled.ios[ddir]) / seconds)
    self.sampled = current


cdef void judge(rates *self, const stats_page *page, const job_options *options, uint64_t now) noexcept nogil:
    """Hold every direction of the running phase against its minimum, over the time since the last judgement."""
    cdef progress current
    cdef int ddir
    cdef double seconds = <double>(now - self.judged.at_ns) / 1e9
    note(&current, page, now)
    if self.judged.at_ns:  # else this one only says where counting starts
        for ddir in range(2):
            if page.phase_ddirs & (1 << ddir):
                hold(self, ddir, False, <double>(current.bytes[ddir] - self.judged.bytes[ddir]) / seconds,
                     <double>options.rate_min[ddir])
                hold(self, ddir, True, <double>(current.ios[ddir] - self.judged.ios[ddir]) / seconds,
                     <double>options.rate_iops_min[ddir])
    self.judged = current


cdef inline void hold(rates *self, int ddir, bint is_iops, double rate, double least) noexcept nogil:
    if rate < least and not self.is_missed:
        self.is_missed = True
        self.missed_ddir = ddir
        self.is_missed_iops = is_iops
        self.missed_rate = rate


cdef inline void add(rate_samples *samples, double value) noexcept nogil:
    if not samples.count or value < samples.minimum:
        samples.minimum = value
    if not samples.count or value > samples.maximum:
        samples.maximum = value
    samples.sum += value
    samples.sum_square += value * value
    slot_add(&samples.count, 1)
