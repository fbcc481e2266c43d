"""When the next I/O may start: rate, rate_iops, rate_process; all waiting that is not for I/O.

A moment is fixed when the I/O before it starts, and stays however late its own I/O does: from it counts the
response time, which a stalled disk lengthens for all that it should have served meanwhile.

Even gaps (linear) are for a load that must not overwhelm: of a stall longer than ratecycle the rest is given up,
and counted. Random gaps (poisson) stand for users who do not wait for each other: nothing is ever given up, so that
no stall can hide the queue it made.
"""

from libc.math cimport log
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_nanosleep, timespec

from iovigil.engines.clock cimport clock_source, now_ns
from iovigil.engines.job_options cimport job_options, read_options
from iovigil.engines.latency cimport slot_get
from iovigil.engines.rng cimport mix, random

cdef enum:
    # Sleeping ends late by the timer's slack and the scheduler; the rest is spun. Measured: a
    # rate of 10,000 I/Os a second is then off by 0.004 %, without the spin by 0.03 %.
    SPIN_NS = 55000
    LONGEST_SLEEP_NS = 100000000  # a stop word set without a signal is seen by then

cdef double LONGEST_GAP_NS = 1e18  # 31 years: sums stay within 64 bits


cdef void pace_init(pace *self, const job_options *options, uint64_t seed) noexcept nogil:
    cdef int ddir
    cdef pace_direction *bounds
    memset(self, 0, sizeof(pace))
    self.is_poisson = options.is_open_loop
    self.keeps_pauses = options.rate_ignore_thinktime
    self.lag_ns = 1000 * options.ratecycle
    self.state = mix(seed)
    for ddir in range(3):
        bounds = &self.directions[ddir]
        if options.rate_iops[ddir]:
            bounds.ios.unit_ns = 1e9 / <double>options.rate_iops[ddir]
        if options.rate[ddir]:
            bounds.bytes.unit_ns = 1e9 / <double>options.rate[ddir]
        bounds.first_ns = max(bounds.ios.unit_ns,
                              bounds.bytes.unit_ns * <double>(options.min_bs[ddir] + options.max_bs[ddir]) / 2)
        if bounds.first_ns > 0:
            self.is_on = True


cdef void pace_start(pace *self, uint64_t now) noexcept nogil:
    """Begin a phase: with even gaps at once, with random ones after the first of them."""
    cdef int ddir
    cdef double gap_ns
    cdef pace_direction *bounds
    for ddir in range(3):
        bounds = &self.directions[ddir]
        gap_ns = bounds.first_ns * exponential(self) if self.is_poisson else 0
        begin(&bounds.ios, now, gap_ns)
        begin(&bounds.bytes, now, gap_ns)


cdef void pace_paused(pace *self, uint64_t pause_ns) noexcept nogil:
    """The job thought for so long. Made up for afterwards, as fio does, unless rate_ignore_thinktime is set."""
    cdef int ddir
    if self.keeps_pauses:
        for ddir in range(3):
            push(&self.directions[ddir], pause_ns)


cdef void pace_advance(pace *self, pace_direction *bounds, uint32_t length, uint64_t now) noexcept nogil:
    cdef double ios_ns = bounds.ios.unit_ns, bytes_ns = bounds.bytes.unit_ns * <double>length, stretch = 1
    cdef uint64_t due_ns
    if self.is_poisson:
        stretch = exponential(self)
    step(&bounds.ios, ios_ns * stretch)
    step(&bounds.bytes, bytes_ns * stretch)
    due_ns = max(bounds.ios.due_ns, bounds.bytes.due_ns)
    # The bound that is not the tighter one now must not save up for when it is.
    keep_up(&bounds.ios, due_ns, self.lag_ns)
    keep_up(&bounds.bytes, due_ns, self.lag_ns)
    if not self.is_poisson and due_ns + self.lag_ns < now:
        # A disk that comes back from a stall must not be met by all that it missed.
        bounds.given_up += <double>(now - self.lag_ns - due_ns) / max(ios_ns, bytes_ns)
        push(bounds, now - self.lag_ns - due_ns)


cdef inline double exponential(pace *self) noexcept nogil:
    """Of mean 1: gaps of it make a Poisson process."""
    return -log(<double>((random(&self.state) >> 11) + 1) / <double>(1 << 53))


cdef inline void begin(pace_limit *limit, uint64_t now, double gap_ns) noexcept nogil:
    limit.due_ns = now if limit.unit_ns else 0
    limit.rest_ns = 0
    step(limit, gap_ns)


cdef inline void step(pace_limit *limit, double gap_ns) noexcept nogil:
    cdef uint64_t whole_ns
    if limit.unit_ns:
        gap_ns = min(gap_ns + limit.rest_ns, LONGEST_GAP_NS)
        whole_ns = <uint64_t>gap_ns
        limit.due_ns += whole_ns
        limit.rest_ns = gap_ns - <double>whole_ns


cdef inline void keep_up(pace_limit *limit, uint64_t due_ns, uint64_t lag_ns) noexcept nogil:
    if limit.unit_ns and limit.due_ns + lag_ns < due_ns:
        limit.due_ns = due_ns - lag_ns


cdef inline void push(pace_direction *bounds, uint64_t by_ns) noexcept nogil:
    if bounds.ios.unit_ns:
        bounds.ios.due_ns += by_ns
    if bounds.bytes.unit_ns:
        bounds.bytes.due_ns += by_ns


cdef uint64_t sleep_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil:
    """Wait for a moment of the job's clock, or for the stop word. Returns the time."""
    cdef timespec nap
    cdef uint64_t now = now_ns(clock), nap_ns
    while now + SPIN_NS < wake_ns and not slot_get(stop):
        # Not until an absolute time: the job's clock and the kernel's drift apart over hours.
        nap_ns = min(wake_ns - SPIN_NS - now, <uint64_t>LONGEST_SLEEP_NS)
        nap.tv_sec = <int64_t>(nap_ns // 1000000000)
        nap.tv_nsec = <int64_t>(nap_ns % 1000000000)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL)
        now = now_ns(clock)
    return spin_until(clock, wake_ns, stop)


cdef uint64_t spin_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil:
    """Burn CPU until a moment, or the stop word. Returns the time."""
    cdef uint64_t now = now_ns(clock)
    while now < wake_ns and not slot_get(stop):
        now = now_ns(clock)
    return now


cdef class Pace:
    """The moments of one job's I/Os, on a clock of the caller's: for tests."""

    cdef pace pace

    def __cinit__(self, dict options not None, uint64_t seed):
        cdef job_options native = read_options(options)
        pace_init(&self.pace, &native, seed)

    def start(self, uint64_t now):
        pace_start(&self.pace, now)

    def due_ns(self, int ddir):
        return pace_due_ns(&self.pace, ddir)

    def issued(self, int ddir, uint32_t length, uint64_t now):
        pace_issued(&self.pace, ddir, length, now)

    def paused(self, uint64_t pause_ns):
        pace_paused(&self.pace, pause_ns)

    def dropped(self, int ddir):
        return pace_dropped(&self.pace, ddir)
