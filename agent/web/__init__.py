"""The agent's HTTP side: metrics, health, reload, the API and the status page, all from memory."""

from iovigil.agent.web.server import Server

__all__ = ["Server"]
