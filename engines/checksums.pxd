# distutils: libraries = isal
# The checksums, each from the library that does it best.

from libc.stdint cimport uint32_t

cdef extern from "<isa-l/crc.h>" nogil:
    unsigned int crc32_iscsi(unsigned char *buffer, int length, unsigned int init)


cdef inline uint32_t crc32c(const char *data, uint32_t length) noexcept nogil:
    """CRC-32C as verify headers hold it: initial value all ones, without the final inversion."""
    return crc32_iscsi(<unsigned char *>data, <int>length, <unsigned int>0xFFFFFFFF)
