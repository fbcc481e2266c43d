from iovigil.engines.stats import Mismatch

class UnitVerifier:
    """Stamp and judge single units from Python, for tests and tools."""

    def __init__(
        self,
        verify: str = "crc32c",
        header: str = "fio-3.41",
        nonce: int = 0,
        shift: int = 0,
        pattern: tuple[bytes, tuple[int, ...]] = (b"", ()),
        pattern_interval: int = 0,
        label: bytes = b"",
        time_s: int = 0,
    ) -> None:
        """`shift` is verify_offset, `pattern` bytes and the places of %o in them, `label` empty or 16 bytes."""

    @property
    def overhead(self) -> int:
        """Bytes of header and checksum."""

    def stamp(self, length: int, offset: int, numberio: int, at: int = 0) -> bytes:
        """The unit that a verified write of this generation puts at `offset`, `at` bytes into its block."""

    def check(
        self, unit: bytes | bytearray, offset: int, numberio: int = 0, at: int = 0
    ) -> tuple[Mismatch, int, int, int, int] | None:
        """None for a good unit, else (kind, first wrong byte, generation, wrong bits, offset where it belongs)."""
