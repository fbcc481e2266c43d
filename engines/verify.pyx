"""Verify headers: stamp a block on write, check it on read, say what kind of wrong.

Layouts, generator and checksum are fio's, to the byte, so that either tool checks the other's
blocks: 24 bytes (fio 2.1.11, read only), 40 bytes (fio 2.2 to 3.40), 48 bytes (since 3.41).
All fields are in the machine's own byte order, as fio has them.
"""

from libc.string cimport memcpy

from iovigil.engines.checksums cimport crc32c
from iovigil.engines.payload cimport fill
from iovigil.engines.rng cimport mix
from iovigil.engines.stats cimport Mismatch

from iovigil.engines.stats import Mismatch as MismatchKind


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


cdef inline uint64_t seed_for(const verify_format *form, uint64_t numberio) noexcept nogil:
    """The seed of one generation's contents. Odd: the generator keeps powers of two."""
    return mix(form.nonce + numberio) | 1


cdef void stamp_block(const verify_format *form, char *block, uint32_t length, uint64_t offset,
                      uint64_t numberio) noexcept nogil:
    """Fill a block with the contents of generation `numberio`, header first."""
    cdef header_40 *head = <header_40 *>block  # as far as time_ns both layouts have the same fields
    cdef header_48 *new = <header_48 *>block
    cdef uint64_t seed = seed_for(form, numberio)
    cdef uint32_t header_size = sizeof(header_48) if form.is_current else sizeof(header_40)
    cdef uint32_t data_at = header_size + CHECKSUM_SIZE
    fill(block, length, seed)
    head.magic = VERIFY_MAGIC
    head.length = length
    head.rand_seed = seed
    head.offset = offset
    head.time_s = form.time_s
    head.time_ns = form.time_ns
    if form.is_current:
        new.version = VERIFY_VERSION
        new.type = TYPE_CRC32C
        new.numberio = numberio
        new.thread = form.thread
    else:
        head.type = TYPE_CRC32C
        head.thread = form.thread
        head.numberio = <uint16_t>numberio
    put_word(block + header_size - CHECKSUM_SIZE, crc32c(block, header_size - CHECKSUM_SIZE))
    put_word(block + header_size, crc32c(block + data_at, length - data_at))


cdef inline void put_word(char *to, uint32_t value) noexcept nogil:
    memcpy(to, &value, sizeof(value))


cdef inline bint has_good_crc(char *block, uint32_t header_size) noexcept nogil:
    """Whether a header of this size, whose last word is its checksum, agrees with it."""
    cdef uint32_t stored
    if header_size == sizeof(header_24):
        return (<header_24 *>block).crc == crc32c(block, 16)
    memcpy(&stored, block + header_size - CHECKSUM_SIZE, CHECKSUM_SIZE)
    return stored == crc32c(block, header_size - CHECKSUM_SIZE)


cdef uint32_t header_size_of(char *block) noexcept nogil:
    """Size of the block's header, by layout; 0 if none of them agrees with its own checksum."""
    if (<header_48 *>block).magic != VERIFY_MAGIC:
        return 0
    if (<header_48 *>block).version == VERIFY_VERSION and has_good_crc(block, sizeof(header_48)):
        return sizeof(header_48)
    if has_good_crc(block, sizeof(header_40)):
        return sizeof(header_40)
    if has_good_crc(block, sizeof(header_24)):
        return sizeof(header_24)
    return 0


cdef int64_t first_not_zero(const char *block, uint32_t length) noexcept nogil:
    """Where the first byte stands that is not zero; -1 where all are."""
    cdef uint32_t at
    for at in range(length):
        if block[at]:
            return at
    return -1


cdef int64_t broken_header_byte(char *block) noexcept nogil:
    """Where one changed byte would mend the header: that byte is the wrong one. -1 if there is none.

    A CRC has one answer for a single byte; all of them are tried, some 0.2 ms for a broken block.
    """
    cdef uint32_t sizes[2]
    cdef uint32_t which, at, value
    cdef char kept
    cdef bint is_mended
    sizes[0] = sizeof(header_48)
    sizes[1] = sizeof(header_40)
    for which in range(2):
        for at in range(sizes[which]):
            kept = block[at]
            for value in range(256):
                block[at] = <char>value
                is_mended = value != <uint8_t>kept and header_size_of(block) == sizes[which]
                if is_mended:
                    break
            block[at] = kept
            if is_mended:
                return at
    return -1


