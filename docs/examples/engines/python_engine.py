"""An I/O engine in Python: preadv and pwritev, one I/O at a time. Copy it, and change what `submit` does."""

import os

from iovigil.engines.plugin import READ, WRITE, PythonEngine, Request


class Engine(PythonEngine):
    def set_up(self) -> None:
        if -1 in self.fds:
            raise ValueError("this engine needs a file or a device: set filename")

    def submit(self, request: Request) -> int:
        if request.ddir == READ:
            return os.preadv(request.fd, [request.buffer], request.offset)
        if request.ddir == WRITE:
            return os.pwritev(request.fd, [request.buffer], request.offset)
        return self.do_plainly(request)
