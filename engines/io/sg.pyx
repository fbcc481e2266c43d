"""SCSI commands through the generic interface (version 3): past page cache, block layer and I/O scheduler.

A block device takes one command at a time, by ioctl. A character device (/dev/sg0) that is open for writing takes
several: they are written to it, and their ends read from it.
"""

import fcntl
import os
import stat

from libc.errno cimport EAGAIN, EDOM, EINTR, EINVAL, EIO, ENODATA, ENOSPC, EOPNOTSUPP, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.unistd cimport read, write

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport BUSY, COMPLETED, QUEUED, READ, SYNC, TRIM, WRITE, QueueStatus, io_u
from iovigil.engines.target cimport TargetFiles

cdef extern from "<errno.h>" nogil:
    int EBADE
    int EILSEQ
    int ENOLINK
    int EREMOTEIO

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

    short POLLIN
    int poll(pollfd *fds, unsigned long count, int timeout_ms)

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<scsi/sg.h>" nogil:
    unsigned long SG_IO
    int SG_DXFER_NONE
    int SG_DXFER_TO_DEV
    int SG_DXFER_FROM_DEV

    struct sg_io_hdr_t "sg_io_hdr":
        int interface_id
        int dxfer_direction
        uint8_t cmd_len
        uint8_t mx_sb_len
        uint32_t dxfer_len
        void *dxferp
        uint8_t *cmdp
        uint8_t *sbp
        uint32_t timeout
        int pack_id
        void *usr_ptr
        uint8_t status
        uint8_t sb_len_wr
        uint16_t host_status
        uint16_t driver_status
        int resid

cdef enum:
    SENSE_BYTES = 64
    COMMAND_TIMEOUT_MS = 30000  # the kernel's own for a disk
    MOST_TRIES = 4  # of a command that met a unit attention: news for us, no fault of the disk

    READ_10 = 0x28
    READ_16 = 0x88
    READ_CAPACITY_10 = 0x25
    SERVICE_ACTION_IN_16 = 0x9E
    READ_CAPACITY_16 = 0x10  # a service action of that
    SYNCHRONIZE_CACHE_10 = 0x35
    WRITE_10 = 0x2A
    WRITE_16 = 0x8A
    FORCE_UNIT_ACCESS = 1 << 3

    # Of the command:
    CHECK_CONDITION = 0x02
    RESERVATION_CONFLICT = 0x18
    # Of the host:
    DID_TIME_OUT = 0x03
    DID_TRANSPORT_DISRUPTED = 0x0E
    DID_TRANSPORT_FAILFAST = 0x0F
    # Of the driver, only this bit says something:
    DRIVER_SENSE = 0x08

    # Keys of sense data.
    RECOVERED_ERROR = 0x1
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    VOLUME_OVERFLOW = 0xD
    MISCOMPARE = 0xE


cdef struct command:
    sg_io_hdr_t header
    uint8_t cdb[16]
    uint8_t sense[SENSE_BYTES]
    io_u *io
    uint32_t tries


