"""Asks questions that a hung disk may never answer, each in a process of its own, and waits only so long."""

import json
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any


def ask(questions: Mapping[str, Callable[[], Any]], deadline_s: float) -> dict[str, Any]:
    """The answers that came before the deadline, by the questions' keys; they must be what JSON can hold.

    A question that raised has the answer None. Call it from a process without other threads: it forks. A process
    that hangs in the kernel is killed as far as that goes, and not waited for.
    """
    end = time.monotonic() + deadline_s
    answers: dict[str, Any] = {}
    with selectors.DefaultSelector() as selector:
        asked = {key: fork(question) for key, question in questions.items()}
        received = dict.fromkeys(asked, b"")
        for key, (_, pipe) in asked.items():
            selector.register(pipe, selectors.EVENT_READ, key)
        while selector.get_map() and (left_s := end - time.monotonic()) > 0:
            for ready, _ in selector.select(left_s):
                if data := os.read(ready.fd, 65536):
                    received[ready.data] += data
                    continue
                selector.unregister(ready.fd)
                answers[ready.data] = json.loads(received[ready.data] or b"null")
    for pid, pipe in asked.values():
        os.close(pipe)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)
    return answers


def fork(question: Callable[[], Any]) -> tuple[int, int]:
    """A process that answers, and the pipe to read the answer from."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        # A process that hangs outlives this command; it must not hold the terminal, or the pipe to a pager.
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.closerange(3, writing)
        os.write(writing, json.dumps(question()).encode())
    finally:
        os._exit(0)
