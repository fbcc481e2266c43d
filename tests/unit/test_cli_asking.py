"""Which agent is meant: what cannot be one is told in a line."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from iovigil.agent.cli import asking
from iovigil.agent.cli.asking import RunningAgent
from iovigil.agent.config import ConfigError


async def ask(agent: RunningAgent) -> int:
    await agent.get("/agent")
    return 0


@pytest.mark.parametrize(
    "url", ["localhost:9942", "http://[", "http://x:y/", "http://127.0.0.1:99999", "http://127.0.0.1:0", "ftp://x/"]
)
def test_what_is_no_url_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asking.asked(argparse.Namespace(**NOTHING | {"url": url}), ask) == 1
    assert f"{url} is not a URL such as" in capsys.readouterr().err


def test_a_name_that_no_host_can_have_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert asking.asked(argparse.Namespace(**NOTHING | {"url": "http://..../"}), ask) == 1
    assert capsys.readouterr().err.startswith("iovigil: http://....: ")


def test_a_configuration_that_may_not_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "DEFAULT_CONFIG", str(tmp_path / "agent.yml"))

    def deny(*_arguments: object, **_fields: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", deny)
    with pytest.raises(ConfigError, match=r"agent\.yml: cannot be read"):
        asking.socket_of(None)


NOTHING: dict[str, Any] = dict.fromkeys(
    ("url", "config", "socket", "cacert", "cert", "key", "insecure", "user", "password_file")
)
