"""What outlives a scrub's process: one record, written in turn to the two slots of a small file.

A record is written whole to the slot that holds the older of the two, and is on the medium before anything follows from
it. Whatever becomes of that write, the other slot still holds the record before it.
"""

import os

from libc.errno cimport EINTR, EIO, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport fdatasync, pwrite

from iovigil.engines.checksums cimport crc32c

cdef enum:
    CRC_AT = SLOT_SIZE - 4
    STATE_MAGIC = 0x627572637376696F  # "oivscrub"

SLOT_BYTES = SLOT_SIZE


cdef bint is_record(const char *slot) noexcept:
    cdef const scrub_record *record = <const scrub_record *>slot
    cdef uint32_t stored
    memcpy(&stored, slot + CRC_AT, sizeof(stored))
    return (record.magic == STATE_MAGIC and record.version == STATE_VERSION and record.size == sizeof(scrub_record)
            and stored == crc32c(slot, CRC_AT))


cdef class ScrubState:
    """The state of a scrub in its file, which is on a disk other than the one that is scrubbed."""

    def __cinit__(self, int fd):
        if sizeof(scrub_record) > CRC_AT:
            raise ValueError("a record does not fit into its slot")
        self.fd = fd
        self.slot = <char *>calloc(1, SLOT_SIZE)
        if self.slot == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.slot)

    cdef str load(self):
        """Take the newest good record; None, or why there is none. Raises OSError."""
        cdef bytes found = os.pread(self.fd, SLOT_COUNT * SLOT_SIZE, 0)
        cdef bytes slot
        cdef bint is_found = False
        cdef const scrub_record *record
        # A process that was killed may have written a record, and not have come to its fdatasync. The next one goes to
        # the other slot: were both lost together, there would be none.
        os.fdatasync(self.fd)
        for at in range(0, SLOT_COUNT * SLOT_SIZE, SLOT_SIZE):
            slot = found[at:at + SLOT_SIZE]
            if len(slot) < SLOT_SIZE or not is_record(slot):
                continue
            record = <const scrub_record *><char *>slot
            if not is_found or record.sequence > self.record.sequence:
                memcpy(&self.record, record, sizeof(scrub_record))
                is_found = True
        if is_found:
            return None
        if not found.strip(b"\0"):
            return "is empty"
        # The first record goes to the last slot. Where the power cut that one, nothing has come of it yet.
        return "is damaged" if found[:SLOT_SIZE].strip(b"\0") else "has no whole record yet"

    cdef int save(self) noexcept nogil:
        """Write the record to the slot of the older one, and have it on the medium: 0 or -errno."""
        cdef uint32_t crc
        cdef ssize_t done
        self.record.magic = STATE_MAGIC
        self.record.version = STATE_VERSION
        self.record.size = sizeof(scrub_record)
        self.record.sequence += 1
        memset(self.slot, 0, SLOT_SIZE)
        memcpy(self.slot, &self.record, sizeof(scrub_record))
        crc = crc32c(self.slot, CRC_AT)
        memcpy(self.slot + CRC_AT, &crc, sizeof(crc))
        while True:
            done = pwrite(self.fd, self.slot, SLOT_SIZE, <int>(self.record.sequence % SLOT_COUNT) * SLOT_SIZE)
            if done == SLOT_SIZE:
                break
            if done >= 0:
                return -EIO
            if errno != EINTR:
                return -errno
        while fdatasync(self.fd):
            if errno != EINTR:
                return -errno
        return 0

    cdef bint add_exception(self, uint64_t block) noexcept nogil:
        """Keep in mind that what a block holds is not known. False: there is no room."""
        cdef uint64_t index
        for index in range(self.record.exception_count):
            if self.record.exceptions[index] == block:
                return True
        if self.record.exception_count == EXCEPTIONS_MOST:
            self.exceptions_lost += 1
            return False
        self.record.exceptions[self.record.exception_count] = block
        self.record.exception_count += 1
        return True

    def read(self):
        """The newest good record, field by field. Raises ValueError when there is none."""
        reason = self.load()
        if reason is not None:
            raise ValueError(f"the state {reason}")
        fields = self.fields()
        fields["identity"] = fields["identity"].rstrip(b"\0")
        fields["exceptions"] = fields["exceptions"][:self.record.exception_count]
        return fields

    cdef dict fields(self):
        fields = dict(self.record)
        # As the arrays that they are, not as far as their first zero.
        fields["region_id"] = (<char *>self.record.region_id)[:sizeof(self.record.region_id)]
        fields["identity"] = self.record.identity[:IDENTITY_SIZE]
        return fields

    def write(self, **fields):
        """Change fields of the record and write it to the older slot. Raises OSError."""
        cdef dict record = self.fields()
        for name, value in fields.items():
            if name not in record:
                raise ValueError(f"{name} is no field of the state")
            if name == "exceptions":
                value = [*value, *[0] * (EXCEPTIONS_MOST - len(value))]
            record[name] = value
        self.record = record
        error = self.save()
        if error:
            raise OSError(-error, os.strerror(-error))
