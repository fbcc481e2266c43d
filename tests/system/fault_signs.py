"""What a scrape must say of a disk: a series, and what its value has to be."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Test = Callable[[float, float], bool]
"""Whether it holds, given the value now and the value just before the fault, or the repair."""


class Samples:
    """One scrape of an agent, by series."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._by_name: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        # Nobody asks for the buckets, and they are the most of it.
        lines = "\n".join(line for line in text.splitlines() if "_bucket{" not in line)
        for family in text_string_to_metric_families(f"{lines}\n"):
            for sample in family.samples:
                self._by_name.setdefault(sample.name, []).append((sample.labels, sample.value))

    def values(self, name: str, **labels: str) -> list[float]:
        """The samples of iovigil_`name` that have these labels, whatever others they have."""
        return [value for found, value in self._by_name.get(f"iovigil_{name}", ()) if labels.items() <= found.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of these samples: 0 of none."""
        return sum(self.values(name, **labels))

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        for name, found in self._by_name.items():
            for labels, value in found:
                yield name, labels, value


@dataclass(frozen=True)
class Sign:
    """One series of the disk, and when it is a sign."""

    metric: str
    """Without iovigil_."""
    says: str
    """What its value is to be, for people."""
    test: Test
    within_s: float
    """From the fault, or the repair, to the scrape that shows it, on a machine that has other things to do."""
    labels: Mapping[str, str] = field(default_factory=dict)

    def is_seen(self, disk: str, now: Samples, before: Samples) -> bool:
        found = now.values(self.metric, disk=disk, **self.labels)
        return bool(found) and self.test(sum(found), before.value(self.metric, disk=disk, **self.labels))

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        return f"`{self.metric}{'{' + labels + '}' if labels else ''}` {self.says}"


def equals(metric: str, value: float, within_s: float, **labels: str) -> Sign:
    return Sign(metric, f"= {value:g}", lambda now, _: now == value, within_s, labels)


def above(metric: str, value: float, within_s: float, **labels: str) -> Sign:
    return Sign(metric, f"> {value:g}", lambda now, _: now > value, within_s, labels)


def below(metric: str, value: float, within_s: float, **labels: str) -> Sign:
    return Sign(metric, f"< {value:g}", lambda now, _: now < value, within_s, labels)


def grows(metric: str, within_s: float, **labels: str) -> Sign:
    return Sign(metric, "grows", lambda now, before: now > before, within_s, labels)


SUCCEEDS: Final = "last_success_timestamp_seconds"


def succeeds(within_s: float) -> Sign:
    """A run succeeds that has ended since."""
    return grows(SUCCEEDS, within_s)
