from typing import Any, Self, final

from iovigil.engines.target import TargetFiles

@final
class Dumps:
    """What a job has leave to write of bad blocks: none, all (verify_dump), or so many where the agent wants them."""

    def __new__(cls, options: dict[str, Any], targets: TargetFiles) -> Self: ...
