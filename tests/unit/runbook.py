"""A runbook page in its parts: the commands that confirm an alert, and the one that silences it."""

import re
import shlex
from pathlib import Path

import monitoring

PARTS = ["Meaning", "Confirm", "Do", "Silence"]


def page(alert: str) -> Path:
    return monitoring.RUNBOOKS / f"{alert}.md"


def part(alert: str, name: str) -> str:
    """What stands under this heading."""
    return re.split(r"^## ", page(alert).read_text(), flags=re.MULTILINE)[1 + PARTS.index(name)].partition("\n")[2]


def block(alert: str) -> str:
    """The block of shell under Confirm."""
    [found] = re.findall(r"```sh\n(.*?)```", part(alert, "Confirm"), re.DOTALL)
    return str(found)


def commands(alert: str, **placeholders: str) -> list[str]:
    """What one types to confirm it; `DISK="d0"` puts d0 in DISK's place."""
    lines = [line for line in block(alert).splitlines() if line and not line.startswith("#")]
    return [filled(line, placeholders) for line in lines]


def queries(alert: str) -> list[str]:
    """What one asks Prometheus: the indented comments of the block."""
    return re.findall(r"^#   (.+)$", block(alert), re.MULTILINE)


def silence(alert: str, **placeholders: str) -> list[str]:
    """amtool's command line, in words."""
    [command] = re.findall(r"`(amtool silence add [^`]+)`", part(alert, "Silence"))
    return shlex.split(filled(" ".join(command.split()), placeholders))


def filled(text: str, placeholders: dict[str, str]) -> str:
    for name, value in placeholders.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return text
