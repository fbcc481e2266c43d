"""The parts of docs/reliability.md that were measured: each stands between two marks with its name."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: measured -->\n", f"\n<!-- {name}: end -->"


def read(name: str) -> str:
    begin, end = marks(name)
    return PAGE.read_text().partition(begin)[2].partition(end)[0]


def write(name: str, text: str) -> None:
    begin, end = marks(name)
    before, _, rest = PAGE.read_text().partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"{PAGE} has no marks for {name}"
    PAGE.write_text(before + begin + text + end + after)
