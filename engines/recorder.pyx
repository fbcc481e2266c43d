"""Records the I/O of a job as an iolog of version 3, which fio and we can replay."""

import os

from libc.errno cimport EAGAIN, errno as c_errno
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from iovigil.engines.log_file cimport (
    NUMBER_BYTES, log_file_close, log_file_end, log_file_line, log_file_note, log_file_open, log_file_write, put_number,
    put_text,
)

from iovigil.engines.iolog_text import IologError

cdef extern from "<sys/file.h>" nogil:
    int LOCK_EX
    int LOCK_NB
    int flock(int fd, int operation)

cdef enum:
    ACTION_COUNT = 5
    LINE_BYTES = 3 * NUMBER_BYTES + 16

cdef const char **ACTIONS = ["read ", "write ", "trim ", "sync ", "datasync "]
cdef uint64_t[ACTION_COUNT] ACTION_LENGTHS = [5, 6, 5, 5, 9]


cdef class Recorder:
    """Writes `microseconds file action offset length` for each I/O that a job starts.

    Times count from `start`; ramp_time is part of the recording, as in fio. `note` goes where an I/O is handed to the
    engine for the first time: the rest of a short one is no I/O of the workload's.
    """

    def __cinit__(self):
        self.file.fd = -1

    def __init__(self, path, names):
        """Opens the file; `names` are those of the job's files. Raises IologError, OSError or MemoryError."""
        cdef uint64_t place
        for name in names:
            if len(name.split()) != 1 or name.split()[0] != name or name.startswith("#"):
                raise IologError(f"write_iolog: {name!r} cannot stand in an iolog, whose words end at a space")
        self.path = path
        self.files = [os.fsencode(name) for name in names]
        self.notes = []
        self.text = b"".join([b" " + name + b" " for name in self.files])
        self.names = self.text
        self.starts = <uint64_t *>calloc(len(self.files) + 1, sizeof(uint64_t))
        if self.starts == NULL:
            raise MemoryError
        for place, name in enumerate(self.files):
            self.starts[place + 1] = self.starts[place] + len(name) + 2
        # Kept until it is known to be ours alone.
        log_file_open(&self.file, path, True)
        if flock(self.file.fd, LOCK_EX | LOCK_NB):
            if c_errno == EAGAIN:
                raise IologError(f"write_iolog: another job is recording to {path}; give each its own")
            raise OSError(c_errno, os.strerror(c_errno), path)
        os.ftruncate(self.file.fd, 0)
        head = b"fio version 3 iolog\n" + b"".join([b"0 %b add\n" % name for name in self.files])
        head += b"".join([b"0 %b open\n" % name for name in self.files])
        log_file_write(&self.file, head, len(head))

    def __dealloc__(self):
        log_file_close(&self.file)
        free(self.starts)

    cdef void start(self, uint64_t now_ns) noexcept nogil:
        self.begun_ns = now_ns

    cdef bint note(self, const io_u *io, uint64_t now_ns) noexcept nogil:
        """Record an I/O that starts now. True: that took so long that `now_ns` is no longer now."""
        cdef uint64_t before = self.file.used
        cdef const char *name = self.names + self.starts[io.file]
        cdef uint64_t name_length = self.starts[io.file + 1] - self.starts[io.file]
        cdef char *at
        if io.ddir >= SYNC_RANGE:
            return False  # an iolog has no word for it
        at = log_file_line(&self.file, LINE_BYTES + name_length)
        at = put_number(at, (now_ns - self.begun_ns if now_ns > self.begun_ns else 0) // 1000)
        at = put_text(at, name, name_length)
        at = put_text(at, ACTIONS[io.ddir], ACTION_LENGTHS[io.ddir])
        at = put_number(at, io.offset)
        at = put_number(put_text(at, b" ", 1), io.block_length)
        log_file_end(&self.file, put_text(at, b"\n", 1))
        return self.file.used < before

    cdef write_out(self, uint64_t now_ns):
        """Write everything and close the file; what went wrong stands in `notes`."""
        cdef uint64_t time_us = (now_ns - self.begun_ns if now_ns > self.begun_ns else 0) // 1000
        cdef bytes tail
        if self.file.fd < 0:
            return
        for name in self.files:
            tail = b"%d %b close\n" % (time_us, name)
            log_file_end(&self.file, put_text(log_file_line(&self.file, len(tail)), tail, len(tail)))
        log_file_close(&self.file)
        note = log_file_note(&self.file, self.path)
        if note is not None:
            self.notes.append(note)

    def begin(self, uint64_t now_ns):
        self.start(now_ns)

    def add(self, int ddir, int file, uint64_t offset, uint64_t length, uint64_t now_ns):
        cdef io_u io
        memset(&io, 0, sizeof(io))
        io.ddir = <uint8_t>ddir
        io.file = <unsigned short>file
        io.offset = offset
        io.length = io.block_length = <uint32_t>length
        return self.note(&io, now_ns)

    def finish(self, uint64_t now_ns):
        self.write_out(now_ns)
