from typing import final

from iovigil.engines.io.base import IoEngine

@final
class Engine(IoEngine): ...
