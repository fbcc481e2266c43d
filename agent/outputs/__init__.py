"""Ways out of the agent beside its web server."""

from iovigil.agent.outputs.outputs import Outputs

__all__ = ["Outputs"]
