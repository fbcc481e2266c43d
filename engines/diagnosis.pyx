"""What is wrong with a unit that failed verification: which kind, from which byte on, how many bits.

A unit can be told from one that is right in two ways: by what this run is known to have written there, and else by
its own header, which says from which seed its contents were made.
"""

from libc.string cimport memcmp, memcpy, memset

from iovigil.engines.checksums cimport checksum
from iovigil.engines.payload cimport PAYLOAD_STEP, PAYLOAD_STRIDE
from iovigil.engines.stats cimport Mismatch
from iovigil.engines.verify cimport (
    FIELD_MOST, HEADER_MOST, LABEL_SIZE, checksum_for, fill_unit, first_not_zero, format_free, format_init,
    has_good_checksum, header_24, header_40, header_48, header_size_of, is_good_unit, is_of_type, is_write,
    numberio_of, offset_of, shift_unit, shifted_size, stamp_unit,
)

from iovigil.engines.stats import Mismatch as MismatchKind

cdef extern from * nogil:
    int popcount "__builtin_popcountll" (unsigned long long word)

cdef enum:
    SECTOR = 512  # what a disk writes whole or not at all


# A unit beside what should be there.
cdef struct difference:
    int64_t first_byte
    int64_t wrong_bits
    uint32_t equal  # sectors
    uint32_t damaged  # ... in which some bytes are wrong
    uint32_t foreign  # ... that hold something else


cdef difference compare(const char *unit, const char *wanted, uint32_t length) noexcept nogil:
    cdef difference found
    cdef uint32_t at = 0, end, wrong, size
    found.first_byte = -1
    found.wrong_bits = 0
    found.equal = found.damaged = found.foreign = 0
    while at < length:
        end = min(at + <uint32_t>SECTOR, length)
        size = end - at
        if memcmp(unit + at, wanted + at, size) == 0:
            found.equal += 1
            at = end
            continue
        wrong = 0
        while at < end:
            if unit[at] != wanted[at]:
                if found.first_byte < 0:
                    found.first_byte = at
                wrong += 1
                found.wrong_bits += popcount(<unsigned char>(unit[at] ^ wanted[at]))
            at += 1
        # Of random bytes one in 256 is right by chance.
        if 2 * wrong >= size:
            found.foreign += 1
        else:
            found.damaged += 1
    return found


cdef inline bint is_torn(const difference *found) noexcept nogil:
    """Whether some sectors are what they should be, or nearly, and others something else altogether."""
    return found.foreign and (found.equal or found.damaged)


cdef bint mended_header(char *unit, uint32_t length, uint32_t *place, char *kept) noexcept nogil:
    """Change the one byte of a header that would mend it; where that is, and what it was. False if there is none.

    A CRC has one answer for a single byte; all of them are tried, some 0.2 ms for a broken unit.
    """
    cdef uint32_t sizes[2]
    cdef uint32_t which, at, value
    sizes[0] = sizeof(header_48)
    sizes[1] = sizeof(header_40)
    for which in range(2):
        if sizes[which] > length:
            continue
        for at in range(sizes[which]):
            kept[0] = unit[at]
            for value in range(256):
                unit[at] = <char>value
                if <char>value != kept[0] and header_size_of(unit) == sizes[which]:
                    place[0] = at
                    return True
            unit[at] = kept[0]
    return False


cdef void fill_as_fio(const verify_format *form, char *scratch, uint32_t length, uint64_t offset, uint64_t at,
                      uint64_t seed) noexcept nogil:
    """The part from `at` on of a block that was made of one seed, as fio does also where it has several headers."""
    cdef uint64_t step = PAYLOAD_STEP, times = at // PAYLOAD_STRIDE
    if at % PAYLOAD_STRIDE == 0:
        while times:
            if times & 1:
                seed *= step
            step *= step
            times >>= 1
    fill_unit(form, scratch, length, offset, at, seed)


cdef inline uint32_t equal_bytes(const char *one, const char *another, uint32_t length) noexcept nogil:
    cdef uint32_t at, count = 0
    for at in range(length):
        count += one[at] == another[at]
    return count


