"""What Prometheus scrapes: one module per group of metric families, filled from the ledger."""

from iovigil.agent.metrics.exposition import Exposition, render

__all__ = ["Exposition", "render"]
