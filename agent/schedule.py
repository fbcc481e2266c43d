"""When each probe runs on each disk: a fixed place in every interval, apart from all the others."""

import hashlib
import math


def phase_s(host: str, disk: str, probe: str, interval_s: float) -> float:
    """Return how far into each interval this probe starts on this disk: the same for ever, in [0, interval_s).

    The hash spreads a fleet that was started at one moment over the whole interval, and a restart, an upgrade or
    another Python changes nothing. Python's own hash() differs from process to process.
    """
    label = "\0".join((host, disk, probe)).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(label, digest_size=8).digest()
    # 53 bits are all that a float holds: with 64 the fraction could round up to 1.
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53) * interval_s


def next_start_unix(now_unix: float, interval_s: float, phase_s: float) -> float:
    """Return the first planned start strictly after `now_unix`; starts are at k * interval_s + phase_s."""
    k = math.floor((now_unix - phase_s) / interval_s)
    # The division may round to the neighbouring interval, which would skip a start or repeat one.
    while k * interval_s + phase_s > now_unix:
        k -= 1
    while k * interval_s + phase_s <= now_unix:
        k += 1
    return k * interval_s + phase_s
