"""Each disk against its own past: what a probe usually costs on it, and for how long it has cost more."""
