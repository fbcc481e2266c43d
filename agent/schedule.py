"""When each probe runs on each disk: a fixed place in every interval, apart from all the others."""

import hashlib
import itertools
import math
from collections.abc import Iterable
from typing import Final

from iovigil.agent.windows import ALWAYS, Span, Windows, reference_halves

CANDIDATES: Final = 32
GOOD_SHARE: Final = 0.9
REFERENCE_INTERVALS: Final = 16
FARTHEST_TRIES: Final = 1000


def phase_s(host: str, disk: str, probe: str, interval_s: float, windows: Windows = ALWAYS) -> float:
    """Return how far into each interval this probe starts on this disk: the same for ever, in [0, interval_s).

    The hash spreads a fleet that was started at one moment over the whole interval, and a restart, an upgrade or
    another Python changes nothing. Python's own hash() differs from process to process.

    Where the interval is longer than a window, most phases would never meet it: then the fleet is spread over the
    time that the windows leave open.
    """
    if interval_s <= windows.shortest_s:
        return fraction(host, disk, probe) * interval_s
    spans = list(itertools.chain(*reference_halves(windows, REFERENCE_INTERVALS * interval_s)))
    if not spans:
        return fraction(host, disk, probe) * interval_s
    open_s = sum(span.end_unix - span.start_unix for span in spans)
    phases = [
        moment(spans, fraction(host, disk, probe, str(number)) * open_s) % interval_s for number in range(CANDIDATES)
    ]
    # Some meet the windows only on some days, or only until clocks are put forward: not one of those.
    counts = [starts_within(spans, interval_s, phase) for phase in phases]
    enough = GOOD_SHARE * max(counts)
    return next(phase for phase, count in zip(phases, counts, strict=True) if count >= enough)


def fraction(*names: str) -> float:
    """Return a number in [0, 1) that only the names decide."""
    label = "\0".join(names).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(label, digest_size=8).digest()
    # 53 bits are all that a float holds: with 64 the fraction could round up to 1.
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def moment(spans: Iterable[Span], open_s: float) -> float:
    """Return when so much of the open time has passed."""
    end_unix = 0.0
    for start_unix, end_unix in spans:
        if open_s < end_unix - start_unix:
            return start_unix + open_s
        open_s -= end_unix - start_unix
    return end_unix


def starts_within(spans: Iterable[Span], interval_s: float, phase_s: float) -> int:
    """Return how many starts there are in these stretches of time."""
    return sum(
        math.ceil((end_unix - phase_s) / interval_s) - math.ceil((start_unix - phase_s) / interval_s)
        for start_unix, end_unix in spans
    )


def next_start_unix(now_unix: float, interval_s: float, phase_s: float, windows: Windows = ALWAYS) -> float:
    """Return the first planned start strictly after `now_unix`; starts are at k * interval_s + phase_s.

    With windows it is the first that falls into one; infinity where none does in a long time.
    """
    start_unix = next_on_grid_unix(now_unix, interval_s, phase_s)
    for _ in range(FARTHEST_TRIES):
        if windows.is_open(start_unix):
            return start_unix
        opens_unix = windows.next_open_unix(start_unix)
        if math.isinf(opens_unix):
            break
        start_unix = next_on_grid_unix(math.nextafter(opens_unix, 0), interval_s, phase_s)
    return math.inf


def next_on_grid_unix(now_unix: float, interval_s: float, phase_s: float) -> float:
    k = math.floor((now_unix - phase_s) / interval_s)
    # The division may round to the neighbouring interval, which would skip a start or repeat one.
    while k * interval_s + phase_s > now_unix:
        k -= 1
    while k * interval_s + phase_s <= now_unix:
        k += 1
    return k * interval_s + phase_s


def longest_gap_s(interval_s: float, phase_s: float, windows: Windows) -> float:
    """Return the longest time between two planned starts: the interval, or more where windows keep starts out."""
    if windows.are_always:
        return interval_s
    longest_s = interval_s
    for half in reference_halves(windows, REFERENCE_INTERVALS * interval_s):
        last_unix = math.inf
        for span in half:
            if count := starts_within([span], interval_s, phase_s):
                first_unix = next_on_grid_unix(math.nextafter(span.start_unix, 0), interval_s, phase_s)
                longest_s = max(longest_s, first_unix - last_unix)
                last_unix = first_unix + (count - 1) * interval_s
    return longest_s
