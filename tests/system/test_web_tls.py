"""TLS and client certificates of a running agent, as openssl and curl see them; changes without a restart."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import wait_until
from web_agent import WebAgent, make_ca, make_certificate, web_agent

pytestmark = [pytest.mark.requires_openssl, pytest.mark.requires_curl]

TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
WITH_TLS = TLS + "}\n"
MUTUAL = TLS + ", client_ca_file: ca.pem, client_auth_type: RequireAndVerifyClientCert"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    make_ca(directory)
    make_ca(directory, "other")
    make_certificate(directory, "server", "DNS:localhost,IP:127.0.0.1", rsa=True)
    make_certificate(directory, "client", "DNS:prometheus.example.org,email:ops@example.org,IP:192.0.2.7")
    make_certificate(directory, "stranger", "DNS:prometheus.example.org", ca="other")
    return directory


@pytest.fixture
def directory(tmp_path: Path, certificates: Path) -> Path:
    for file in certificates.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def agent(directory: Path) -> Iterator[WebAgent]:
    with web_agent(directory, WITH_TLS) as running:
        yield running


def with_client(directory: Path, name: str) -> tuple[str, ...]:
    return ("--cert", f"{directory}/{name}.pem", "--key", f"{directory}/{name}.key")


def test_metrics_come_over_tls_and_not_without(agent: WebAgent) -> None:
    answer = agent.curl("/metrics")
    assert (answer.status, "iovigil_build_info" in answer.body) == (200, True)
    assert f"https://127.0.0.1:{agent.port}/metrics" in agent.log.read_text()
    assert agent.curl("/metrics", scheme="http").exit_status != 0


@pytest.mark.parametrize(
    ("bounds", "refused", "taken"),
    [
        ("", "-tls1_1", "-tls1_2"),
        ("", "-tls1_1", "-tls1_3"),
        (", min_version: TLS13", "-tls1_2", "-tls1_3"),
        (", max_version: TLS12", "-tls1_3", "-tls1_2"),
        (", min_version: TLS11, max_version: TLS12", "-tls1_3", "-tls1_1"),
    ],
)
def test_the_bounds_of_the_version_are_kept(directory: Path, bounds: str, refused: str, taken: str) -> None:
    lowest = ("-cipher", "DEFAULT:@SECLEVEL=0")
    with web_agent(directory, f"{TLS}{bounds}}}\n") as agent:
        assert "\nhealthy" not in agent.handshake(refused, *lowest)
        assert "\nhealthy" in agent.handshake(taken, *lowest)


def test_only_the_cipher_suites_that_are_listed_are_taken(directory: Path) -> None:
    suites = ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"
    with web_agent(directory, f"{TLS}{suites}}}\n") as agent:
        both = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
        assert "Cipher is ECDHE-RSA-AES256-GCM-SHA384" in agent.handshake("-tls1_2", "-cipher", both)
        assert "\nhealthy" not in agent.handshake("-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305")
        agent.write_web_config(f"{TLS}{suites}, prefer_server_cipher_suites: false}}\n")
        time.sleep(0.2)
        assert "Cipher is ECDHE-RSA-AES128-GCM-SHA256" in agent.handshake("-tls1_2", "-cipher", both)


def test_suites_of_tls_1_3_alone_leave_no_other_version(directory: Path) -> None:
    with web_agent(directory, f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}\n") as agent:
        assert "\nhealthy" not in agent.handshake("-tls1_2")
        assert "\nhealthy" in agent.handshake("-tls1_3")


def test_only_the_curve_that_is_listed_is_taken(directory: Path) -> None:
    with web_agent(directory, f"{TLS}, curve_preferences: [CurveP384]}}\n") as agent:
        assert "\nhealthy" not in agent.handshake("-groups", "X25519:P-256")
        assert "secp384r1" in agent.handshake("-groups", "X25519:P-384")


def test_certificate_and_key_may_stand_in_the_file(directory: Path) -> None:
    def inline(name: str) -> str:
        return "|\n    " + (directory / name).read_text().replace("\n", "\n    ")

    text = f"tls_server_config:\n  cert: {inline('server.pem')}\n  key: {inline('server.key')}\n"
    with web_agent(directory, text) as agent:
        assert agent.curl("/-/healthy").body == "healthy\n"


def test_a_client_certificate_is_required(directory: Path) -> None:
    with web_agent(directory, MUTUAL + "}\n") as agent:
        assert agent.curl("/-/healthy", *with_client(directory, "client")).status == 200
        assert agent.curl("/-/healthy").status == 0
        assert agent.curl("/-/healthy", *with_client(directory, "stranger")).status == 0
        refused = agent.metric(
            'iovigil_web_refusals_total{reason="client_certificate"}', *with_client(directory, "client")
        )
        assert refused == 2


def test_a_client_certificate_is_verified_if_given(directory: Path) -> None:
    policy = f"{TLS}, client_ca_file: ca.pem, client_auth_type: VerifyClientCertIfGiven}}\n"
    with web_agent(directory, policy) as agent:
        assert agent.curl("/-/healthy").status == 200
        assert agent.curl("/-/healthy", *with_client(directory, "client")).status == 200
        assert agent.curl("/-/healthy", *with_client(directory, "stranger")).status == 0


@pytest.mark.parametrize(
    ("sans", "status"),
    [("prometheus.example.org", 200), ("192.0.2.7", 200), ("ops@example.org", 200), ("example.org", 0)],
)
def test_the_names_of_a_client_are_compared_whole(directory: Path, sans: str, status: int) -> None:
    with web_agent(directory, f"{MUTUAL}, client_allowed_sans: [nobody.example.org, {sans}]}}\n") as agent:
        assert agent.curl("/-/healthy", *with_client(directory, "client")).status == status


def test_open_paths_need_no_client_certificate_and_all_others_do(directory: Path) -> None:
    with web_agent(directory, MUTUAL + "}\n", web="open_paths: [/-/healthy]") as agent:
        assert agent.curl("/-/healthy").status == 200
        for path in ("/metrics", "/", "/-/ready", "/nothing", "/-/healthy/", "//-/healthy"):
            assert agent.curl(path).status == 403, path
        assert agent.curl("/metrics", *with_client(directory, "client")).status == 200
        assert agent.curl("/metrics", *with_client(directory, "stranger")).status == 0


def test_a_new_certificate_is_shown_to_the_next_connection(agent: WebAgent) -> None:
    assert agent.serial() == "01"
    make_certificate(agent.directory, "server", "DNS:localhost,IP:127.0.0.1", serial=2)
    time.sleep(0.2)
    assert agent.serial() == "02"
    assert agent.metric("iovigil_web_config_last_reload_successful") == 1


def test_a_broken_certificate_leaves_the_old_one_in_force_and_is_said(agent: WebAgent) -> None:
    good = (agent.directory / "server.pem").read_text()
    (agent.directory / "server.pem").write_text("no certificate\n")
    time.sleep(0.2)
    assert agent.serial() == "01"
    agent.wait_for_line("web.yml:1: tls_server_config.cert_file: server.pem holds no certificate in PEM")
    assert agent.metric("iovigil_web_config_last_reload_successful") == 0
    refusals = agent.log.read_text().count("web configuration refused")
    time.sleep(0.2)
    agent.serial()
    assert agent.log.read_text().count("web configuration refused") == refusals, "said once, not at every connection"
    (agent.directory / "server.pem").write_text(good)
    wait_until(lambda: agent.metric("iovigil_web_config_last_reload_successful") == 1, "the good one is taken")


def test_a_certificate_that_has_vanished_leaves_the_old_one_in_force(agent: WebAgent) -> None:
    (agent.directory / "server.key").unlink()
    time.sleep(0.2)
    assert agent.serial() == "01"
    agent.wait_for_line("server.key cannot be read: No such file or directory")


def test_a_mistake_in_the_web_configuration_is_said_and_not_followed(agent: WebAgent) -> None:
    agent.write_web_config(WITH_TLS + "basic_auth_user: {}\n")
    time.sleep(0.2)
    assert agent.curl("/-/healthy").status == 200
    agent.wait_for_line("web.yml:2: basic_auth_user: is not a key here; did you mean basic_auth_users?")


def test_a_connection_of_before_does_not_outlive_what_is_asked_for_now(agent: WebAgent) -> None:
    """A client that stays connected is not spared the certificate that is needed from now on."""
    with subprocess.Popen(
        ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{agent.port}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write("GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.stdin.flush()
        assert client.stdout.readline().startswith("HTTP/1.1 200")
        agent.write_web_config(MUTUAL + "}\n")
        time.sleep(0.2)
        client.stdin.write("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.stdin.flush()
        rest = client.stdout.read()
        assert "HTTP/1.1 403" in rest
        assert "iovigil_build_info" not in rest
        client.wait(5)


def test_the_agent_does_not_start_on_a_broken_web_configuration(directory: Path) -> None:
    said = r"web.yml:1: tls_server_config.key_file: client.key does not belong to the certificate"
    with (
        pytest.raises(AssertionError, match=said),
        web_agent(directory, TLS.replace("server.key", "client.key") + "}\n"),
    ):
        pass


def test_a_reload_reads_the_web_configuration_too(agent: WebAgent) -> None:
    agent.write_web_config("tls_server_config: {cert_file: gone.pem, key_file: server.key}\n")
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_for_line("gone.pem cannot be read: No such file or directory")
    agent.wait_for_line("configuration refused, the old one stays in force")
    agent.write_web_config(WITH_TLS)
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_for_line("configuration reloaded: same disks and probes")
    assert agent.metric("iovigil_web_config_last_reload_successful") == 1


def test_a_reload_to_a_broken_web_configuration_is_refused(agent: WebAgent) -> None:
    config = agent.directory / "agent.yml"
    (agent.directory / "broken.yml").write_text("tls_server_config: {cert_file: gone.pem, key_file: gone.key}\n")
    config.write_text(config.read_text().replace("web.yml", "broken.yml"))
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_for_line("configuration refused, the old one stays in force")
    assert agent.curl("/-/healthy").status == 200
    assert agent.metric("iovigil_config_last_reload_successful") == 0
