"""What an I/O engine written in Python stands on: see docs/engines.md."""

from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EIO, ENOSYS
from libc.stdint cimport int64_t, uint32_t, uint64_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport (
    BUSY as IS_BUSY, COMPLETED, DATASYNC as DDIR_DATASYNC, QUEUED, READ as DDIR_READ, SYNC as DDIR_SYNC,
    SYNC_RANGE as DDIR_SYNC_RANGE, TRIM as DDIR_TRIM, WRITE as DDIR_WRITE, QueueStatus, io_u,
)
from iovigil.engines.sigterm cimport stop_requested
from iovigil.engines.target cimport TargetFiles

cdef extern from "Python.h":
    object PyObject_CallOneArg(object function, object argument)
    int PyBUF_READ
    int PyBUF_WRITE

READ, WRITE, TRIM, SYNC, DATASYNC, SYNC_RANGE = (
    DDIR_READ, DDIR_WRITE, DDIR_TRIM, DDIR_SYNC, DDIR_DATASYNC, DDIR_SYNC_RANGE)
BUSY = object()
"""What `submit` answers when it has no room for another I/O: it is offered again when one has finished."""

cdef object NO_ROOM = BUSY

cdef enum:
    MAX_ERRNO = 4095
    NOT_DONE = -0x10000  # of ask(): queued
    NOT_TAKEN = -0x10001


cdef class Request:
    """One I/O. Valid until its result is known; the same object then serves another I/O."""

    @property
    def ddir(self):
        """READ, WRITE, TRIM, SYNC or DATASYNC."""
        return self.io.ddir

    @property
    def offset(self):
        """Bytes from the start of the file."""
        return self.io.offset

    @property
    def length(self):
        """Bytes to transfer; 0 for a sync."""
        return self.io.length

    @property
    def index(self):
        """Number of its slot, below iodepth: no other I/O in flight has it."""
        return self.io.index

    @property
    def file(self):
        """Which of the engine's files, from 0."""
        return self.io.file

    @property
    def fd(self):
        """Descriptor of that file; -1 for an engine without a target."""
        return self.engine.files[self.io.file].fd

    @property
    def buffer(self):
        """Where a read puts its bytes, and a write has them (that one cannot be changed)."""
        cdef io_u *io = self.io
        if self.viewed != io.buf or self.viewed_length != io.length or self.viewed_ddir != io.ddir or self.view is None:
            self.view = PyMemoryView_FromMemory(
                io.buf, io.length, PyBUF_WRITE if io.ddir == DDIR_READ else PyBUF_READ)
            self.viewed = io.buf
            self.viewed_length = io.length
            self.viewed_ddir = io.ddir
        return self.view

    def __repr__(self):
        return f"<Request {self.index}: ddir {self.ddir}, offset {self.offset}, length {self.length}>"


