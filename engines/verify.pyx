"""Verify headers: stamp a unit on write, see on read whether it is as it should be.

Layouts, generator and checksums are fio's, to the byte, so that either tool checks the other's
blocks: 24 bytes (fio 2.1.11, read only), 40 bytes (fio 2.2 to 3.40), 48 bytes (since 3.41).
All fields are in the machine's own byte order, as fio has them.
"""

from libc.string cimport memcmp, memcpy, memset

from iovigil.engines.checksums cimport checksum_of, oldest_checksum_of
from iovigil.engines.pattern cimport lay_pattern, pattern_free, pattern_init
from iovigil.engines.payload cimport PAYLOAD_STEP, PAYLOAD_STRIDE, fill


cdef enum:
    NS_PER_S = 1000000000
    WORD = 8


cdef int format_init(verify_format *self, dict options, uint64_t nonce, uint64_t begun_ns, uint16_t thread) except -1:
    """`begun_ns` is when the run began, since the epoch.

    Raises MemoryError, and ValueError where a checksum is not to be had.
    """
    cdef bint is_current = options["verify_header"] == "fio-3.41"
    name = options["verify"]
    text, places = options["verify_pattern"]
    memset(self, 0, sizeof(verify_format))
    self.is_null = name == "null"
    # A pattern without a header: all of the block is compared.
    if name not in ("pattern", "null"):
        self.header_size = sizeof(header_48) if is_current else sizeof(header_40)
        checksum_of(name, is_current, &self.sum)
        if name == "sha512":
            checksum_of(name, not is_current, &self.other)
            self.is_loose = not is_current
        elif name in ("crc7", "crc16"):
            self.is_loose = True
        oldest_checksum_of(name, &self.early)
        self.shift = options["verify_offset"]
        choose_sample(self)
    # Under `meta` too: as in fio, a pattern that was asked for is looked at where no checksum is.
    self.is_patterned = name == "pattern" or (name in ("pattern_hdr", "meta") and text != b"")
    pattern_init(&self.pattern, text, places, options["verify_pattern_interval"])
    self.time_s = <uint32_t>(begun_ns // NS_PER_S)
    self.time_ns = <uint32_t>(begun_ns % NS_PER_S)
    self.nonce = nonce
    self.thread = thread
    return 0


cdef void choose_sample(verify_format *self) noexcept:
    """The first word of the data, behind a label, that the seed makes: in which lane it is, and how many steps from its
    start. A unit that ends in the stride of that word has other contents there."""
    cdef uint64_t word = (self.header_size + self.sum.size + LABEL_SIZE + WORD - 1) // WORD, _step
    cdef uint64_t[4] lanes
    lanes[0], lanes[1], lanes[2], lanes[3] = 1, 2, 3, 5
    self.sample_factor = lanes[word % 4]
    for _step in range(word // 4):
        self.sample_factor *= PAYLOAD_STEP
    self.sample_end = <uint32_t>((word + 1) * WORD)
    self.sampled_length = <uint32_t>((word // 4 + 1) * PAYLOAD_STRIDE)


cdef void format_free(verify_format *self) noexcept:
    pattern_free(&self.pattern)


cdef void fill_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                    uint64_t seed) noexcept nogil:
    """The contents alone: the pattern, or what the seed makes."""
    if form.pattern.length:
        lay_pattern(&form.pattern, unit, at, length, offset - at)
    else:
        fill(unit, length, seed)


cdef void stamp_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                     uint64_t numberio) noexcept nogil:
    """Make a unit of generation `numberio`, to be written to `offset`: `at` bytes into its block."""
    cdef header_40 *head = <header_40 *>unit  # as far as time_ns both layouts have the same fields
    cdef header_48 *new = <header_48 *>unit
    cdef uint32_t size = form.header_size, data_at = size + form.sum.size
    cdef uint64_t seed = 0 if form.pattern.length else seed_for(form, numberio, offset)
    fill_unit(form, unit, length, offset, at, seed)
    if not size:
        return
    head.magic = VERIFY_MAGIC
    head.length = length
    head.rand_seed = seed
    head.offset = offset
    head.time_s = form.time_s
    head.time_ns = form.time_ns
    if size == sizeof(header_48):
        new.version = VERIFY_VERSION
        new.type = form.sum.type
        new.numberio = numberio
        new.thread = form.thread
        new.crc = crc32c(unit, sizeof(header_48) - sizeof(uint32_t))
    else:
        head.type = form.sum.type
        head.thread = form.thread
        head.numberio = <uint16_t>numberio
        head.crc = crc32c(unit, sizeof(header_40) - sizeof(uint32_t))
    if form.is_labelled:
        memcpy(unit + data_at, form.label, LABEL_SIZE)
    if form.sum.compute != NULL:
        form.sum.compute(unit + data_at, length - data_at, unit + size)
    shift_unit(form, unit, data_at)


cdef bint has_good_crc(const char *unit, uint32_t header_size) noexcept nogil:
    """Whether a header of this size agrees with its own checksum."""
    if header_size == sizeof(header_24):
        return (<const header_24 *>unit).crc == crc32c(unit, 16)
    if header_size == sizeof(header_40):
        return (<const header_40 *>unit).crc == crc32c(unit, sizeof(header_40) - sizeof(uint32_t))
    return (<const header_48 *>unit).crc == crc32c(unit, sizeof(header_48) - sizeof(uint32_t))


cdef uint32_t header_size_of(const char *unit) noexcept nogil:
    """Size of the unit's header, by layout; 0 if none of them agrees with its own checksum."""
    if (<const header_48 *>unit).magic != VERIFY_MAGIC:
        return 0
    if (<const header_48 *>unit).version == VERIFY_VERSION and has_good_crc(unit, sizeof(header_48)):
        return sizeof(header_48)
    if has_good_crc(unit, sizeof(header_40)):
        return sizeof(header_40)
    if has_good_crc(unit, sizeof(header_24)):
        return sizeof(header_24)
    return 0


cdef const checksum *checksum_for(const verify_format *form, uint32_t header_size) noexcept nogil:
    if header_size == sizeof(header_24):
        return &form.early
    # The sha512 of old is in no header of today's.
    if header_size == sizeof(header_48) and form.header_size == sizeof(header_40) and form.other.compute != NULL:
        return &form.other
    return &form.sum


cdef bint is_of_type(const verify_format *form, const char *unit, uint32_t header_size) noexcept nogil:
    """Whether a sound header says the checksum that the job wants."""
    cdef uint32_t type
    if form.sum.type == TYPE_META:
        return True  # as in fio: whatever the checksum is, the header alone is judged
    if header_size == sizeof(header_48):
        return (<const header_48 *>unit).type == form.sum.type
    type = (<const header_24 *>unit).type
    if header_size == sizeof(header_40):
        return type == form.sum.type
    return type == form.early.type or (
        type in (EARLY_CRC32C, EARLY_CRC32C_INTEL) and form.early.type in (EARLY_CRC32C, EARLY_CRC32C_INTEL))


cdef bint has_good_checksum(const verify_format *form, const char *unit, uint32_t header_size,
                            uint32_t length) noexcept nogil:
    """Whether the data agree with the checksum behind the header, as far as there is one."""
    cdef char field[FIELD_MOST]
    cdef const checksum *sum = checksum_for(form, header_size)
    cdef uint32_t data_at = header_size + sum.size
    if sum.compute == NULL:
        return True
    sum.compute(unit + data_at, length - data_at, field)
    if memcmp(field, unit + header_size, sum.size) == 0:
        return True
    if header_size != sizeof(header_40) or form.other.compute == NULL:
        return False
    form.other.compute(unit + data_at, length - data_at, field)
    return memcmp(field, unit + header_size, form.other.size) == 0


cdef bint is_write(const verify_format *form, const char *unit, uint32_t header_size, uint64_t offset,
                   uint64_t numberio) noexcept nogil:
    """Whether a sound header is that of this run's write `numberio`."""
    cdef const header_40 *head = <const header_40 *>unit
    if header_size != form.header_size:
        return False
    if form.pattern.length:
        # No seed tells one run from another: the time of its start does.
        return (head.time_s == form.time_s and head.time_ns == form.time_ns
                and numberio_of(unit, header_size) == (
                    numberio if header_size == sizeof(header_48) else numberio & 0xFFFF))
    return head.rand_seed == seed_for(form, numberio, offset)


cdef int64_t first_not_zero(const char *unit, uint32_t length) noexcept nogil:
    """Where the first byte stands that is not zero; -1 where all are."""
    cdef uint32_t at = 0
    cdef uint64_t word
    while at + sizeof(word) <= length:
        memcpy(&word, unit + at, sizeof(word))
        if word:
            break
        at += sizeof(word)
    while at < length:
        if unit[at]:
            return at
        at += 1
    return -1


cdef inline bint is_good_straight(const verify_format *form, const char *unit, uint32_t length, uint64_t offset,
                                  uint64_t at, uint64_t numberio, char *scratch) noexcept nogil:
    cdef uint32_t header_size = 0, data_at = 0
    cdef uint64_t sample
    if form.header_size:
        header_size = header_size_of(unit)
        if (not header_size or not is_of_type(form, unit, header_size)
                or (<const header_24 *>unit).length != length):
            return False
        if offset_of(unit, header_size, offset) != offset:
            return False
        if not has_good_checksum(form, unit, header_size, length):
            return False
        data_at = header_size + checksum_for(form, header_size).size
        if form.is_labelled and memcmp(unit + data_at, form.label, LABEL_SIZE):
            return False
        if numberio and not is_write(form, unit, header_size, offset, numberio):
            return False
        if numberio and not form.is_loose and not form.pattern.length:
            # Checksum and data may be whole and another write's, behind this one's header.
            if form.sampled_length <= length:
                memcpy(&sample, unit + form.sample_end - sizeof(sample), sizeof(sample))
                if sample != (<const header_40 *>unit).rand_seed * form.sample_factor:
                    return False
    if form.is_patterned or (form.is_loose and numberio):
        fill_unit(form, scratch, length, offset, at, seed_for(form, numberio, offset))
        return memcmp(scratch + data_at, unit + data_at, length - data_at) == 0
    return True


cdef bint is_good_unit(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                       uint64_t numberio, char *scratch) noexcept nogil:
    """Whether a unit that was read from `offset`, `at` bytes into its block, is as it should be.

    `numberio` is the generation this run wrote there, 0 when it is not known. `scratch` has room for a unit; the unit
    itself is the same afterwards.
    """
    cdef bint is_good
    cdef uint32_t shifted
    if form.is_null:
        return True
    shifted = shifted_size(form, unit, length)
    shift_unit(form, unit, shifted)
    is_good = is_good_straight(form, unit, length, offset, at, numberio, scratch)
    shift_unit(form, unit, shifted)
    return is_good
