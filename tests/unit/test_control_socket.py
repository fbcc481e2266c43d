"""The control socket's name: whoever has it listens."""

import socket
import threading
from pathlib import Path

import pytest

from iovigil.agent.web.control_socket import InUse, bind


def test_of_agents_that_start_at_once_one_has_the_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    for _ in range(20):
        barrier = threading.Barrier(4)
        had: list[socket.socket] = []
        refused: list[OSError] = []

        def begin(barrier: threading.Barrier, had: list[socket.socket], refused: list[OSError]) -> None:
            barrier.wait(10)
            try:
                had.append(bind(path))
            except (InUse, FileExistsError) as error:
                refused.append(error)

        threads = [threading.Thread(target=begin, args=(barrier, had, refused)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert (len(had), len(refused)) == (1, 3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
        assert [file.name for file in tmp_path.iterdir()] == ["s"]
        had[0].close()
        Path(path).unlink()


def test_the_socket_of_an_agent_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    bind(path).close()
    with bind(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(path)


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        bind(str(tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
