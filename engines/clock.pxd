# The job's clock: CLOCK_MONOTONIC in nanoseconds, from the TSC where that is sound.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #include <time.h>
    #if defined(__x86_64__)
    #include <x86intrin.h>
    #define iovigil_ticks() __rdtsc()
    #else
    #define iovigil_ticks() 0
    #endif

    /* How ticks become CLOCK_MONOTONIC; is_tsc 0 asks the kernel instead. */
    struct iovigil_clock {
        uint64_t base_ticks, base_ns;
        uint64_t mult;                 /* ns per tick, times 2^32 */
        uint64_t is_tsc;
    };

    static inline uint64_t iovigil_monotonic_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }

    static inline uint64_t iovigil_now_ns(const struct iovigil_clock *clock) {
        if (!clock->is_tsc) return iovigil_monotonic_ns();
        /* Signed: another CPU's TSC may stand a few ticks before the base. */
        int64_t ticks = (int64_t)(iovigil_ticks() - clock->base_ticks);
        return clock->base_ns + (uint64_t)(int64_t)(((__int128)ticks * (int64_t)clock->mult) >> 32);
    }
    """
    ctypedef struct clock_source "struct iovigil_clock":
        uint64_t base_ticks
        uint64_t base_ns
        uint64_t mult
        uint64_t is_tsc
    uint64_t monotonic_ns "iovigil_monotonic_ns" () noexcept
    uint64_t now_ns "iovigil_now_ns" (const clock_source *clock) noexcept
    uint64_t ticks "iovigil_ticks" () noexcept
