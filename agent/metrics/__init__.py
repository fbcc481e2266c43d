"""What Prometheus scrapes: one module per group of metric families, built afresh from the ledger at every scrape."""

from iovigil.agent.metrics.exposition import render

__all__ = ["render"]
