# Random places that are not all equally likely: zipf, pareto, normal, zones.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.permutation cimport permutation

cdef enum DistributionKind:
    UNIFORM
    ZIPF
    PARETO
    NORMAL
    ZONED

cdef struct zone:
    double until  # share of the draws up to here, of 1
    uint64_t first
    uint64_t count


cdef struct distribution:
    int kind
    uint64_t count
    uint64_t shift  # added, going round: brings the most frequent place to the centre
    permutation scatter  # rank to place
    double exponent  # zipf: theta; pareto: of the uniform draw
    double integral_first  # zipf: of the hat function up to the first rank, and up to the last
    double integral_last
    double shortcut
    double centre  # normal, in places
    double deviation
    uint32_t zone_count
    zone *zones


cdef int distribution_init(distribution *self, tuple options, uint64_t count, uint64_t place_bytes,
                           uint64_t seed) except -1
cdef void distribution_free(distribution *self) noexcept nogil
cdef uint64_t distribution_draw(const distribution *self, uint64_t *state) noexcept nogil
