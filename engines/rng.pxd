# Random numbers for offsets and mixes: wyrand, one multiplication a draw (public domain, Wang Yi).

from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef IOVIGIL_RNG
    #define IOVIGIL_RNG
    #include <stdint.h>

    static inline uint64_t iovigil_random(uint64_t *state) {
        *state += 0xa0761d6478bd642fULL;
        unsigned __int128 product = (unsigned __int128)*state * (*state ^ 0xe7037ed1a0b428dbULL);
        return (uint64_t)(product >> 64) ^ (uint64_t)product;
    }

    /* Uniform in [0, n): multiply and take the high half; the bias is below n / 2^64. */
    static inline uint64_t iovigil_random_below(uint64_t *state, uint64_t n) {
        return (uint64_t)(((unsigned __int128)iovigil_random(state) * n) >> 64);
    }

    /* A bijection that makes a random number of a counter (the finaliser of splitmix64). */
    static inline uint64_t iovigil_mix(uint64_t value) {
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
        value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
        return value ^ (value >> 31);
    }
    #endif
    """
    uint64_t random "iovigil_random" (uint64_t *state) noexcept
    uint64_t random_below "iovigil_random_below" (uint64_t *state, uint64_t n) noexcept
    uint64_t mix "iovigil_mix" (uint64_t value) noexcept
