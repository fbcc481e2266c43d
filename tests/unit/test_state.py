"""Two agents never share a state directory."""

import os
from pathlib import Path

import pytest

from iovigil.agent.state import StateLock, StateTaken


def test_a_second_agent_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with StateLock(str(tmp_path / "state")), pytest.raises(StateTaken, match=f"another agent .pid {os.getpid()}."):
        StateLock(str(tmp_path / "state")).__enter__()


def test_the_directory_is_free_when_the_agent_has_gone(tmp_path: Path) -> None:
    for _ in range(2):
        with StateLock(str(tmp_path)):
            assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"


def test_a_directory_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateTaken, match=r"Not a directory; .*--state-directory"):
        StateLock(str(tmp_path / "file" / "state")).__enter__()
