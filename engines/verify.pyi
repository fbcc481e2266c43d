from typing import final

from iovigil.engines.stats import Mismatch

@final
class BlockVerifier:
    """Stamp and check single blocks from Python, for tests and tools."""

    def __init__(self, header: str = "fio-3.41", nonce: int = 0, time_s: int = 0) -> None: ...
    def stamp(self, length: int, offset: int, numberio: int) -> bytes:
        """The block that a verified write of this generation puts at `offset`."""
    def check(
        self, block: bytes | bytearray | memoryview, offset: int, numberio: int = 0
    ) -> tuple[Mismatch, int, int] | None:
        """None for a good block, else what kind of wrong, its first wrong byte (-1: unknown), the generation found."""
