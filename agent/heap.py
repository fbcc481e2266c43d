"""The C library's heap, kept small: what a scrape takes goes back to the kernel when it is answered."""

import ctypes
from typing import Final

# Of glibc's malloc.h, mallopt(3).
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8

LARGE_BYTES: Final = 256 * 1024


def bound() -> None:
    """Have one heap for all threads, and large pieces outside of it; a C library other than glibc stays as it is.

    Left to itself glibc moves the bound of what is large up to the first few megabytes that were freed, and every
    thread begins a heap of its own: with 240 probes that came to 7 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for what, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES)):
        mallopt(what, value)
