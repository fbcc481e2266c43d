"""The clock that jobs stamp I/O with: TSC ticks where the kernel itself trusts them, else clock_gettime."""

from iovigil.engines.clock cimport monotonic_ns, ticks


def tsc_is_sound():
    """Whether the TSC runs at one rate on every CPU and the kernel keeps time by it."""
    try:
        with open("/sys/devices/system/clocksource/clocksource0/current_clocksource") as source:
            if source.read().strip() != "tsc":
                return False
        with open("/proc/cpuinfo") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("flags"):
                    flags = line.split()
                    return "constant_tsc" in flags and "nonstop_tsc" in flags
    except OSError:
        pass
    return False


cdef class Clock:
    """Measures the TSC's rate against CLOCK_MONOTONIC, once per agent, better the longer it lives.

    A pair of readings is off by the time between its two instructions, some 30 ns; over the
    10 ms that a new agent waits the rate is off by about 5 parts per million.
    """

    cdef uint64_t first_ticks
    cdef uint64_t first_ns
    cdef bint is_tsc

    def __cinit__(self):
        self.is_tsc = tsc_is_sound()
        self.first_ticks, self.first_ns = pair()

    def source(self):
        """(base_ticks, base_ns, mult, is_tsc) for `StatsPage.calibrate`."""
        if not self.is_tsc:
            return 0, 0, 0, 0
        cdef uint64_t now_ticks, now_ns
        while True:
            now_ticks, now_ns = pair()
            if now_ns - self.first_ns >= 10_000_000:
                break
        # Python's integers: nanoseconds times 2^32 pass 64 bits after four seconds.
        mult = (int(now_ns - self.first_ns) << 32) // int(now_ticks - self.first_ticks)
        return now_ticks, now_ns, mult, 1


cdef (uint64_t, uint64_t) pair() noexcept:
    """Ticks and CLOCK_MONOTONIC of the same moment: the closest of some tries."""
    cdef uint64_t before, after, now, best = <uint64_t>-1, best_ticks = 0, best_ns = 0
    cdef int _attempt
    for _attempt in range(8):
        before = ticks()
        now = monotonic_ns()
        after = ticks()
        if after - before < best:
            best = after - before
            best_ticks = before + (after - before) // 2
            best_ns = now
    return best_ticks, best_ns
