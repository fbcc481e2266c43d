# Block contents from a seed.

from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef IOVIGIL_PAYLOAD
    #define IOVIGIL_PAYLOAD
    #include <stdint.h>
    #include <string.h>

    #define IOVIGIL_STEP 0x61C8864680B583EBULL

    /* fio's generator: four lanes, seed times 1, 2, 3 and 5, all multiplied by one constant a step. Lanes
       2 to 4 are sums of the first, which saves three multiplications of four; two steps at once hide the
       latency of the rest. 4 KiB take some 60 ns. `to` may stand anywhere: verify_interval may be odd. */
    typedef uint64_t iovigil_word __attribute__((aligned(1), may_alias));

    static inline void iovigil_lanes(iovigil_word *to, uint64_t a) {
        to[0] = a;
        to[1] = a + a;
        to[2] = a + a + a;
        to[3] = 4 * a + a;
    }

    __attribute__((unused)) static void iovigil_fill(char *to, uint64_t length, uint64_t seed) {
        const uint64_t step = IOVIGIL_STEP;
        iovigil_word *word = (iovigil_word *)to, *end = (iovigil_word *)(to + length / 64 * 64);
        uint64_t a = seed, b = seed * step;
        for (; word < end; word += 8) {
            iovigil_lanes(word, a);
            iovigil_lanes(word + 4, b);
            a *= step * step;
            b *= step * step;
        }
        length %= 64;
        if (length >= 32) {
            iovigil_lanes(word, a);
            word += 4;
            a = b;
            length -= 32;
        }
        /* What is left is filled from the first lane alone. */
        for (; length; a *= step) {
            uint64_t part = length < 8 ? length : 8;
            memcpy(word++, &a, part);
            length -= part;
        }
    }
    #endif
    """
    const uint64_t PAYLOAD_STEP "IOVIGIL_STEP"  # what each lane is multiplied by from one stride to the next
    void fill "iovigil_fill" (char *to, uint64_t length, uint64_t seed) noexcept


cdef enum:
    PAYLOAD_STRIDE = 32  # bytes of one step of all lanes


cdef inline void scramble(char *to, uint64_t length, uint64_t offset, uint64_t stamp) noexcept nogil:
    """Make every sector differ from the last one written there or elsewhere: 16 bytes at its start."""
    cdef uint64_t at = 0
    while at + 16 <= length:
        (<uint64_t *>(to + at))[0] = offset + at
        (<uint64_t *>(to + at))[1] = stamp
        at += 512
