# distutils: extra_compile_args = -O3
"""Every checksum of verify, to the bit as fio has it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cpython.pycapsule cimport PyCapsule_GetPointer

from iovigil.engines import checksum_types as types

cdef extern from "<isa-l/crc.h>" nogil:
    uint32_t crc32_ieee(uint32_t init, const unsigned char *buffer, uint64_t length)

cdef extern from "<isa-l/crc64.h>" nogil:
    uint64_t crc64_jones_refl(uint64_t init, const unsigned char *buffer, uint64_t length)

# Compiled in: as fast as from the library, which then need not be there.
cdef extern from * nogil:
    """
    #define XXH_INLINE_ALL
    #include <xxhash.h>
    """
    uint32_t XXH32(const void *buffer, size_t length, uint32_t seed)

cdef enum:
    XXHASH_SEED = 1
    LONGEST_CALL = 1 << 30  # crc32_iscsi takes an int
    WORD = 8
    LINE_WORDS = 8
    LINE = LINE_WORDS * WORD
    KEPT_LINES = 16
    KEPT_WORDS = KEPT_LINES * WORD
    CRC16_POLYNOMIAL = 0xA001  # x^16 + x^15 + x^2 + 1, lowest bit first
    CRC7_POLYNOMIAL = 0x09     # x^7 + x^3 + 1

cdef uint16_t[256] crc16_table
cdef uint8_t[256] crc7_table


cdef void crc32c_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef uint32_t value = 0xFFFFFFFF
    cdef uint64_t part
    while length:
        part = min(length, <uint64_t>LONGEST_CALL)
        value = crc32_iscsi(<unsigned char *>data, <int>part, value)
        data += part
        length -= part
    memcpy(field, &value, sizeof(value))


# ISA-L inverts the value before and after; fio does neither.
cdef void crc32_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef uint32_t value = ~crc32_ieee(~<uint32_t>0, <const unsigned char *>data, length)
    memcpy(field, &value, sizeof(value))


cdef void crc64_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef uint64_t value = ~crc64_jones_refl(~<uint64_t>0, <const unsigned char *>data, length)
    memcpy(field, &value, sizeof(value))


cdef void xxhash_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef uint32_t value = XXH32(data, length, XXHASH_SEED)
    memcpy(field, &value, sizeof(value))


# No library has crc16 and crc7, and a table takes one byte at a time. But their polynomials have few terms, and keep
# them when they are squared: with x^7 = x^3 + 1 also x^(7n) = x^(3n) + 1 for every n that is a power of two. So the
# data may be taken in lines of n bits, and a line be added to those 4 and 7 lines behind it instead of standing where
# it stood: the remainder stays the same. Nothing but exclusive ors, until 16 lines are left for the table.
cdef struct taps:
    int near
    int middle
    int far  # 0: there is none


cdef inline void add_line(uint64_t *total, const uint64_t *other, int words) noexcept nogil:
    cdef int k
    for k in range(words):
        total[k] ^= other[k]


cdef inline void fold(const char *data, uint64_t lines, char *left, int words, taps behind) noexcept nogil:
    """Make 16 lines with the remainder that these lines have, 16 or more."""
    cdef uint64_t[KEPT_LINES * LINE_WORDS] past  # the last lines, round and round
    cdef uint64_t[LINE_WORDS] total
    cdef uint64_t at
    cdef uint64_t folded = lines - KEPT_LINES
    cdef int row
    memset(past, 0, KEPT_LINES * words * WORD)
    for at in range(folded):
        memcpy(total, data + at * words * WORD, words * WORD)
        add_line(total, past + (at - behind.near) % KEPT_LINES * words, words)
        add_line(total, past + (at - behind.middle) % KEPT_LINES * words, words)
        if behind.far:
            add_line(total, past + (at - behind.far) % KEPT_LINES * words, words)
        memcpy(past + at % KEPT_LINES * words, total, words * WORD)
    for row in range(KEPT_LINES):
        memcpy(total, data + (folded + row) * words * WORD, words * WORD)
        if row < behind.near:
            add_line(total, past + (folded + row - behind.near) % KEPT_LINES * words, words)
        if row < behind.middle:
            add_line(total, past + (folded + row - behind.middle) % KEPT_LINES * words, words)
        if row < behind.far:
            add_line(total, past + (folded + row - behind.far) % KEPT_LINES * words, words)
        memcpy(left + row * words * WORD, total, words * WORD)


cdef inline uint64_t shorten(const char *data, uint64_t length, char *left, taps behind) noexcept nogil:
    """Put in `left` what has the remainder of the data's beginning, KEPT_WORDS long; return how long that was, or 0."""
    cdef char[KEPT_LINES * LINE] lines
    if length >= 2 * KEPT_LINES * LINE:
        fold(data, length // LINE, lines, LINE_WORDS, behind)
        fold(lines, KEPT_LINES * LINE_WORDS, left, 1, behind)
        return length // LINE * LINE
    if length >= 2 * KEPT_WORDS:
        fold(data, length // WORD, left, 1, behind)
        return length // WORD * WORD
    return 0


cdef inline uint16_t crc16_by_table(uint16_t value, const char *data, uint64_t length) noexcept nogil:
    cdef uint64_t at
    for at in range(length):
        value = crc16_table[(value ^ <uint8_t>data[at]) & 0xFF] ^ (value >> 8)
    return value


cdef inline uint8_t crc7_by_table(uint8_t value, const char *data, uint64_t length) noexcept nogil:
    cdef uint64_t at
    for at in range(length):
        value = crc7_table[<uint8_t>(value << 1) ^ <uint8_t>data[at]]
    return value


cdef void crc16_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef char[KEPT_WORDS] left
    cdef taps behind = taps(near=1, middle=14, far=16)  # x^16 = x^15 + x^2 + 1
    cdef uint64_t done = shorten(data, length, left, behind)
    cdef uint16_t value = crc16_by_table(0, left, KEPT_WORDS) if done else 0
    value = crc16_by_table(value, data + done, length - done)
    memcpy(field, &value, sizeof(value))


cdef void crc7_field(const char *data, uint64_t length, char *field) noexcept nogil:
    cdef char[KEPT_WORDS] left
    cdef taps behind = taps(near=4, middle=7, far=0)  # x^7 = x^3 + 1
    cdef uint64_t done = shorten(data, length, left, behind)
    cdef uint8_t value = crc7_by_table(0, left, KEPT_WORDS) if done else 0
    field[0] = <char>crc7_by_table(value, data + done, length - done)


cdef void fill_tables() noexcept:
    cdef int byte, _bit
    cdef uint32_t low_first, high_first
    for byte in range(256):
        low_first = byte
        high_first = byte
        for _bit in range(8):
            low_first = (low_first >> 1) ^ (CRC16_POLYNOMIAL if low_first & 1 else 0)
            high_first = (high_first << 1) ^ (CRC7_POLYNOMIAL << 1 if high_first & 0x80 else 0)
        crc16_table[byte] = <uint16_t>low_first
        crc7_table[byte] = <uint8_t>((high_first & 0xFF) >> 1)


fill_tables()


cdef checksum_fn own_function(str name) noexcept:
    """What computes it without OpenSSL; NULL if nothing does."""
    if name == "crc32c":
        return crc32c_field
    if name == "crc32":
        return crc32_field
    if name == "crc64":
        return crc64_field
    if name == "crc16":
        return crc16_field
    if name == "crc7":
        return crc7_field
    if name == "xxhash":
        return xxhash_field
    return NULL


cdef int find(str name, str generation, checksum *found) except -1:
    require_known(name)
    found.size = types.FIELD_SIZES[name]
    found.type = types.NUMBERS[name]
    found.compute = own_function(name)
    if found.size and found.compute == NULL:
        # Here and nowhere else: libcrypto takes a tenth of the time that a child needs to start.
        from iovigil.engines import digests

        capsule = digests.function_of(name, generation)
        if capsule is not None:
            found.compute = <checksum_fn>PyCapsule_GetPointer(capsule, CHECKSUM_CAPSULE)
    return 0


cdef int checksum_of(str name, bint is_current, checksum *found) except -1:
    return find(name, "current" if is_current else "legacy", found)


cdef int oldest_checksum_of(str name, checksum *found) except -1:
    return find(name, "oldest", found)


def field_of(str name, data, bint is_current=True) -> bytes:
    """The field that headers of 48 bytes (or else 40) have for this data. Raises ValueError."""
    cdef checksum wanted
    checksum_of(name, is_current, &wanted)
    return computed(&wanted, data)


def oldest_field_of(str name, data) -> bytes | None:
    """The field that headers of 24 bytes have for this data; None where it tells nothing. Raises ValueError."""
    cdef checksum wanted
    oldest_checksum_of(name, &wanted)
    return None if wanted.size and wanted.compute == NULL else computed(&wanted, data)


cdef bytes computed(const checksum *wanted, data):
    cdef char[128] field
    cdef const unsigned char[::1] view = data
    assert wanted.size <= sizeof(field) == types.LONGEST_FIELD
    memset(field, 0, sizeof(field))
    if wanted.compute != NULL:
        with nogil:
            wanted.compute(<const char *>&view[0] if view.shape[0] else NULL, view.shape[0], field)
    return field[:wanted.size]


def checksum_size(str name) -> int:
    """Bytes of the field; 0 for what has none. Raises ValueError."""
    require_known(name)
    return types.FIELD_SIZES[name]


cdef int require_known(str name) except -1:
    if name not in types.FIELD_SIZES:
        raise ValueError(f"verify={name}: there is no such checksum; there are {' '.join(types.FIELD_SIZES)}")
    return 0
