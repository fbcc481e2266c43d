# Verify headers: stamp a unit on write, see on read whether it is as it should be.
#
# A unit is what stands under one header: a block, or verify_interval bytes of it.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from iovigil.engines.checksums cimport checksum, crc32c
from iovigil.engines.pattern cimport pattern
from iovigil.engines.rng cimport mix

cdef enum:
    VERIFY_MAGIC = 0xACCA
    VERIFY_VERSION = 0x81
    LABEL_SIZE = 16
    FIELD_MOST = 128  # bytes of the longest checksum
    HEADER_MOST = 48
    TYPE_META = 1
    EARLY_CRC32C = 4  # of fio 2.1.11
    EARLY_CRC32C_INTEL = 5  # the same checksum
    EARLY_META = 11


cdef packed struct header_24:
    uint16_t magic
    uint16_t type
    uint32_t length
    uint64_t rand_seed
    uint32_t crc
    uint32_t padding


cdef packed struct header_40:
    uint16_t magic
    uint16_t type
    uint32_t length
    uint64_t rand_seed
    uint64_t offset
    uint32_t time_s
    uint32_t time_ns
    uint16_t thread
    uint16_t numberio
    uint32_t crc


cdef packed struct header_48:
    uint16_t magic
    uint8_t version
    uint8_t type
    uint32_t length
    uint64_t rand_seed
    uint64_t offset
    uint32_t time_s
    uint32_t time_ns
    uint64_t numberio
    uint16_t thread
    uint16_t padding  # holds generated data, and lies inside the checksum
    uint32_t crc


# What a job writes under verify, and expects to find.
cdef struct verify_format:
    uint32_t header_size  # of what is written; 0: a pattern alone, or nothing that could be checked
    bint is_null  # whatever is read is good
    bint is_loose  # the checksum says little of the data: where it is known what they must be, they are compared
    bint is_patterned  # the data are the pattern, with no checksum over them: compared
    checksum sum
    uint32_t sample_end  # a word of the data that is compared with what the seed makes ends here
    uint32_t sampled_length  # ... in units that are at least so long
    uint64_t sample_factor  # ... which is the seed times this
    checksum other  # what a 40-byte header of the same type may hold as well; compute is NULL where there is no other
    checksum early  # of the 24-byte header; compute is NULL where its checksum cannot be judged
    uint32_t shift  # verify_offset: header and checksum change places with the data there
    pattern pattern
    uint64_t nonce  # makes the seeds of this run unlike those of any other
    uint32_t time_s
    uint32_t time_ns
    uint16_t thread
    bint is_labelled
    char label[LABEL_SIZE]  # whose unit it is, behind header and checksum


cdef int format_init(verify_format *self, dict options, uint64_t nonce, uint64_t begun_ns, uint16_t thread) except -1
cdef void format_free(verify_format *self) noexcept

cdef void stamp_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                     uint64_t numberio) noexcept nogil
cdef bint is_good_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                       uint64_t numberio, char *scratch) noexcept nogil

cdef bint has_good_crc(const char *unit, uint32_t header_size) noexcept nogil
cdef uint32_t header_size_of(const char *unit) noexcept nogil
cdef bint is_of_type(const verify_format *form, const char *unit, uint32_t header_size) noexcept nogil
cdef const checksum *checksum_for(const verify_format *form, uint32_t header_size) noexcept nogil
cdef bint has_good_checksum(const verify_format *form, const char *unit, uint32_t header_size,
                            uint32_t length) noexcept nogil
cdef bint is_write(const verify_format *form, const char *unit, uint32_t header_size, uint64_t offset,
                   uint64_t numberio) noexcept nogil
cdef int64_t first_not_zero(const char *unit, uint32_t length) noexcept nogil
cdef void fill_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                    uint64_t seed) noexcept nogil


cdef inline uint64_t seed_for(const verify_format *form, uint64_t numberio, uint64_t offset) noexcept nogil:
    """The seed of one generation's contents. Odd: the generator keeps powers of two."""
    return mix(mix(form.nonce + numberio) ^ offset) | 1


cdef inline uint64_t numberio_of(const char *unit, uint32_t header_size) noexcept nogil:
    """The generation that a header tells; 0 where it has none."""
    if header_size == sizeof(header_48):
        return (<const header_48 *>unit).numberio
    return (<const header_40 *>unit).numberio if header_size == sizeof(header_40) else 0


cdef inline uint64_t offset_of(const char *unit, uint32_t header_size, uint64_t offset) noexcept nogil:
    """Where a unit belongs by its header; `offset` where it does not say."""
    if header_size > sizeof(header_24):
        return (<const header_40 *>unit).offset
    if (<const header_24 *>unit).type == EARLY_META:
        return (<const uint64_t *>(unit + sizeof(header_24)))[0]
    return offset


cdef inline uint32_t shifted_size(const verify_format *form, const char *unit, uint32_t length) noexcept nogil:
    """How long header and checksum are that stand at verify_offset; as we write them where there is no header."""
    cdef uint32_t own = form.header_size + form.sum.size, header_size = 0, size
    # A header of another layout may need more room than ours was given; the unit may be the last of its buffer.
    if form.shift and form.shift + sizeof(header_48) <= length:
        header_size = header_size_of(unit + form.shift)
    elif form.shift and has_good_crc(unit + form.shift, sizeof(header_40)):
        header_size = sizeof(header_40)
    size = header_size + checksum_for(form, header_size).size
    return size if header_size and size <= form.shift and form.shift + size <= length else own


cdef inline void shift_unit(const verify_format *form, char *unit, uint32_t size) noexcept nogil:
    """Swap so much of a unit, header and checksum, with the data at verify_offset; done twice it changes nothing."""
    cdef char kept[HEADER_MOST + FIELD_MOST]
    if form.shift:
        memcpy(kept, unit, size)
        memcpy(unit, unit + form.shift, size)
        memcpy(unit + form.shift, kept, size)
