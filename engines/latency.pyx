"""Latency histograms in fio's bucket layout, so that fine quantiles merge exactly."""

import math

from libc.string cimport memcpy, memset


cdef void clear(latency_stats *stats) noexcept nogil:
    memset(stats, 0, sizeof(latency_stats))
    stats.min_ns = <uint64_t>-1


cdef void merge(latency_stats *into, const latency_stats *other) noexcept nogil:
    cdef uint32_t index
    for index in range(BUCKET_COUNT):
        if other.bucket[index]:
            slot_add(&into.bucket[index], other.bucket[index])
    slot_add(&into.sum_ns, other.sum_ns)
    into.sum_square += other.sum_square
    if other.min_ns < into.min_ns:
        into.min_ns = other.min_ns
    if other.max_ns > into.max_ns:
        into.max_ns = other.max_ns


cdef uint64_t lowest_of(uint32_t index) noexcept nogil:
    """Smallest value of a bucket, in ns."""
    cdef uint32_t group = index >> SUB_BITS
    if group < 2:
        return index
    return <uint64_t>((1 << SUB_BITS) + (index & ((1 << SUB_BITS) - 1))) << (group - 1)


cdef uint64_t middle_of(uint32_t index) noexcept nogil:
    """The value fio prints for a bucket: its middle, in ns."""
    cdef uint32_t group = index >> SUB_BITS
    if group < 2:
        return index
    return lowest_of(index) + ((<uint64_t>1 << (group - 1)) >> 1)


cdef class Histogram:
    """A histogram of nanosecond latencies; private memory, never a live page."""

    def __cinit__(self):
        clear(&self.stats)

    def record(self, uint64_t value_ns, uint64_t n=1):
        record(&self.stats, value_ns, n)

    def merge(self, Histogram other not None):
        merge(&self.stats, &other.stats)

    @property
    def count(self):
        cdef uint64_t total = 0
        cdef uint32_t index
        for index in range(BUCKET_COUNT):
            total += self.stats.bucket[index]
        return total

    @property
    def min_ns(self):
        return 0 if self.stats.min_ns == <uint64_t>-1 else self.stats.min_ns

    @property
    def max_ns(self):
        return self.stats.max_ns

    @property
    def sum_ns(self):
        return self.stats.sum_ns

    @property
    def mean_ns(self):
        count = self.count
        return self.stats.sum_ns / count if count else 0.0

    @property
    def stddev_ns(self):
        """Sample standard deviation, as fio prints it."""
        count = self.count
        if count < 2:
            return 0.0
        square = self.stats.sum_square - self.stats.sum_ns / count * self.stats.sum_ns
        return math.sqrt(max(square, 0.0) / (count - 1))

    def quantile_ns(self, double q):
        """Value below which the share `q` (0 to 1) of the samples lies.

        The middle of the bucket, at most 1/128 off, and never outside what was measured
        (fio's may exceed its own maximum). 0 without samples.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"q: {q} is not in 0..1")
        count = self.count
        if not count:
            return 0
        cdef uint64_t wanted = max(1, math.ceil(q * count)), seen = 0
        cdef uint32_t index
        if wanted >= count:
            return self.stats.max_ns
        for index in range(BUCKET_COUNT):
            seen += self.stats.bucket[index]
            if seen >= wanted:
                return min(max(middle_of(index), self.stats.min_ns), self.stats.max_ns)
        return self.stats.max_ns

    def cumulative(self, bounds_ns):
        """How many samples lie below each of the ascending `bounds_ns`.

        Exact where a bound is a bucket's edge, as 1 us times a power of two is; otherwise the
        bucket that holds the bound counts as above it.
        """
        cdef uint64_t seen = 0
        cdef uint32_t index = 0
        cdef uint64_t bound
        counts = []
        for bound in bounds_ns:
            while index < BUCKET_COUNT - 1 and lowest_of(index + 1) <= bound:
                seen += self.stats.bucket[index]
                index += 1
            counts.append(seen)
        return counts

    def bins(self):
        """fio's `bins`: {middle of bucket in ns: samples}, without the empty ones."""
        cdef uint32_t index
        return {middle_of(index): self.stats.bucket[index] for index in range(BUCKET_COUNT) if self.stats.bucket[index]}


cdef Histogram copy_of(const latency_stats *stats):
    cdef Histogram histogram = Histogram()
    memcpy(&histogram.stats, stats, sizeof(latency_stats))
    return histogram