cdef uint32_t rebuild(const verify_format *form, const char *unit, uint32_t header_size, uint32_t length,
                      uint64_t offset, uint64_t at, char *scratch) noexcept nogil:
    """Put into scratch what a unit with this sound header should look like; returns where its data begin."""
    cdef uint64_t seed = (<const header_24 *>unit).rand_seed
    cdef const checksum *sum = checksum_for(form, header_size)
    cdef uint32_t data_at = header_size + sum.size
    cdef uint32_t tested_at = min(data_at + <uint32_t>LABEL_SIZE, length)
    cdef uint32_t tested = min(<uint32_t>64, length - tested_at)
    cdef char other[FIELD_MOST]
    fill_unit(form, scratch, length, offset, at, seed)
    # Each of our units has contents of its own; of fio's headers in one block all have the seed of its first byte.
    if at and not form.pattern.length and memcmp(scratch + tested_at, unit + tested_at, tested):
        fill_as_fio(form, scratch, length, offset, at, seed)
        if memcmp(scratch + tested_at, unit + tested_at, tested):
            fill_unit(form, scratch, length, offset, at, seed)
    memcpy(scratch, unit, header_size)
    if form.is_labelled:
        memcpy(scratch + data_at, form.label, LABEL_SIZE)
    if sum.compute != NULL:
        sum.compute(scratch + data_at, length - data_at, scratch + header_size)
        if header_size == sizeof(header_40) and form.other.compute != NULL:
            form.other.compute(scratch + data_at, length - data_at, other)
            if equal_bytes(other, unit + header_size, sum.size) > equal_bytes(scratch + header_size,
                                                                              unit + header_size, sum.size):
                memcpy(scratch + header_size, other, sum.size)
    else:
        memcpy(scratch + header_size, unit + header_size, sum.size)
    return data_at


cdef bint is_proved(const verify_format *form, const char *unit, const char *scratch, uint32_t data_at,
                    uint32_t length) noexcept nogil:
    """Whether the data or the checksum are as rebuilt. A pattern has no seed that would tell the writer's idea of it.

    fio leaves the header of the block before in a pattern where verify_offset moves headers.
    """
    cdef uint32_t header_size = header_size_of(unit)
    return (form.is_patterned or memcmp(unit + header_size, scratch + header_size, data_at - header_size) == 0
            or memcmp(unit + data_at, scratch + data_at, length - data_at) == 0)


cdef void diagnose_headerless(const verify_format *form, const char *unit, uint32_t length, uint64_t offset,
                              uint64_t at, char *scratch, verdict *answer) noexcept nogil:
    """A unit that should be the pattern and nothing else."""
    cdef difference found
    cdef uint64_t claimed
    cdef uint32_t place
    fill_unit(form, scratch, length, offset, at, 0)
    found = compare(unit, scratch, length)
    answer.first_byte = found.first_byte
    answer.wrong_bits = found.wrong_bits
    answer.is_expected_known = True
    if first_not_zero(unit, length) < 0:
        answer.kind = Mismatch.ZEROED
        return
    answer.kind = Mismatch.TORN if is_torn(&found) else Mismatch.CHECKSUM
    if not form.pattern.place_count or form.pattern.places[0] + sizeof(claimed) > length or at:
        return
    # What it says of its own offset may be true: then all of it agrees with that.
    place = form.pattern.places[0]
    memcpy(&claimed, unit + place, sizeof(claimed))
    if claimed != offset:
        fill_unit(form, scratch, length, claimed, 0, 0)
        if memcmp(unit, scratch, length) == 0:
            answer.kind = Mismatch.MISPLACED
            answer.found_offset = <int64_t>claimed
        fill_unit(form, scratch, length, offset, at, 0)


