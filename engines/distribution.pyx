# distutils: libraries = m
"""Random places that are not all equally likely: zipf, pareto, normal, zones."""

from libc.math cimport exp, expm1, fabs, log, log1p, pow
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.permutation cimport permutation_free, permutation_init, permutation_rekey, permuted
from iovigil.engines.rng cimport random, random_below

# Where none is given, as in fio.
cdef double ZIPF_THETA = 1.1
cdef double PARETO_POWER = 0.2
cdef double CENTRE = 0.5

cdef enum:
    NORMAL_TRIES = 1000


cdef int distribution_init(distribution *self, tuple options, uint64_t count, uint64_t place_bytes,
                           uint64_t seed) except -1:
    """Make ready for `count` places of `place_bytes` each. Raises MemoryError, ValueError with the reason."""
    name, parameter, centre, zones = options
    memset(self, 0, sizeof(distribution))
    self.count = count
    if name == "random":
        self.kind = UNIFORM
    elif name == "zipf":
        self.kind = ZIPF
        self.exponent = parameter or ZIPF_THETA
        if self.exponent < 0:
            raise ValueError(f"zipf: theta is {parameter:g}; it must be above 0")
        self.integral_first = hat_integral(self.exponent, 1.5) - 1
        self.integral_last = hat_integral(self.exponent, count + 0.5)
        self.shortcut = 2 - hat_inverse(self.exponent, hat_integral(self.exponent, 2.5) - pow(2, -self.exponent))
    elif name == "pareto":
        self.kind = PARETO
        power = parameter or PARETO_POWER
        if not 0 < power < 1:
            raise ValueError(f"pareto: the power is {power:g}; it must be between 0 and 1")
        self.exponent = log(power) / log(1 - power)
    elif name in ("normal", "gauss"):
        self.kind = NORMAL
        if not 0 <= parameter <= 100:
            raise ValueError(f"normal: the deviation is {parameter:g} %; it must be in 0..100")
        self.centre = count * (centre if centre >= 0 else CENTRE)
        self.deviation = count * parameter / 100
    elif name in ("zoned", "zoned_abs"):
        self.kind = ZONED
        init_zones(self, zones, place_bytes if name == "zoned_abs" else 0)
    else:
        raise ValueError(f"random_distribution: {name} is none of random, zipf, pareto, normal, zoned, zoned_abs")
    if self.kind == ZIPF or self.kind == PARETO:
        if permutation_init(&self.scatter, count):
            raise MemoryError
        permutation_rekey(&self.scatter, seed)
        if centre >= 0:
            self.shift = min(<uint64_t>(centre * count), count - 1) + count - permuted(&self.scatter, 0)
    return 0


cdef int init_zones(distribution *self, tuple zones, uint64_t place_bytes) except -1:
    """Zones of per cent, or of bytes where `place_bytes` is given. What is beyond the region is cut off."""
    cdef uint64_t first = 0, count, index
    total = sum([share for share, _ in zones])
    if not zones or total <= 0:
        raise ValueError("zoned: at least one zone must have a share of the I/Os")
    self.zones = <zone *>calloc(len(zones), sizeof(zone))
    if self.zones == NULL:
        raise MemoryError
    until, length_until = 0.0, 0.0
    for index, (share, length) in enumerate(zones):
        length_until += length
        until += share
        count = <uint64_t>(length_until / place_bytes if place_bytes else self.count * length_until / 100 + 1e-6)
        count = min(count, self.count)
        self.zones[index].first = min(first, self.count - 1)
        # A zone that is too small for a place still gets its share.
        self.zones[index].count = max(count - min(first, count), <uint64_t>1)
        self.zones[index].until = until / total
        first = count
    self.zone_count = len(zones)
    return 0


cdef void distribution_free(distribution *self) noexcept nogil:
    permutation_free(&self.scatter)
    free(self.zones)
    self.zones = NULL


cdef uint64_t distribution_draw(const distribution *self, uint64_t *state) noexcept nogil:
    """A place in [0, count)."""
    cdef uint64_t rank
    if self.kind == NORMAL:
        return draw_normal(self, state)
    if self.kind == ZONED:
        return draw_zoned(self, state)
    if self.kind == UNIFORM:
        return random_below(state, self.count)
    if self.kind == ZIPF:
        rank = draw_zipf(self, state)
    else:
        rank = <uint64_t>((self.count - 1) * pow(uniform(state), self.exponent))
    return (permuted(&self.scatter, min(rank, self.count - 1)) + self.shift) % self.count


cdef inline double uniform(uint64_t *state) noexcept nogil:
    """In [0, 1)."""
    return (random(state) >> 11) * (1.0 / (<uint64_t>1 << 53))


cdef inline double hat_integral(double exponent, double x) noexcept nogil:
    """The integral of x^-exponent, also where the exponent is 1: log(x) times (e^t - 1) / t."""
    cdef double log_x = log(x), t = (1 - exponent) * log_x
    return log_x * (expm1(t) / t if fabs(t) > 1e-8 else 1 + t / 2)


cdef inline double hat_inverse(double exponent, double x) noexcept nogil:
    cdef double t = x * (1 - exponent)
    if t < -1:
        t = -1  # rounding took it below
    return exp(x * (log1p(t) / t if fabs(t) > 1e-8 else 1 - t / 2))


cdef uint64_t draw_zipf(const distribution *self, uint64_t *state) noexcept nogil:
    """A rank from 0, by rejection-inversion (Hoermann and Derflinger 1996): exact, without a table or a sum."""
    cdef double u, x, rank
    while True:
        u = self.integral_last + uniform(state) * (self.integral_first - self.integral_last)
        x = hat_inverse(self.exponent, u)
        rank = min(max(<double><uint64_t>(x + 0.5), 1.0), <double>self.count)
        if rank - x <= self.shortcut or u >= hat_integral(self.exponent, rank + 0.5) - pow(rank, -self.exponent):
            return <uint64_t>rank - 1


cdef uint64_t draw_normal(const distribution *self, uint64_t *state) noexcept nogil:
    """The sum of twelve uniform draws has a variance of 1; what falls outside is drawn again."""
    cdef double at = 0
    cdef uint32_t _attempt, _draw
    for _attempt in range(<uint32_t>NORMAL_TRIES):
        at = -6
        for _draw in range(12):
            at += uniform(state)
        at = self.centre + at * self.deviation
        if 0 <= at < self.count:
            return <uint64_t>at
    return self.count - 1 if at > 0 else 0


cdef uint64_t draw_zoned(const distribution *self, uint64_t *state) noexcept nogil:
    cdef double share = uniform(state)
    cdef uint32_t index = 0
    while index + 1 < self.zone_count and self.zones[index].until <= share:
        index += 1
    return self.zones[index].first + random_below(state, self.zones[index].count)
