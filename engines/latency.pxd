# fio's log-linear latency buckets: 64 per octave, error at most 1/128.

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BUCKET_COUNT = 1856  # 29 groups of 64
    SUB_BITS = 6

cdef struct latency_stats:
    uint64_t min_ns  # of no samples: 2^64 - 1
    uint64_t max_ns
    uint64_t sum_ns
    double sum_square
    uint64_t bucket[BUCKET_COUNT]

cdef extern from * nogil:
    """
    #ifndef IOVIGIL_SLOT
    #define IOVIGIL_SLOT
    /* One writer a page: a relaxed store is enough to rule out torn reads. */
    #define iovigil_slot_add(p, n) __atomic_store_n((p), __atomic_load_n((p), __ATOMIC_RELAXED) + (n), __ATOMIC_RELAXED)
    #define iovigil_slot_set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define iovigil_slot_get(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #endif
    """
    void slot_add "iovigil_slot_add" (uint64_t *slot, uint64_t n) noexcept
    void slot_set "iovigil_slot_set" (uint64_t *slot, uint64_t value) noexcept
    uint64_t slot_get "iovigil_slot_get" (const uint64_t *slot) noexcept
    int clz "__builtin_clzll" (unsigned long long value) noexcept


cdef inline uint32_t bucket_index(uint64_t value_ns) noexcept nogil:
    cdef uint32_t shift, index
    if value_ns < 2 << SUB_BITS:
        return <uint32_t>value_ns
    shift = 63 - <uint32_t>clz(value_ns) - SUB_BITS
    index = ((shift + 1) << SUB_BITS) + <uint32_t>((value_ns >> shift) & ((1 << SUB_BITS) - 1))
    return index if index < BUCKET_COUNT else BUCKET_COUNT - 1


cdef inline void record(latency_stats *stats, uint64_t value_ns, uint64_t n) noexcept nogil:
    slot_add(&stats.bucket[bucket_index(value_ns)], n)
    slot_add(&stats.sum_ns, value_ns * n)
    stats.sum_square += <double>value_ns * <double>value_ns * <double>n
    if value_ns < stats.min_ns:
        slot_set(&stats.min_ns, value_ns)
    if value_ns > stats.max_ns:
        slot_set(&stats.max_ns, value_ns)


cdef void clear(latency_stats *stats) noexcept nogil
cdef uint64_t lowest_of(uint32_t index) noexcept nogil
cdef void merge(latency_stats *into, const latency_stats *other) noexcept nogil


cdef class Histogram:
    cdef latency_stats stats


cdef Histogram copy_of(const latency_stats *stats)
