"""iovigil finds the bad disk before its users do."""

# Kept bare: every child process that does I/O imports this package, and its start-up time counts.
__version__ = "0.1.0"
