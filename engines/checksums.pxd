# distutils: libraries = isal
# The checksums of verify, each from the library that does it best.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "<isa-l/crc.h>" nogil:
    unsigned int crc32_iscsi(unsigned char *buffer, int length, unsigned int init)

cdef extern from * nogil:
    """
    #define CHECKSUM_CAPSULE "iovigil.checksum_fn"
    """
    const char *CHECKSUM_CAPSULE  # what engines/digests hands functions over in

# Writes the whole field of its type; may be called by several threads at once.
ctypedef void (*checksum_fn)(const char *data, uint64_t length, char *field) noexcept nogil

cdef struct checksum:
    checksum_fn compute  # NULL: there is none, or (size > 0) none that can be computed again
    uint32_t size        # of the field, in bytes
    uint8_t type         # as headers of 40 and 48 bytes have it


cdef inline uint32_t crc32c(const char *data, uint32_t length) noexcept nogil:
    """CRC-32C as verify headers hold it: initial value all ones, without the final inversion."""
    return crc32_iscsi(<unsigned char *>data, <int>length, <unsigned int>0xFFFFFFFF)


# is_current: of headers with 48 bytes. Those with 40 have a sha512 of their own until fio 3.38; 3.39 and 3.40 wrote
# today's into them.
cdef int checksum_of(str name, bint is_current, checksum *found) except -1
# Of a header with 24 bytes (fio 2.1).
cdef int oldest_checksum_of(str name, checksum *found) except -1
