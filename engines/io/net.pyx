"""TCP: a job that reads takes what comes over a connection, one that writes sends; one direction only."""

import errno as errors
import os
import select
import socket
import sys
import time

from libc.errno cimport EAGAIN, ECONNRESET, EINTR, EOPNOTSUPP, errno
from libc.stdint cimport uint32_t, uint64_t

from iovigil.engines.io.base cimport IoEngine
from iovigil.engines.io_u cimport COMPLETED, READ, WRITE, QueueStatus, io_u
from iovigil.engines.sigterm cimport stop_requested
from iovigil.engines.target cimport TargetFiles

from iovigil.engines.sigterm import is_stopping

cdef extern from "<errno.h>" nogil:
    int ECANCELED

cdef extern from "<sys/socket.h>" nogil:
    int MSG_NOSIGNAL
    int MSG_WAITALL
    ssize_t recv(int fd, void *buffer, size_t length, int flags)
    ssize_t send(int fd, const void *buffer, size_t length, int flags)

PATIENCE_S = 20.0
"""How long the other side may take to appear: it is started by hand, or by another job."""
POLL_S = 0.05
LOOK_UP_TIMEVAL = (0).to_bytes(8, sys.byteorder) + (500_000).to_bytes(8, sys.byteorder)
STILL_ABSENT = (errors.ECONNREFUSED, errors.ETIMEDOUT, errors.EHOSTUNREACH, errors.ENETUNREACH)


cdef class Engine(IoEngine):
    cdef object socket
    cdef int fd

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.fd = -1

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        options = self.options
        direction, hostname, port = options["direction"], options["hostname"], options["port"]
        if direction not in ("read", "write"):
            raise OSError(f"ioengine=net goes one way, from first byte to last: rw=read or rw=write, not {direction}")
        if not port:
            raise OSError("ioengine=net needs the port of a TCP connection: set port")
        if not hostname and not options["listen"]:
            raise OSError("ioengine=net needs somebody to connect to: set hostname, or listen=1 to be connected to")
        return 0

    cdef int meet(self) except -1:
        options = self.options
        self.socket = (accepted if options["listen"] else connected)(options["hostname"], options["port"])
        if self.socket is None:
            return 0  # the job is over before its first I/O
        self.socket.settimeout(None)
        # SIGTERM may come between a look at the stop word and the wait.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, LOOK_UP_TIMEVAL)
        if options["nodelay"]:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd = self.socket.fileno()
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        cdef uint32_t done = 0
        cdef ssize_t count
        if io.ddir > WRITE:
            io.result = -EOPNOTSUPP
            return COMPLETED
        io.result = io.length
        while done < io.length:
            if io.ddir == READ:
                count = recv(self.fd, io.buf + done, io.length - done, MSG_WAITALL)
            else:
                count = send(self.fd, io.buf + done, io.length - done, MSG_NOSIGNAL)
            if count > 0:
                done += <uint32_t>count
            elif count == 0 or errno not in (EINTR, EAGAIN):
                # Closed by the other side before this job had its size.
                io.result = -errno if count else -ECONNRESET
                break
            elif stop_requested():
                io.result = -ECANCELED  # the other side may never send, or take, another byte
                break
        return COMPLETED

    cdef void close(self) noexcept:
        if self.socket is not None:
            self.fd = -1
            self.socket.close()
            self.socket = None


def accepted(hostname, port):
    """The first connection that comes, to any address of this host when there is no hostname; None after a stop."""
    where = f"{hostname or '*'}:{port}"
    deadline_s = time.monotonic() + PATIENCE_S
    try:
        family, kind, protocol, _, address = resolved(hostname or None, port, socket.AI_PASSIVE)
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(POLL_S)
            while time.monotonic() < deadline_s:
                if is_stopping():
                    return None
                try:
                    return listener.accept()[0]
                except TimeoutError:
                    pass
    except OSError as error:
        raise OSError(f"cannot listen on {where}: {error.strerror or error}") from None
    raise OSError(f"nobody connected to {where} for {PATIENCE_S:g} s")


def connected(hostname, port):
    """A connection, as soon as somebody listens there; None after a stop."""
    deadline_s = time.monotonic() + PATIENCE_S
    reason = "no answer"
    while time.monotonic() < deadline_s and not is_stopping():
        try:
            family, kind, protocol, _, address = resolved(hostname, port, 0)
        except OSError as error:
            raise OSError(f"cannot connect to {hostname}:{port}: {error.strerror or error}") from None
        candidate = socket.socket(family, kind, protocol)
        candidate.setblocking(False)
        error = candidate.connect_ex(address)
        while error == errors.EINPROGRESS and time.monotonic() < deadline_s and not is_stopping():
            if select.select([], [candidate], [], POLL_S)[1]:
                error = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            return candidate
        candidate.close()
        if error != errors.EINPROGRESS:
            reason = os.strerror(error)
            if error not in STILL_ABSENT:
                break
            time.sleep(POLL_S)
    if is_stopping():
        return None
    raise OSError(f"cannot connect to {hostname}:{port}: {reason}")


def resolved(hostname, port, flags):
    return socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM, flags=flags)[0]
