from collections.abc import Sequence

def laid(text: bytes, places: Sequence[int], interval: int, at: int, length: int, offset: int) -> bytes:
    """What a block at `offset` holds in [at, at + length): for tests."""