cdef void diagnose_straight(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                            uint64_t numberio, char *scratch, verdict *answer) noexcept nogil:
    cdef verify_format straight
    cdef difference found
    cdef uint32_t header_size = header_size_of(unit), data_at = 0, place = 0
    cdef const header_40 *head = <const header_40 *>unit
    cdef bint is_mended = False
    cdef char kept = 0

    answer.found = numberio_of(unit, header_size)
    found.first_byte = found.wrong_bits = -1
    found.equal = found.damaged = found.foreign = 0
    if numberio and not (header_size and is_write(form, unit, header_size, offset, numberio)):
        straight = form[0]
        straight.shift = 0
        stamp_unit(&straight, scratch, length, offset, at, numberio)
        answer.is_expected_known = True
        data_at = form.header_size + form.sum.size
    else:
        # The header of the write itself says more than is known here: which job of several it was.
        if not header_size:
            is_mended = mended_header(unit, length, &place, &kept)
        if header_size or is_mended:
            data_at = rebuild(form, unit, header_size_of(unit), length, offset, at, scratch)
            answer.is_expected_known = not form.pattern.length or is_proved(form, unit, scratch, data_at, length)
            if is_mended:
                unit[place] = kept
    if answer.is_expected_known:
        found = compare(unit, scratch, length)
        answer.first_byte = found.first_byte
        answer.wrong_bits = found.wrong_bits

    if not header_size:
        if first_not_zero(unit, length) < 0:
            answer.kind = Mismatch.ZEROED
            answer.first_byte = max(answer.first_byte, <int64_t>0)
        else:
            answer.kind = Mismatch.TORN if is_torn(&found) else Mismatch.HEADER
        return
    if not is_of_type(form, unit, header_size) or head.length != length:
        # Sound, but of another checksum or length: not a block of this job.
        answer.kind = Mismatch.HEADER
        answer.first_byte = 4 if is_of_type(form, unit, header_size) else 2
        answer.wrong_bits = -1
        answer.is_expected_known = numberio > 0
        return
    if offset_of(unit, header_size, offset) != offset:
        answer.found_offset = <int64_t>offset_of(unit, header_size, offset)
        if is_torn(&found):
            # Its head alone is of another place.
            answer.kind = Mismatch.TORN
            return
        answer.kind = Mismatch.MISPLACED
        answer.first_byte = 16
        answer.wrong_bits = found.wrong_bits if numberio else -1
        answer.is_expected_known = numberio > 0
        return
    if not has_good_checksum(form, unit, header_size, length):
        answer.kind = Mismatch.TORN if is_torn(&found) else Mismatch.CHECKSUM
        if numberio and not is_torn(&found) and found.foreign:
            # All of another write, and not whole as such either: the damage is to be seen beside that write.
            diagnose_as_written(form, unit, header_size, length, offset, at, scratch, answer)
        return
    if form.is_labelled and memcmp(unit + data_at, form.label, LABEL_SIZE):
        answer.kind = Mismatch.MISPLACED
        answer.first_byte = data_at
        return
    if numberio and not is_write(form, unit, header_size, offset, numberio):
        answer.kind = Mismatch.STALE
        return
    # What is compared beside a checksum that would not tell, or without one.
    answer.kind = Mismatch.TORN if is_torn(&found) else Mismatch.CHECKSUM


cdef void diagnose_as_written(const verify_format *form, const char *unit, uint32_t header_size, uint32_t length,
                              uint64_t offset, uint64_t at, char *scratch, verdict *answer) noexcept nogil:
    """A unit that is not the expected write at all, beside the write that its header says it is."""
    cdef difference found
    rebuild(form, unit, header_size, length, offset, at, scratch)
    found = compare(unit, scratch, length)
    if is_torn(&found):
        answer.kind = Mismatch.TORN
    if not found.foreign:
        answer.first_byte = found.first_byte
        answer.wrong_bits = found.wrong_bits
    answer.is_expected_known = False


cdef uint32_t damaged_size(const verify_format *form, const char *unit, uint32_t length) noexcept nogil:
    """How long header and checksum are at verify_offset where one byte would mend the header; else as we write them."""
    cdef char head[HEADER_MOST]
    cdef uint32_t place, size
    cdef char kept
    memset(head, 0, sizeof(head))
    memcpy(head, unit + form.shift, min(<uint32_t>sizeof(head), length - form.shift))
    if mended_header(head, sizeof(head), &place, &kept):
        size = header_size_of(head) + checksum_for(form, header_size_of(head)).size
        if size <= form.shift and form.shift + size <= length:
            return size
    return form.header_size + form.sum.size


