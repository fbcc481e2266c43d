"""How check-config prints: lines and tables, the same in every pipe."""

import sys
from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS: Final = 80


def open_console() -> Console:
    # Into a pipe the text is the same wherever it is run, so that it can be compared.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_COLUMNS)


def say(console: Console, text: str) -> None:
    # Names from the file may look like rich's markup.
    console.print(Text(text), soft_wrap=True)


def count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def new_table(console: Console, title: str, columns: Sequence[str]) -> Table:
    """Return a table with rules on a terminal, and of aligned text anywhere else."""
    look = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", title_style="bold", box=look, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
