"""How fast the job is going: samples, and whether it keeps its minimum rates."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from iovigil.engines.latency cimport slot_add
from iovigil.engines.stats cimport Counter, rate_samples, stats_page

cdef enum:
    SETTLE_NS = 2000000000  # minimum rates are not judged before


cdef void rates_start(rates *self, const job_options *options, uint64_t epoch_ns) noexcept nogil:
    """Count from `epoch_ns`, where measuring begins."""
    memset(self, 0, sizeof(rates))
    if not options.disable_bw_measurement and not options.gtod_reduce:
        self.next_bw_ns = epoch_ns + 1000 * options.bwavgtime
    self.next_iops_ns = epoch_ns + 1000 * options.iopsavgtime
    self.next_judgement_ns = epoch_ns + SETTLE_NS
    set_next_look(self)


cdef void rates_look(rates *self, stats_page *page, const job_options *options, uint64_t now) noexcept nogil:
    """Take the samples and pass the judgements that are due."""
    cdef int ddir
    if self.next_bw_ns and now >= self.next_bw_ns:
        for ddir in range(3):
            sample(&self.sampled_bytes[ddir], page, ddir, now, True)
        self.next_bw_ns = now + 1000 * options.bwavgtime
    if now >= self.next_iops_ns:
        for ddir in range(3):
            sample(&self.sampled_ios[ddir], page, ddir, now, False)
        self.next_iops_ns = now + 1000 * options.iopsavgtime
    if now >= self.next_judgement_ns:
        self.next_judgement_ns = now + 1000 * options.ratecycle
        for ddir in range(3):
            judge(self, page, options, ddir, now)
    set_next_look(self)


cdef inline void set_next_look(rates *self) noexcept nogil:
    self.next_look_ns = min(self.next_iops_ns, self.next_judgement_ns)
    if self.next_bw_ns:
        self.next_look_ns = min(self.next_look_ns, self.next_bw_ns)


cdef inline progress reached(const stats_page *page, int ddir, uint64_t now) noexcept nogil:
    cdef progress current
    current.time_ns = page.runtime_ns[ddir]
    if page.phase_ns and page.phase_ddirs & (1 << ddir):
        current.time_ns += now - page.phase_ns
    current.bytes = page.counter[<int>Counter.BYTES][ddir]
    current.ios = page.counter[<int>Counter.IOS][ddir]
    return current


cdef void sample(progress *last, stats_page *page, int ddir, uint64_t now, bint is_bw) noexcept nogil:
    """One sample of throughput (KiB/s) or of the I/O rate, if the direction was at work."""
    cdef progress current = reached(page, ddir, now)
    cdef double seconds = <double>(current.time_ns - last.time_ns) / 1e9
    if current.ios != last.ios and seconds > 0:
        if is_bw:
            add(&page.bw[ddir], <double>(current.bytes - last.bytes) / 1024 / seconds)
        else:
            add(&page.iops[ddir], <double>(current.ios - last.ios) / seconds)
    last[0] = current


cdef void judge(rates *self, const stats_page *page, const job_options *options, int ddir,
                uint64_t now) noexcept nogil:
    """Hold a direction against its minimum over its last ratecycle, once it has run long enough to have settled."""
    cdef progress *last = &self.judged[ddir]
    cdef progress current = reached(page, ddir, now)
    cdef uint64_t due_ns = last.time_ns + 1000 * options.ratecycle if last.time_ns else <uint64_t>SETTLE_NS
    cdef double seconds = <double>(current.time_ns - last.time_ns) / 1e9
    if current.time_ns < due_ns:
        # Phases of the other direction took some of the time: look again when the window can be full.
        if page.phase_ddirs & (1 << ddir):
            self.next_judgement_ns = min(self.next_judgement_ns, now + due_ns - current.time_ns)
    elif not last.time_ns:
        last[0] = current  # the first judgement counts from here
    else:
        hold(self, ddir, False, <double>(current.bytes - last.bytes) / seconds, <double>options.rate_min[ddir])
        hold(self, ddir, True, <double>(current.ios - last.ios) / seconds, <double>options.rate_iops_min[ddir])
        last[0] = current


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
