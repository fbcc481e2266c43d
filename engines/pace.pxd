# When the next I/O may start.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.clock cimport clock_source
from iovigil.engines.job_options cimport job_options


# One bound of one direction: whole nanoseconds and what is left of one, so that days of it stay exact.
cdef struct pace_limit:
    double unit_ns  # per I/O or per byte; 0 is no bound
    uint64_t due_ns
    double rest_ns


cdef struct pace_direction:
    pace_limit ios
    pace_limit bytes
    double first_ns  # mean gap before the first I/O
    double given_up  # I/Os that a stall cost


cdef struct pace:
    bint is_on
    bint is_poisson
    bint keeps_pauses  # thinktime is not made up for
    uint64_t lag_ns  # a stall is made up for by at most this much
    uint64_t state  # of the generator
    pace_direction directions[3]


cdef void pace_init(pace *self, const job_options *options, uint64_t seed) noexcept nogil
cdef void pace_start(pace *self, uint64_t now) noexcept nogil
cdef void pace_paused(pace *self, uint64_t pause_ns) noexcept nogil
cdef void pace_advance(pace *self, pace_direction *bounds, uint32_t length, uint64_t now) noexcept nogil


cdef inline uint64_t pace_due_ns(const pace *self, int ddir) noexcept nogil:
    """When the next I/O is meant to start, however late it does; 0 is at once."""
    return max(self.directions[ddir].ios.due_ns, self.directions[ddir].bytes.due_ns)


cdef inline void pace_issued(pace *self, int ddir, uint32_t length, uint64_t now) noexcept nogil:
    """An I/O has started: the next one's moment follows from its length."""
    if pace_due_ns(self, ddir):
        pace_advance(self, &self.directions[ddir], length, now)


cdef inline uint64_t pace_dropped(const pace *self, int ddir) noexcept nogil:
    """I/Os meant for moments that are given up since `pace_init`."""
    return <uint64_t>self.directions[ddir].given_up


cdef inline void pace_forget(pace *self, int ddir) noexcept nogil:
    """Count anew what is given up."""
    self.directions[ddir].given_up = 0


cdef uint64_t sleep_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil
cdef uint64_t spin_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil
