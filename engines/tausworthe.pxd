# L'Ecuyer's combined Tausworthe generators, seeded as fio does, so that our choices can be laid beside fio's.

from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.rng cimport mix


# Which of a job's streams of random numbers: fio's index of its seed.
cdef enum Stream:
    LENGTH_STREAM = 0  # and the two after it: one for each direction
    FILE_STREAM = 5
    OFFSET_STREAM = 6
    TURN_STREAM = 10  # random or sequential; one for each direction


cdef struct tausworthe:  # taus88: 32 bits a draw
    uint32_t part[3]


cdef struct tausworthe64:  # taus258
    uint64_t part[5]


cdef inline uint32_t tausworthe_draw(tausworthe *self) noexcept nogil:
    cdef uint32_t *part = self.part
    part[0] = ((part[0] & <uint32_t>0xFFFFFFFE) << 12) ^ (((part[0] << 13) ^ part[0]) >> 19)
    part[1] = ((part[1] & <uint32_t>0xFFFFFFF8) << 4) ^ (((part[1] << 2) ^ part[1]) >> 25)
    part[2] = ((part[2] & <uint32_t>0xFFFFFFF0) << 17) ^ (((part[2] << 3) ^ part[2]) >> 11)
    return part[0] ^ part[1] ^ part[2]


cdef inline uint64_t tausworthe_below(tausworthe *self, uint64_t n) noexcept nogil:
    """Uniform in [0, n), for n up to 2^32."""
    return (tausworthe_draw(self) * n) >> 32


cdef inline void tausworthe_seed(tausworthe *self, uint64_t seed) noexcept nogil:
    cdef uint32_t low = <uint32_t>seed, value = 53, index, _warmup
    # Below these a part would stay 0 for ever.
    cdef uint32_t[3] least = [1, 7, 15]
    for index in range(3):
        value = (value * <uint32_t>69069) ^ low
        if value < least[index]:
            value += least[index]
        self.part[index] = value
    for _warmup in range(6):
        tausworthe_draw(self)


cdef inline uint64_t tausworthe64_draw(tausworthe64 *self) noexcept nogil:
    cdef uint64_t *part = self.part
    part[0] = ((part[0] & <uint64_t>0xFFFFFFFFFFFFFFFE) << 10) ^ (((part[0] << 1) ^ part[0]) >> 53)
    part[1] = ((part[1] & <uint64_t>0xFFFFFFFFFFFFFE00) << 5) ^ (((part[1] << 24) ^ part[1]) >> 50)
    part[2] = ((part[2] & <uint64_t>0xFFFFFFFFFFFFF000) << 29) ^ (((part[2] << 3) ^ part[2]) >> 23)
    part[3] = ((part[3] & <uint64_t>0xFFFFFFFFFFFE0000) << 23) ^ (((part[3] << 5) ^ part[3]) >> 24)
    part[4] = ((part[4] & <uint64_t>0xFFFFFFFFFF800000) << 8) ^ (((part[4] << 3) ^ part[4]) >> 33)
    return part[0] ^ part[1] ^ part[2] ^ part[3] ^ part[4]


cdef inline void tausworthe64_seed(tausworthe64 *self, uint64_t seed) noexcept nogil:
    cdef uint32_t index
    for index in range(5):
        # The high bit keeps every part above its least value.
        self.part[index] = mix(seed + (index + 1) * <uint64_t>0x9E3779B97F4A7C15) | <uint64_t>1 << 63


cdef inline uint64_t stream_seed(uint64_t randseed, uint32_t number, uint32_t stream) noexcept nogil:
    """What fio seeds a stream of its job `number` with (1 is the first job)."""
    cdef uint32_t _index
    for _index in range(4 + stream):
        randseed *= <uint64_t>0x9E370001
    return randseed * number + stream
