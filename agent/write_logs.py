"""Write logs that the agent keeps: of jobs that write to the same blocks, and from one run of a job to the next."""

import os
import secrets
import time
from typing import Final, Self

NONCE_BITS: Final = 64


class WriteLog:
    """Which block holds which write and has not been read back: a memory file that children map.

    No disk is behind it, so that no disk can hold up who has it open. It goes with the last who has.
    """

    def __init__(self, fd: int, nonce: int, begun_ns: int) -> None:
        self.fd = fd
        self.nonce = nonce
        """Makes the contents of blocks unlike those of any other log."""
        self.begun_ns = begun_ns
        """When it was begun, since the epoch: in every header."""

    @classmethod
    def create(cls) -> Self:
        """Raises OSError."""
        fd = os.memfd_create("iovigil-write-log", os.MFD_CLOEXEC)
        return cls(fd, secrets.randbits(NONCE_BITS), time.time_ns())

    def __del__(self) -> None:
        os.close(self.fd)

    def told(self, place: int = 0, sharers: int = 1) -> dict[str, int]:
        """What an order says of it to the job at that place among its sharers."""
        return {"nonce": self.nonce, "begun_ns": self.begun_ns, "place": place, "sharers": sharers}
