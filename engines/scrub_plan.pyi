from typing import Self, final

@final
class Plan:
    """The arithmetic of generations, for tests and tools."""

    def __new__(cls, key: int, n: int, base: int = 1, before_n: int = 0, before_base: int = 0) -> Self: ...
    def is_due(self, cycle: int, block: int) -> bool: ...
    def generation(self, cycle: int, block: int, is_passed: bool) -> int:
        """The generation that a block holds while `cycle` goes on; 0 where it may hold anything."""
