"""The control plane: decides what to run, when and where, and reports what came out."""
