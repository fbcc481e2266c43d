from typing import Final

CAPSULE: Final[bytes]

def function_of(name: str, generation: str) -> object | None: ...
