# What is wrong with a unit that failed verification.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from iovigil.engines.verify cimport verify_format


cdef struct verdict:
    int kind  # Mismatch
    int64_t first_byte  # within the unit; -1 where it cannot be told
    int64_t wrong_bits  # against what should be there; -1 where that is not known
    int64_t found_offset  # of a misplaced unit: where it belongs; -1 where it does not say
    uint64_t found  # generation in the header, 0 where there is none
    bint is_expected_known  # scratch holds what should be there


cdef verdict diagnose(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                      uint64_t numberio, char *scratch) noexcept nogil