cdef verdict diagnose(const verify_format *form, char *unit, uint32_t length, uint64_t offset, uint64_t at,
                      uint64_t numberio, char *scratch) noexcept nogil:
    """Judge a unit that `is_good_unit` has found wrong; the arguments are the same.

    Where `is_expected_known`, scratch holds afterwards what should have been read.
    """
    cdef verdict answer
    cdef uint32_t size = shifted_size(form, unit, length)
    cdef bint is_compared
    answer.kind = Mismatch.CHECKSUM
    answer.first_byte = answer.wrong_bits = answer.found_offset = -1
    answer.found = 0
    answer.is_expected_known = False
    if not form.header_size:
        diagnose_headerless(form, unit, length, offset, at, scratch, &answer)
        return answer
    shift_unit(form, unit, size)
    if form.shift and not header_size_of(unit):
        shift_unit(form, unit, size)
        size = damaged_size(form, unit, length)
        shift_unit(form, unit, size)
    diagnose_straight(form, unit, length, offset, at, numberio, scratch, &answer)
    # Else it is a field of the header that told.
    is_compared = (form.shift and answer.is_expected_known
                   and answer.first_byte == compare(unit, scratch, length).first_byte)
    shift_unit(form, unit, size)
    shift_unit(form, scratch, size)
    if form.shift:
        # As it lies on the disk. Of several wrong bytes another may come first there.
        if is_compared:
            answer.first_byte = compare(unit, scratch, length).first_byte
        elif 0 <= answer.first_byte < size:
            answer.first_byte += form.shift
        elif form.shift <= answer.first_byte < form.shift + size:
            answer.first_byte -= form.shift
    return answer


cdef class UnitVerifier:
    """Stamp and judge single units from Python, for tests and tools."""

    cdef verify_format form

    def __init__(self, str verify="crc32c", str header="fio-3.41", uint64_t nonce=0, uint32_t shift=0,
                 pattern=(b"", ()), uint64_t pattern_interval=0, bytes label=b"", uint32_t time_s=0):
        """`shift` is verify_offset, `pattern` bytes and the places of %o in them, `label` empty or 16 bytes."""
        format_init(&self.form, {
            "verify": verify, "verify_header": header, "verify_offset": shift, "verify_pattern": pattern,
            "verify_pattern_interval": pattern_interval,
        }, nonce, <uint64_t>time_s * 1_000_000_000, 1)
        if label:
            self.form.is_labelled = True
            memcpy(self.form.label, <const char *>label, LABEL_SIZE)

    def __dealloc__(self):
        format_free(&self.form)

    @property
    def overhead(self):
        """Bytes of header and checksum."""
        return self.form.header_size + self.form.sum.size

    cdef require(self, Py_ssize_t length):
        cdef uint32_t size = self.form.header_size + self.form.sum.size + (LABEL_SIZE if self.form.is_labelled else 0)
        if <uint64_t>length <= size or (self.form.shift and <uint64_t>length < self.form.shift + size):
            raise ValueError(f"length: {length} has no room for a header")

    def stamp(self, uint32_t length, uint64_t offset, uint64_t numberio, uint64_t at=0):
        """The unit that a verified write of this generation puts at `offset`, `at` bytes into its block."""
        self.require(length)
        unit = bytearray(length)
        stamp_unit(&self.form, <char *>unit, length, offset, at, numberio)
        return bytes(unit)

    def check(self, const unsigned char[:] unit, uint64_t offset, uint64_t numberio=0, uint64_t at=0):
        """None for a good unit, else (kind, first wrong byte, generation, wrong bits, offset where it belongs)."""
        cdef bytearray own = bytearray(unit), scratch = bytearray(len(unit))
        cdef verdict answer
        self.require(len(own))
        if is_good_unit(&self.form, <char *>own, <uint32_t>len(own), offset, at, numberio, <char *>scratch):
            return None
        answer = diagnose(&self.form, <char *>own, <uint32_t>len(own), offset, at, numberio, <char *>scratch)
        return MismatchKind(answer.kind), answer.first_byte, answer.found, answer.wrong_bits, answer.found_offset
