"""The agent's HTTP side: metrics, health, reload and a landing page, all from memory."""

from iovigil.agent.web.server import Server

__all__ = ["Server"]
