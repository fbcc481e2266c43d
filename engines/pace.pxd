# When the next I/O may start.

from libc.stdint cimport uint64_t

from iovigil.engines.clock cimport clock_source

cdef struct pace:
    bint is_on
    double interval_ns[2]  # per direction; 0 is no bound
    double due_ns[2]
    double lag_ns  # a stall is made up for by at most this much


cdef void pace_start(pace *self, uint64_t start_ns) noexcept nogil


cdef inline uint64_t pace_due_ns(pace *self, int ddir) noexcept nogil:
    return <uint64_t>self.due_ns[ddir] if self.interval_ns[ddir] else 0


cdef inline void pace_issued(pace *self, int ddir, uint64_t now_ns) noexcept nogil:
    self.due_ns[ddir] += self.interval_ns[ddir]
    # A disk that comes back from a stall must not be met by all that it missed.
    if self.due_ns[ddir] < <double>now_ns - self.lag_ns:
        self.due_ns[ddir] = <double>now_ns - self.lag_ns


cdef uint64_t sleep_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil
cdef uint64_t spin_until(const clock_source *clock, uint64_t wake_ns, const uint64_t *stop) noexcept nogil
