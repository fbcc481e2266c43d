"""What the children of a batch wait before, so that they start at one moment."""

import os


class Gate:
    """What the children of a batch wait before: it opens for all of them at one moment, and costs nothing until then.

    A pipe whose one writing end is here: closing it wakes whoever polls the other.
    """

    def __init__(self) -> None:
        self.fd, self._held = os.pipe2(os.O_CLOEXEC)

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._held)
        os.close(self.fd)
