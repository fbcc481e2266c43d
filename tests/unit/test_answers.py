"""Scrapes are rendered each for itself, until they would take too much of the agent's time."""

import time

import pytest
from ledgers import ledger_of, probe

from iovigil.agent import metrics
from iovigil.agent.ledger import Ledger
from iovigil.agent.web.answers import AHEAD_S, OLDEST_S, SHARE, Answers

OPENMETRICS = "application/openmetrics-text"


class Clock:
    """A clock that a rendering moves by what it costs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost_s: float) -> None:
        self.now_s = 1000.0
        self.cost_s = cost_s
        self.rendered = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)

    def render(self, ledger: Ledger, accept: str) -> tuple[bytes, str]:
        self.now_s += self.cost_s
        self.rendered += 1
        return metrics.render(ledger, accept)

    def answers(self) -> Answers:
        ledger = ledger_of(probe())
        return Answers(lambda: ledger, self.render)


def test_each_of_a_few_scrapes_is_of_its_own_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, cost_s=0.02)
    served = clock.answers()
    for number in range(20):
        served.of("", is_compressed=False)
        assert clock.rendered == number + 1
        clock.now_s += 0.1


def test_a_crowd_costs_a_share_of_the_time_and_sees_nothing_old(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, cost_s=0.02)
    served, began_s = clock.answers(), clock.now_s
    made_s, oldest_s = began_s, 0.0
    while clock.now_s < began_s + 60:
        before = clock.rendered
        served.of("", is_compressed=False)
        if clock.rendered > before:
            made_s = clock.now_s - clock.cost_s
        oldest_s = max(oldest_s, clock.now_s - made_s)
        clock.now_s += 0.001
    assert clock.rendered * clock.cost_s == pytest.approx(60 * SHARE, rel=0.05)
    assert clock.cost_s < oldest_s <= 2 * clock.cost_s / SHARE


def test_what_takes_long_to_render_is_still_not_older_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, cost_s=1.0)
    served = clock.answers()
    served.of("", is_compressed=False)
    clock.now_s += OLDEST_S - 1.1
    for step in range(10):
        clock.now_s += 0.2
        served.of("", is_compressed=False)
        assert clock.rendered >= 2, step


def test_formats_are_not_mixed_up_and_a_body_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, cost_s=2 * AHEAD_S)
    served = clock.answers()
    text, text_type = served.of("", is_compressed=False)
    opened, opened_type = served.of(OPENMETRICS, is_compressed=False)
    assert clock.rendered == 2
    assert (text_type, opened_type) == (
        served.of("", is_compressed=True)[1],
        served.of(OPENMETRICS, is_compressed=True)[1],
    )
    assert text_type != opened_type
    assert opened.endswith(b"# EOF\n")
    assert served.of("", is_compressed=False)[0] is text
    assert served.of("", is_compressed=True)[0] is served.of("", is_compressed=True)[0]
    assert clock.rendered == 2