cdef verdict check_block(const verify_format *form, char *block, uint32_t length, uint64_t offset,
                         uint64_t numberio, char *scratch) noexcept nogil:
    """Judge a block that was read from `offset`.

    `numberio` is the generation this run wrote there, 0 when it is not known. `scratch` has room
    for a block: the first wrong byte is found by generating the contents again.
    """
    cdef verdict answer
    cdef uint32_t header_size = header_size_of(block), data_at, at
    cdef uint32_t kind, stored_length, stored, checksum
    cdef uint64_t seed, stored_offset = offset, found = 0
    answer.kind = BLOCK_OK
    answer.first_byte = -1
    answer.found = 0

    if not header_size:
        if first_not_zero(block, length) < 0:
            answer.kind = Mismatch.ZEROED
            answer.first_byte = 0
        else:
            answer.kind = Mismatch.HEADER
            answer.first_byte = broken_header_byte(block)
        return answer
    stored_length = (<header_24 *>block).length
    seed = (<header_24 *>block).rand_seed
    if header_size == sizeof(header_48):
        kind = (<header_48 *>block).type
        stored_offset = (<header_48 *>block).offset
        found = (<header_48 *>block).numberio
    else:
        kind = (<header_24 *>block).type
        if header_size == sizeof(header_40):
            stored_offset = (<header_40 *>block).offset
            found = (<header_40 *>block).numberio
        elif kind == SEED_TYPE_CRC32C:
            kind = TYPE_CRC32C
    answer.found = found
    # The header is sound but says another checksum or length: not a block of this job.
    if kind != TYPE_CRC32C or stored_length != length:
        answer.kind = Mismatch.HEADER
        answer.first_byte = 2 if kind != TYPE_CRC32C else 4
        return answer
    if stored_offset != offset:
        answer.kind = Mismatch.MISPLACED
        answer.first_byte = 16
        return answer

    data_at = header_size + CHECKSUM_SIZE
    memcpy(&stored, block + header_size, CHECKSUM_SIZE)
    checksum = crc32c(block + data_at, length - data_at)
    if stored != checksum:
        answer.kind = Mismatch.CHECKSUM
        fill(scratch, length, seed)
        for at in range(data_at, length):
            if block[at] != scratch[at]:
                answer.first_byte = at
                break
        else:
            # The data is as generated: it is the stored checksum that is wrong.
            stored ^= checksum
            answer.first_byte = header_size
            while not stored & 0xFF:
                stored >>= 8
                answer.first_byte += 1
        return answer

    if numberio and seed != seed_for(form, numberio):
        answer.kind = Mismatch.STALE
        answer.first_byte = 8
    return answer


cdef class BlockVerifier:
    """Stamp and check single blocks from Python, for tests and tools."""

    cdef verify_format form

    def __init__(self, str header="fio-3.41", uint64_t nonce=0, uint32_t time_s=0):
        self.form.is_current = header == "fio-3.41"
        self.form.nonce = nonce
        self.form.time_s = time_s
        self.form.time_ns = 0
        self.form.thread = 1

    def stamp(self, uint32_t length, uint64_t offset, uint64_t numberio):
        """The block that a verified write of this generation puts at `offset`."""
        if length < sizeof(header_48) + CHECKSUM_SIZE:
            raise ValueError(f"length: {length} has no room for a header")
        block = bytearray(length)
        stamp_block(&self.form, <char *>block, length, offset, numberio)
        return bytes(block)

    def check(self, const unsigned char[:] block, uint64_t offset, uint64_t numberio=0):
        """None for a good block, else what kind of wrong, its first wrong byte (-1: unknown), the generation found."""
        cdef bytearray own = bytearray(block), scratch = bytearray(len(block))
        if len(own) < sizeof(header_48) + CHECKSUM_SIZE:
            raise ValueError(f"block: {len(own)} bytes have no room for a header")
        cdef verdict answer = check_block(&self.form, <char *>own, <uint32_t>len(own), offset, numberio,
                                          <char *>scratch)
        if answer.kind == BLOCK_OK:
            return None
        return MismatchKind(answer.kind), answer.first_byte, answer.found
