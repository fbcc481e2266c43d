"""Every number below a count once, out of a shift register: no map, but a weaker order than a permutation's."""

from iovigil.engines.rng cimport mix

cdef enum:
    LEAST_BITS = 2
    MOST_BITS = 63

# Feedback of registers of 2 to 63 bits with a full period (primitive polynomials; Xilinx XAPP 052 lists the same).
cdef uint64_t[62] TAPS = [
    0x3, 0x6, 0xC, 0x14, 0x30, 0x60, 0xB8, 0x110, 0x240, 0x500, 0x829, 0x100D, 0x2015, 0x6000, 0xD008, 0x12000,
    0x20400, 0x40023, 0x90000, 0x140000, 0x300000, 0x420000, 0xE10000, 0x1200000, 0x2000023, 0x4000013, 0x9000000,
    0x14000000, 0x20000029, 0x48000000, 0x80200003, 0x100080000, 0x204000003, 0x500000000, 0x801000000,
    0x100000001F, 0x2000000031, 0x4400000000, 0xA000140000, 0x12000000000, 0x300000C0000, 0x63000000000,
    0xC0000030000, 0x1B0000000000, 0x300003000000, 0x420000000000, 0xC00000180000, 0x1008000000000,
    0x3000000C00000, 0x6000C00000000, 0x9000000000000, 0x18003000000000, 0x30000000030000, 0x40000040000000,
    0xC0000600000000, 0x102000000000000, 0x200004000000000, 0x600003000000000, 0xC00000000000000,
    0x1800300000000000, 0x3000000000000030, 0x6000000000000000,
]


cdef int lfsr_init(lfsr *self, uint64_t count) noexcept nogil:
    """Make ready for numbers below `count`; 0, or -1 when that is too many. `lfsr_start` must follow."""
    cdef uint32_t bits = LEAST_BITS
    while bits <= MOST_BITS and (<uint64_t>1 << bits) - 1 < count:
        bits += 1
    if bits > MOST_BITS or not count:
        return -1
    self.count = count
    self.taps = TAPS[bits - LEAST_BITS]
    self.mask = (<uint64_t>1 << bits) - 1
    return 0


cdef void lfsr_start(lfsr *self, uint64_t seed) noexcept nogil:
    """Begin where `seed` says; any place of the register's cycle but 0."""
    self.state = 1 + mix(seed) % self.mask


cdef class Lfsr:
    """The numbers below `count` in the order of a shift register, for tests and tools."""

    cdef lfsr register

    def __init__(self, uint64_t count, uint64_t seed=0):
        if lfsr_init(&self.register, count):
            raise ValueError(f"{count} numbers: from 1 to 2^63 - 1 are possible")
        lfsr_start(&self.register, seed)

    def __iter__(self):
        return self

    def __next__(self):
        return lfsr_draw(&self.register)
