"""An asynchronous I/O engine in Python: as many threads as iodepth, each with one pread or pwrite at a time."""

import os
import queue
import threading
from collections.abc import Iterable

from iovigil.engines.plugin import READ, WRITE, PythonEngine, Request


class Engine(PythonEngine):
    is_asynchronous = True

    def set_up(self) -> None:
        self.begun: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(self.depth)]
        for thread in self.threads:
            thread.start()

    def submit(self, request: Request) -> None:
        self.begun.put(request)

    def work(self) -> None:
        while (request := self.begun.get()) is not None:
            try:
                request.result = self.transfer(request)
            except OSError as error:
                request.result = -(error.errno or 5)
            self.done.put(request)

    def transfer(self, request: Request) -> int:
        if request.ddir == READ:
            return os.preadv(request.fd, [request.buffer], request.offset)
        if request.ddir == WRITE:
            return os.pwritev(request.fd, [request.buffer], request.offset)
        return self.do_plainly(request)

    def collect(self, wanted: int, timeout_s: float | None) -> Iterable[Request]:
        finished: list[Request] = []
        try:
            while True:
                finished.append(self.done.get(len(finished) < wanted, timeout_s))
        except queue.Empty:
            return finished

    def tear_down(self) -> None:
        for _ in self.threads:
            self.begun.put(None)
