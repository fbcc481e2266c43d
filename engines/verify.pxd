# Verify headers: stamp a block on write, check it on read.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    VERIFY_MAGIC = 0xACCA
    VERIFY_VERSION = 0x81
    TYPE_CRC32C = 5
    SEED_TYPE_CRC32C = 4  # of fio 2.1.11, where also 5 (crc32c-intel) is this checksum
    CHECKSUM_SIZE = 4
    BLOCK_OK = -1


# What the headers of one run have in common.
cdef struct verify_format:
    bint is_current  # fio 3.41's layout; else that of fio 2.2 to 3.40
    uint64_t nonce  # makes the seeds of this run unlike those of any other
    uint32_t time_s
    uint32_t time_ns
    uint16_t thread


cdef struct verdict:
    int kind  # Mismatch, or BLOCK_OK
    int64_t first_byte  # within the block; -1 where it cannot be told
    uint64_t found  # generation in the header, 0 where there is none


cdef void stamp_block(const verify_format *form, char *block, uint32_t length, uint64_t offset,
                      uint64_t numberio) noexcept nogil

cdef int64_t first_not_zero(const char *block, uint32_t length) noexcept nogil


cdef inline uint64_t seed_of(const char *block) noexcept nogil:
    """The seed that a header tells, in every layout."""
    return (<const uint64_t *>block)[1]


cdef verdict check_block(const verify_format *form, char *block, uint32_t length, uint64_t offset,
                         uint64_t numberio, char *scratch) noexcept nogil