cdef class PythonEngine(IoEngine):
    """An engine in Python: a subclass named `Engine` with a `submit`, and the other methods where it needs them.

    Whatever a method raises becomes the error of the I/O: the errno of an OSError, else EIO and a warning.
    """

    is_asynchronous = False
    """Whether several I/Os may be in flight: `submit` may then answer None, and `collect` hands over what finished."""

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.is_sync = not self.is_asynchronous
        self.requests = []
        self.finished = []
        self.faults_told = set()

    def set_up(self):
        """Get ready, once, before the first I/O. May raise; the job is then not run."""

    def submit(self, request):
        """Do or begin one I/O: bytes transferred (0 for a sync), None when it was begun, or BUSY."""
        raise NotImplementedError("an engine needs a method submit(request)")

    def collect(self, wanted, timeout_s):
        """Wait until `wanted` requests have finished, at most `timeout_s` (None: no bound).

        Returns those that have, each with its `result`: bytes transferred or a negative errno. `wanted` may be 0.
        """
        return ()

    def take_back(self, request):
        """Try to cancel a request in flight: whether `collect` will hand it over as cancelled."""
        return False

    def tear_down(self):
        """Undo `set_up`, once, also after a failure."""

    def do_plainly(self, Request request not None):
        """Trim or sync by the system's plain call: bytes trimmed or 0, as `submit` answers. Raises OSError."""
        cdef int64_t result = self.change(request.io)
        if result < 0:
            raise OSError(-result, "")
        return result

    @property
    def fds(self):
        """Descriptors of the files; [-1] for an engine without a target."""
        return self.targets.fds

    @property
    def regions(self):
        """(start, length) of what the job works on in each file."""
        return [(self.files[index].start, self.files[index].length) for index in range(self.targets.count)]

    @property
    def depth(self):
        """Most I/Os in flight."""
        return 1 if self.is_sync else self.iodepth

    @property
    def is_stopping(self):
        """Whether the job was told to end: for an engine that waits long."""
        return stop_requested()

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        cdef Request request
        for _ in range(self.iodepth):  # every slot there is: with verify_async also a synchronous engine has several
            request = Request()
            request.engine = self
            self.requests.append(request)
        self.submit_method = self.submit
        self.is_set_up = True
        try:
            self.set_up()
        except BaseException as error:
            raise OSError(f"the engine cannot be set up: {in_words(error)}") from None
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef int64_t answer
        with gil:
            answer = self.ask(io)
        if answer == NOT_DONE:
            return QUEUED
        if answer == NOT_TAKEN:
            return IS_BUSY
        io.result = answer
        return COMPLETED

    cdef int64_t ask(self, io_u *io):
        """Result of an I/O, NOT_DONE or NOT_TAKEN."""
        cdef Request request = <Request>self.requests[io.index]
        cdef object answer
        request.io = io
        try:
            answer = PyObject_CallOneArg(self.submit_method, request)
        except BaseException as error:
            return self.failure(error, "submit")
        if answer is None and not self.is_sync:
            request.is_in_flight = True
            self.in_flight += 1
            return NOT_DONE
        if answer is NO_ROOM and self.in_flight:
            return NOT_TAKEN
        return self.checked(answer, io, "submit")

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        with gil:
            try:
                return self.gather(wanted, most or self.iodepth, timeout_ns / 1e9 if timeout_ns else None)
            except BaseException as error:
                return <int>self.failure(error, "collect")

    cdef int gather(self, uint32_t wanted, uint32_t most, object timeout_s) except? -1:
        cdef Request request
        cdef uint32_t count = 0
        wanted = min(wanted, self.in_flight)
        if <uint32_t>len(self.finished) < max(wanted, <uint32_t>1):
            for item in self.collect(wanted - min(<uint32_t>len(self.finished), wanted), timeout_s):
                if not isinstance(item, Request) or (<Request>item).engine is not self \
                        or not (<Request>item).is_in_flight:
                    raise ValueError(f"{shown(item)} is no request in flight")
                (<Request>item).is_in_flight = False
                self.finished.append(item)
        while count < most and self.finished:
            request = <Request>self.finished.pop(0)
            request.io.result = self.checked(request.result, request.io, "collect")
            request.result = None
            self.events[count] = request.io
            self.in_flight -= 1
            count += 1
        return <int>count

    cdef int cancel(self, io_u *io) noexcept nogil:
        with gil:
            try:
                return 0 if self.take_back(self.requests[io.index]) else -ENOSYS
            except BaseException as error:
                return <int>self.failure(error, "take_back")

    cdef void close(self) noexcept:
        if self.is_set_up:
            self.is_set_up = False
            self.submit_method = None  # it holds us
            try:
                self.tear_down()
            except BaseException as error:
                self.failure(error, "tear_down")

    cdef int64_t checked(self, object result, io_u *io, str method):
        """The result of an I/O if it can be one, else -EIO."""
        cdef int64_t value
        if type(result) is int and -MAX_ERRNO <= result <= io.length:
            value = result
            return value
        return self.fault(f"{method} answered {shown(result)} for an I/O of {io.length} bytes", method)

    cdef int64_t failure(self, object error, str method):
        """The -errno for what a method raised."""
        if isinstance(error, OSError) and type(error.errno) is int and 0 < error.errno <= MAX_ERRNO:
            return -error.errno
        return self.fault(f"{method}: {in_words(error)}", method)

    cdef int64_t fault(self, str text, str method):
        if method not in self.faults_told:  # once: it may be a million times
            self.faults_told.add(method)
            self.notes.append(f"plug-in engine: {text}; counted as EIO")
        return -EIO


def shown(found):
    """What a plug-in gave us, in a few words; it may be anything."""
    try:
        return repr(found)[:80]
    except Exception:
        return f"something of type {type(found).__name__}"


def in_words(error):
    """One line for what a plug-in raised: what, and on which of its lines."""
    try:
        lines = str(error).splitlines()
    except Exception:
        lines = []
    place, traceback = "", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.endswith(".pyx"):
            place = f" ({code.co_filename.rpartition('/')[2]}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return f"{type(error).__name__}{': ' + lines[0] if lines else ''}{place}"
