"""The web configuration: every mistake with its line and key, what is taken, and what is kept when a file changes."""

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from iovigil.agent.config import ConfigError, WebSettings
from iovigil.agent.web import config_file, tls
from iovigil.agent.web.config_file import WebConfigFile
from iovigil.agent.web.web_config import Refused, duration_s, load
from iovigil.agent.web_account import WebAccount

MISTAKES = sorted((Path(__file__).parent / "web_config").glob("*.yml"))
EXAMPLE = Path(__file__).parents[2] / "config" / "web" / "web.yml"
EXPECT = "# expect: "
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_its_line_and_key(path: Path) -> None:
    expected = [line.removeprefix(EXPECT) for line in path.read_text().split("\n") if line.startswith(EXPECT)]
    assert expected
    with pytest.raises(Refused) as refused:
        load(str(path))
    assert str(refused.value).split("\n") == [f"{path}:{line}" for line in expected]


def test_a_hash_is_in_no_message(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{a: {HASH}x, b: [{HASH}], c: secret}}\n")
    with pytest.raises(Refused) as refused:
        load(str(file))
    assert HASH not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("# later\n")
    loaded = load(str(tmp_path / "web.yml"))
    assert (loaded.context, loaded.is_open, loaded.files) == (None, True, (str(tmp_path / "web.yml"),))


def test_users_headers_and_the_rate_are_read(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(
        f"basic_auth_users: {{alice: {HASH}}}\n"
        "http_server_config: {http2: true, headers: {X-Frame-Options: deny, X-XSS-Protection: }}\n"
        "rate_limit: {interval: 500ms, burst: 20}\n"
    )
    loaded = load(str(tmp_path / "web.yml"))
    assert loaded.users == {"alice": HASH}
    assert loaded.headers == {"X-Frame-Options": "deny"}
    assert (loaded.interval_s, loaded.burst, loaded.is_open) == (0.5, 20, False)
    assert any("http2 has no effect" in remark for remark in loaded.remarks)
    assert any("in the clear" in remark for remark in loaded.remarks)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1m30s", 90), ("1.5s", 1.5), ("250ms", 0.25), ("1h", 3600)])
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.requires_openssl
def test_files_are_looked_for_beside_the_web_configuration(tmp_path: Path) -> None:
    make_pair(tmp_path)
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a.pem, key_file: a.key}\n")
    loaded = load(str(tmp_path / "web.yml"))
    assert loaded.files == tuple(str(tmp_path / name) for name in ("web.yml", "a.pem", "a.key"))
    assert loaded.context is not None
    assert loaded.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert loaded.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.requires_openssl
def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    make_pair(tmp_path)
    command = ["openssl", "pkcs8", "-topk8", "-in", "a.key", "-out", "b.key", "-passout", "pass:x"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=20)
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a.pem, key_file: b.key}\n")
    with pytest.raises(Refused, match=r"1: tls_server_config.key_file: b.key is encrypted: an agent cannot be asked"):
        load(str(tmp_path / "web.yml"))


@pytest.mark.requires_openssl
def test_all_cipher_suites_are_known_to_openssl(tmp_path: Path) -> None:
    make_pair(tmp_path)
    suites = ", ".join(tls.CIPHERS)
    (tmp_path / "web.yml").write_text(
        f"tls_server_config: {{cert_file: a.pem, key_file: a.key, cipher_suites: [{suites}]}}\n"
    )
    context = load(str(tmp_path / "web.yml")).context
    assert context is not None
    assert {cipher["name"] for cipher in context.get_ciphers()} >= set(filter(None, tls.CIPHERS.values()))


def test_the_example_in_the_repository_is_right(tmp_path: Path) -> None:
    make_pair(tmp_path)
    for name in ("server.pem", "client-ca.pem"):
        shutil.copy(tmp_path / "a.pem", tmp_path / name)
    shutil.copy(tmp_path / "a.key", tmp_path / "server.key")
    shutil.copy(EXAMPLE, tmp_path)
    loaded = load(str(tmp_path / EXAMPLE.name))
    assert loaded.needs_client
    assert loaded.users


def make_pair(directory: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", "a.key", "-out", "a.pem"], cwd=directory, check=True, capture_output=True, timeout=20
    )


def test_a_change_is_followed_and_a_mistake_is_not(tmp_path: Path) -> None:
    file, account = tmp_path / "web.yml", WebAccount()
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}\n")

    async def main() -> None:
        watched = WebConfigFile(lambda: account)
        await watched.adopt(WebSettings(config_file=str(file)))
        assert set((await watched.current()).users) == {"alice"}
        for text, users, is_right in (
            (f"basic_auth_users: {{bob: {HASH}}}\n", {"bob"}, True),
            ("basic_auth_users: {bob: secret}\n", {"bob"}, False),
            (f"basic_auth_users: {{carol: {HASH}}}\n", {"carol"}, True),
        ):
            file.write_text(text)
            await asyncio.sleep(config_file.LOOK_INTERVAL_S * 1.5)
            assert set((await watched.current()).users) == users
            assert account.last_reload_successful is is_right
        await watched.adopt(WebSettings())
        assert (await watched.current()).is_open

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_change_to_a_broken_file_goes_on_with_what_was(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}\n")

    async def main() -> None:
        watched = WebConfigFile(WebAccount)
        await watched.adopt(WebSettings(config_file=str(file)))
        with pytest.raises(ConfigError, match=r"gone.yml: cannot be read: No such file or directory"):
            await watched.adopt(WebSettings(config_file=str(tmp_path / "gone.yml")))
        assert set((await watched.current()).users) == {"alice"}

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_file_that_hangs_delays_the_first_request_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A FIFO that nobody writes to stands for a filesystem that does not answer."""
    monkeypatch.setattr(config_file, "LOAD_S", 0.5)
    monkeypatch.setattr(config_file, "PATIENCE_S", 0.2)
    file, account = tmp_path / "web.yml", WebAccount()
    file.write_text(f"basic_auth_users: {{alice: {HASH}}}\n")

    async def main() -> None:
        watched = WebConfigFile(lambda: account)
        await watched.adopt(WebSettings(config_file=str(file)))
        file.unlink()
        os.mkfifo(file)
        await asyncio.sleep(config_file.LOOK_INTERVAL_S * 1.5)
        for limit_s in (0.4, 0.05, 0.05):
            started_s = time.monotonic()
            assert set((await watched.current()).users) == {"alice"}
            assert time.monotonic() - started_s < limit_s
        await asyncio.sleep(0.6)
        assert not account.last_reload_successful
        for _ in range(5):
            assert set((await watched.current()).users) == {"alice"}
            await asyncio.sleep(config_file.LOOK_INTERVAL_S * 1.5)
        file.write_text("")  # lets the thread go

    asyncio.run(asyncio.wait_for(main(), 10))
    assert caplog.text.count("no answer within 0.5 s") == 1
