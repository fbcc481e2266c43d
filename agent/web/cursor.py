"""Cursors: where a page of a list ended, as a word that only its own list reads."""

import base64
import binascii
import json
from collections.abc import Sequence
from http import HTTPStatus

from iovigil.agent.web.problem import ProblemError


def spell(kind: str, *place: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps([kind, *place]).encode()).decode().rstrip("=")


def read(kind: str, types: Sequence[type], text: str) -> tuple[str | int, ...]:
    """The place that was spelt. Raises ProblemError."""
    try:
        padded = text + "=" * (-len(text) % 4)
        place = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
        is_right = isinstance(place, list) and place[:1] == [kind] and [type(each) for each in place[1:]] == [*types]
        if not is_right or any(isinstance(each, int) and not 0 < each + 1 < 1 << 63 for each in place[1:]):
            raise ValueError("of another list")
    except (ValueError, binascii.Error, RecursionError):
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            f"cursor is not one of a list of {kind}: take next_cursor of the page before, or leave it out",
            found=text[:80],
        ) from None
    return tuple(place[1:])