cdef class Engine(IoEngine):
    cdef command *commands  # by index of the I/O
    cdef pollfd *polls  # one a file; not polled where the descriptor is -1
    cdef uint64_t *block_bytes  # of each file
    cdef uint32_t in_flight
    cdef uint8_t flags[2]  # of READ and WRITE commands

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        cdef uint32_t index
        self.commands = <command *>calloc(iodepth, sizeof(command))
        self.polls = <pollfd *>calloc(targets.count, sizeof(pollfd))
        self.block_bytes = <uint64_t *>calloc(targets.count, sizeof(uint64_t))
        if self.commands == NULL or self.polls == NULL or self.block_bytes == NULL:
            raise MemoryError
        self.flags[<int>READ] = FORCE_UNIT_ACCESS if options["readfua"] else 0
        self.flags[<int>WRITE] = FORCE_UNIT_ACCESS if options["writefua"] else 0
        for index in range(targets.count):
            self.polls[index].fd = -1
            self.polls[index].events = POLLIN
            if takes_several(targets.fds[index]):
                self.polls[index].fd = targets.fds[index]
                self.is_sync = False

    def __dealloc__(self):
        free(self.commands)
        free(self.polls)
        free(self.block_bytes)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef uint32_t index
        cdef uint64_t end
        for index, fd in enumerate(self.targets.fds):
            check_whole_disk(fd)
            blocks, block_bytes = capacity(fd)
            end = self.files[index].start + self.files[index].length
            if end > blocks * block_bytes:
                raise OSError(f"ioengine=sg: the disk has {blocks * block_bytes} bytes, and the job reaches to {end}")
            self.block_bytes[index] = block_bytes
            if self.polls[index].fd >= 0:
                # What poll() promised may be gone: a read must never wait.
                fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
            elif self.iodepth > 1:
                self.notes.append("sg: one command at a time: iodepth needs a character device, open for writing")
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef command *asked = &self.commands[io.index]
        cdef int error
        if io.ddir == TRIM or self.polls[io.file].fd < 0:
            io.result = self.change(io)  # at once
            return COMPLETED
        error = self.prepare(asked, io)
        if error:
            io.result = error
            return COMPLETED
        error = self.submit(asked)
        if error in (-EAGAIN, -EDOM):  # EDOM: more than the driver keeps for one descriptor
            if self.in_flight:
                return BUSY
        if error:
            io.result = error
            return COMPLETED
        self.in_flight += 1
        return QUEUED

    cdef int flush(self, uint32_t file) noexcept nogil:
        cdef io_u io
        memset(&io, 0, sizeof(io))
        io.ddir = SYNC
        io.file = <uint16_t>file
        return <int>self.change(&io)

    cdef int64_t change(self, io_u *io) noexcept nogil:
        cdef command *asked = &self.commands[io.index]
        cdef int error
        if io.ddir == TRIM:
            return IoEngine.change(self, io) if self.files[io.file].is_device else -EOPNOTSUPP
        error = self.prepare(asked, io)
        return error if error else self.execute(asked)

    cdef int prepare(self, command *asked, io_u *io) noexcept nogil:
        """Write the command for an I/O; 0 or -errno."""
        cdef uint64_t block_bytes = self.block_bytes[io.file], block, blocks
        memset(asked, 0, sizeof(command))
        asked.io = io
        asked.header.interface_id = c'S'
        asked.header.dxfer_direction = SG_DXFER_NONE
        asked.header.mx_sb_len = SENSE_BYTES
        asked.header.sbp = asked.sense
        asked.header.cmdp = asked.cdb
        asked.header.timeout = COMMAND_TIMEOUT_MS
        asked.header.pack_id = <int>io.index
        asked.header.usr_ptr = io
        asked.header.cmd_len = 10
        if io.ddir > TRIM:
            asked.cdb[0] = SYNCHRONIZE_CACHE_10  # all of the disk
            return 0
        if io.offset % block_bytes or io.length % block_bytes:
            return -EINVAL
        block = io.offset // block_bytes
        blocks = io.length // block_bytes
        asked.header.dxfer_direction = SG_DXFER_FROM_DEV if io.ddir == READ else SG_DXFER_TO_DEV
        asked.header.dxferp = io.buf
        asked.header.dxfer_len = io.length
        asked.cdb[1] = self.flags[io.ddir]
        if block + blocks <= <uint64_t>0xFFFFFFFF and blocks <= 0xFFFF:
            asked.cdb[0] = READ_10 if io.ddir == READ else WRITE_10
            put_number(&asked.cdb[2], block, 4)
            put_number(&asked.cdb[7], blocks, 2)
        else:
            asked.header.cmd_len = 16
            asked.cdb[0] = READ_16 if io.ddir == READ else WRITE_16
            put_number(&asked.cdb[2], block, 8)
            put_number(&asked.cdb[10], blocks, 4)
        return 0

    cdef int64_t execute(self, command *asked) noexcept nogil:
        """Have a command done and wait for its end: bytes or -errno."""
        while True:
            if ioctl(self.files[asked.io.file].fd, SG_IO, &asked.header) < 0:
                if errno != EINTR:
                    return -errno
            elif not may_try_again(asked):
                return outcome(&asked.header, asked.sense)

    cdef int submit(self, command *asked) noexcept nogil:
        while write(self.files[asked.io.file].fd, &asked.header, sizeof(sg_io_hdr_t)) < 0:
            if errno != EINTR:
                return -errno
        return 0

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        cdef uint32_t count = 0, index
        cdef int answer, timeout_ms = -1
        if timeout_ns:
            timeout_ms = <int>min((timeout_ns + 999999) // 1000000, <uint64_t>0x7FFFFFFF)
        most = min(most or self.iodepth, self.iodepth)
        wanted = min(wanted, self.in_flight)
        while count < most:
            answer = poll(self.polls, self.targets.count, timeout_ms if count < wanted else 0)
            if answer < 0 and errno != EINTR:
                return -errno
            if answer <= 0:
                break
            for index in range(self.targets.count):
                if self.polls[index].revents:
                    answer = self.collect(index, count, most)
                    if answer < 0:
                        # Only when nothing was collected: what was must not be lost.
                        return <int>count if count else answer
                    count += <uint32_t>answer
            if count >= wanted:
                break
        return <int>count

    cdef int collect(self, uint32_t index, uint32_t count, uint32_t most) noexcept nogil:
        """Take the commands that have ended on one device: how many, or -errno."""
        cdef sg_io_hdr_t header
        cdef command *asked
        cdef uint32_t before = count
        while count < most:
            memset(&header, 0, sizeof(header))
            header.interface_id = c'S'
            header.pack_id = -1
            if read(self.polls[index].fd, &header, sizeof(header)) < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN or count > before:
                    break
                return -errno
            if not 0 <= header.pack_id < <int>self.iodepth:
                return -EIO  # no answer to anything we asked
            asked = &self.commands[header.pack_id]
            asked.header = header
            if may_try_again(asked) and not self.submit(asked):
                continue
            asked.io.result = outcome(&asked.header, asked.sense)
            self.events[count] = asked.io
            self.in_flight -= 1
            count += 1
        return <int>(count - before)


cdef inline void put_number(uint8_t *place, uint64_t value, int length) noexcept nogil:
    """Big-endian, as all of SCSI."""
    cdef int index
    for index in range(length):
        place[index] = <uint8_t>(value >> (8 * (length - 1 - index)))


cdef inline uint8_t sense_key(
    const sg_io_hdr_t *header, const uint8_t *sense, uint8_t *asc, uint8_t *ascq
) noexcept nogil:
    """What the disk says went wrong: 0 when it says nothing."""
    cdef uint8_t form = sense[0] & 0x7F
    asc[0] = ascq[0] = 0
    if header.sb_len_wr < 8:
        return 0
    if form in (0x72, 0x73):  # descriptors
        asc[0] = sense[2]
        ascq[0] = sense[3]
        return sense[1] & 0xF
    if form in (0x70, 0x71):
        if header.sb_len_wr >= 14:
            asc[0] = sense[12]
            ascq[0] = sense[13]
        return sense[2] & 0xF
    return 0


cdef inline bint may_try_again(command *asked) noexcept nogil:
    """Whether a command only brought the news of a reset, or of a change, and is to be given again."""
    cdef uint8_t asc, ascq
    asked.tries += 1
    return (asked.header.status & 0x3E == CHECK_CONDITION and asked.tries < MOST_TRIES
            and sense_key(&asked.header, asked.sense, &asc, &ascq) == UNIT_ATTENTION)


cdef int64_t outcome(const sg_io_hdr_t *header, const uint8_t *sense) noexcept nogil:
    """Bytes transferred, or the -errno that the kernel's block layer gives for the same answer of the disk.

    One is ours: a command that timed out is ETIMEDOUT, where the kernel would have tried again for minutes.
    """
    cdef uint8_t status = header.status & 0x3E
    cdef uint8_t asc, ascq, key
    if header.host_status:
        if header.host_status == DID_TIME_OUT:
            return -ETIMEDOUT
        if header.host_status in (DID_TRANSPORT_DISRUPTED, DID_TRANSPORT_FAILFAST):
            return -ENOLINK
        return -EIO
    if status == RESERVATION_CONFLICT:
        return -EBADE
    if status == CHECK_CONDITION or (not status and header.driver_status & DRIVER_SENSE):
        key = sense_key(header, sense, &asc, &ascq)
        if key == MEDIUM_ERROR:
            # No data where data should be; any other trouble with the medium the kernel does not name.
            return -ENODATA if asc in (0x11, 0x13, 0x14) else -EIO
        if key == DATA_PROTECT and asc == 0x27 and ascq == 0x07:
            return -ENOSPC  # of a thinly provisioned disk
        if asc == 0x10 and key in (ILLEGAL_REQUEST, ABORTED_COMMAND):
            return -EILSEQ  # protection information
        if key in (HARDWARE_ERROR, ILLEGAL_REQUEST, DATA_PROTECT, BLANK_CHECK, COPY_ABORTED, VOLUME_OVERFLOW,
                   MISCOMPARE):
            return -EREMOTEIO
        if key > RECOVERED_ERROR or status and not key:
            return -EIO
    elif status:
        return -EIO
    return <int64_t>header.dxfer_len - max(header.resid, 0)


def capacity(fd):
    """(blocks, bytes of a block) of the SCSI disk behind a descriptor. Raises OSError."""
    answer = asked_for(fd, bytes([READ_CAPACITY_10]) + bytes(9), 8)
    last = int.from_bytes(answer[:4], "big")
    if last < 0xFFFFFFFF:
        return last + 1, int.from_bytes(answer[4:8], "big")
    answer = asked_for(fd, bytes([SERVICE_ACTION_IN_16, READ_CAPACITY_16]) + bytes(11) + bytes([32, 0, 0]), 32)
    return int.from_bytes(answer[:8], "big") + 1, int.from_bytes(answer[8:12], "big")


cdef asked_for(int fd, bytes cdb, size_t length):
    """What a disk answers to a command of no offset."""
    cdef command asked
    cdef uint8_t answer[32]
    cdef int64_t got
    cdef Py_ssize_t index
    memset(&asked, 0, sizeof(asked))
    memset(answer, 0, sizeof(answer))
    for index in range(len(cdb)):
        asked.cdb[index] = cdb[index]
    asked.header.interface_id = c'S'
    asked.header.dxfer_direction = SG_DXFER_FROM_DEV
    asked.header.mx_sb_len = SENSE_BYTES
    asked.header.sbp = asked.sense
    asked.header.cmdp = asked.cdb
    asked.header.cmd_len = <uint8_t>len(cdb)
    asked.header.dxferp = answer
    asked.header.dxfer_len = <uint32_t>length
    asked.header.timeout = COMMAND_TIMEOUT_MS
    while True:
        if ioctl(fd, SG_IO, &asked.header) < 0:
            if errno != EINTR:
                raise OSError(f"ioengine=sg needs a SCSI disk, /dev/sda or /dev/sg0: {os.strerror(errno)}")
        elif not may_try_again(&asked):
            break
    got = outcome(&asked.header, asked.sense)
    if got < 8:
        raise OSError(f"the capacity of the disk cannot be read: {os.strerror(<int>-got) if got < 0 else 'no answer'}")
    return bytes(answer[:length])


def check_whole_disk(fd):
    """Raise OSError for a partition: the commands would go to the same numbers of blocks of the whole disk."""
    if fd < 0:
        raise OSError("ioengine=sg needs a SCSI disk: set filename to /dev/sda or /dev/sg0")
    status = os.fstat(fd)
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    if stat.S_ISBLK(status.st_mode) and os.path.exists(f"/sys/dev/block/{number}/partition"):
        raise OSError("ioengine=sg does not work on a partition: SCSI commands count from the start of the disk")


def takes_several(fd):
    """Whether commands can be written to a descriptor: a character device, open for reading and writing."""
    return (fd >= 0 and stat.S_ISCHR(os.fstat(fd).st_mode)
            and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR)
