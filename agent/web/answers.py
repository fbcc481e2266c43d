"""What scrapes are answered with: each is rendered for itself, as long as that does not take too much of the time."""

import time
from collections.abc import Callable
from typing import Final

from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics import formats
from iovigil.agent.web.encodings import compressed

SHARE: Final = 0.25
"""Of the main loop's time, which rendering may take where very many ask."""
AHEAD_S: Final = 0.1
"""What it may take at once after a quiet time."""
OLDEST_S: Final = 0.5


class Answer:
    """The exposition of one moment in one format, compressed when somebody first asks for that."""

    def __init__(self, made_s: float, plain: bytes, content_type: str) -> None:
        self.made_s = made_s
        self.plain = plain
        self.content_type = content_type
        self._compressed = b""

    @property
    def compressed(self) -> bytes:
        if not self._compressed:
            self._compressed = compressed(self.plain)
        return self._compressed


class Answers:
    """Keeps the last one of each format: where its time is used up, scrapes get that one, which is hardly older."""

    def __init__(self, ledger_of: Callable[[], Ledger], render: Callable[[Ledger, str], tuple[bytes, str]]) -> None:
        """`ledger_of` has the ledger kept before anybody is shown it, and so is what an older answer shows."""
        self._ledger_of = ledger_of
        self._render = render
        self._last: dict[str, Answer] = {}
        self._left_s = AHEAD_S
        self._filled_s = time.monotonic()

    def of(self, accept: str, *, is_compressed: bool) -> tuple[bytes, str]:
        """Body and content type for a scrape with this Accept header."""
        began_s = time.monotonic()
        self._left_s = min(self._left_s + (began_s - self._filled_s) * SHARE, AHEAD_S)
        self._filled_s = began_s
        answer = self._answer(accept, began_s)
        body = answer.compressed if is_compressed else answer.plain
        self._left_s = max(self._left_s - (time.monotonic() - began_s), -AHEAD_S)
        if self._left_s > 0:
            self._last.clear()  # the next scrape is rendered for itself, and these are megabytes
        return body, answer.content_type

    def _answer(self, accept: str, now_s: float) -> Answer:
        content_type = formats.choose(accept).content_type
        last = self._last.get(content_type)
        if last is not None and self._left_s <= 0 and now_s - last.made_s < OLDEST_S:
            return last
        answer = Answer(now_s, *self._render(self._ledger_of(), accept))
        self._last[content_type] = answer
        return answer
