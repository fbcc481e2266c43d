"""Who is let in: passwords, open paths, headers, other sites' pages; and a Prometheus that is."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
from processes import free_port, started, wait_until
from scraping import PROMETHEUS_CONFIG, Stack
from web_agent import WebAgent, make_ca, make_certificate, web_agent

pytestmark = [pytest.mark.requires_openssl, pytest.mark.requires_curl]

COST = 8  # some 15 ms: enough to be told from nothing


def hash_of(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode().replace("$2b$", "$2y$")  # as htpasswd has it


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    make_ca(tmp_path)
    make_certificate(tmp_path, "server", "DNS:localhost,IP:127.0.0.1")
    return tmp_path


WITH_TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
USERS = f"basic_auth_users:\n  prometheus: {hash_of('right')}\n  grafana: {hash_of('also right')}\n"
REFUSED = 'iovigil_web_refusals_total{reason="password"}'


@pytest.fixture
def agent(directory: Path) -> Iterator[WebAgent]:
    with web_agent(directory, WITH_TLS + USERS) as running:
        yield running


def test_a_wrong_password_is_told_what_is_needed(agent: WebAgent) -> None:
    for credentials in ((), ("-u", "prometheus:wrong"), ("-u", "nobody:right"), ("-u", ":"), ("-u", "grafana:right")):
        answer = agent.curl("/metrics", *credentials)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="iovigil", charset="UTF-8"')
        assert "iovigil_build_info" not in answer.body
    assert agent.curl("/metrics", "-u", "prometheus:right").status == 200
    assert agent.curl("/metrics", "-u", "grafana:also right").status == 200
    assert agent.metric(REFUSED, "-u", "prometheus:right") == 5


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic ====",
        "Basic cHJvbWV0aGV1cw==",
        "Bearer right",
        "basic  ",
        "Basic \xff\xfe",
        "Basic " + "QUFB" * 1500,
    ],
)
def test_no_form_of_the_header_is_taken_for_a_password(agent: WebAgent, authorization: str) -> None:
    assert agent.curl("/metrics", "-H", f"Authorization: {authorization}").status == 401


def test_every_path_is_behind_the_password(agent: WebAgent) -> None:
    for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/nothing", "/metrics/", "//metrics", "/%2d/healthy"):
        assert agent.curl(path).status == 401, path
    assert agent.curl("/-/reload", "-X", "POST").status == 401


def test_open_paths_need_no_password_and_all_others_do(directory: Path) -> None:
    with web_agent(directory, WITH_TLS + USERS, web="open_paths: [/-/healthy]") as agent:
        assert agent.curl("/-/healthy").body == "healthy\n"
        for path in (
            "/-/ready",
            "/metrics",
            "/-/healthy/",
            "/-/healthy/../../metrics",
            "/-/healthy%2f..%2f..%2fmetrics",
        ):
            assert agent.curl(path, "--path-as-is").status == 401, path


def test_a_user_that_does_not_exist_takes_as_long_as_one_that_does(agent: WebAgent) -> None:
    """Each password is another one: what was checked before is remembered."""

    def elapsed_s(user: str, number: int) -> float:
        answer = agent.curl(
            "/-/healthy", "-u", f"{user}:{number}{user}", "-w", "\n%{time_starttransfer} %{time_appconnect}"
        )
        assert answer.status == 401
        first_byte_s, handshake_s = map(float, answer.body.split("\n")[-1].split())
        return first_byte_s - handshake_s

    times: dict[str, list[float]] = {"prometheus": [], "nobody": []}
    for number in range(12):
        for user, taken in times.items():
            taken.append(elapsed_s(user, number))
    started_s = time.perf_counter()
    bcrypt.checkpw(b"wrong", hash_of("right").encode())
    known, unknown = statistics.median(times["prometheus"]), statistics.median(times["nobody"])
    assert min(times["nobody"]) > 0.003, "a password of a user that does not exist is checked as well"
    assert abs(known - unknown) < max(0.5 * known, 0.010), (known, unknown, time.perf_counter() - started_s)


def test_a_password_is_checked_once_and_then_known(directory: Path) -> None:
    """At cost 12 a check takes a quarter of a second: a scrape must not, each time."""
    with web_agent(directory, f"basic_auth_users: {{prometheus: {hash_of('right', 12)}}}\n") as agent:
        first = time.perf_counter()
        assert agent.curl("/-/healthy", "-u", "prometheus:right", scheme="http").status == 200
        first = time.perf_counter() - first
        again = time.perf_counter()
        for _ in range(3):
            assert agent.curl("/-/healthy", "-u", "prometheus:right", scheme="http").status == 200
        again = (time.perf_counter() - again) / 3
        assert again < first / 2, (first, again)


def test_a_user_that_is_taken_out_is_let_in_no_more(agent: WebAgent) -> None:
    assert agent.curl("/-/healthy", "-u", "prometheus:right").status == 200
    agent.write_web_config(WITH_TLS + f"basic_auth_users: {{prometheus: {hash_of('new')}}}\n")
    time.sleep(0.2)
    assert agent.curl("/-/healthy", "-u", "prometheus:right").status == 401
    assert agent.curl("/-/healthy", "-u", "prometheus:new").status == 200


def test_headers_are_added_to_every_answer(directory: Path) -> None:
    headers = """\
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Frame-Options: deny
    Content-Security-Policy: default-src 'self'
    X-XSS-Protection:
"""
    with web_agent(directory, WITH_TLS + USERS + headers, web="open_paths: [/-/ready]") as agent:
        for path, status in (("/-/ready", 200), ("/metrics", 401), ("/-/ready", 200)):
            answer = agent.curl(path)
            assert answer.status == status
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            assert answer.headers["x-frame-options"] == "deny"
            assert answer.headers["content-security-policy"] == "default-src 'self'"
            assert "x-xss-protection" not in answer.headers


def test_requests_beyond_the_rate_are_put_off_and_health_is_not(tmp_path: Path) -> None:
    with web_agent(tmp_path, "rate_limit: {interval: 10s, burst: 3}\n") as agent:
        answers = [agent.curl("/metrics", scheme="http").status for _ in range(5)]
        assert answers == [200, 200, 200, 429, 429]
        assert agent.curl("/-/healthy", scheme="http").status == 200


ELSEWHERE = ("-H", "Origin: https://evil.example.org")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 200),  # no browser
        (ELSEWHERE, 403),
        (("-H", "Origin: null"), 403),
        (("-H", "Sec-Fetch-Site: cross-site"), 403),
        (("-H", "Sec-Fetch-Site: same-site"), 403),
        (("-H", "Host: evil.example.org", *ELSEWHERE), 403),  # a name that was made to lead here
        (("-H", "Host: disks.example.org", "-H", "Origin: https://disks.example.org"), 200),
        (("-H", "Host: [::1]:9942", "-H", "Origin: http://[::1]:9942", "-H", "Sec-Fetch-Site: same-origin"), 200),
    ],
)
def test_another_site_s_page_cannot_make_the_agent_reload(
    tmp_path: Path, headers: tuple[str, ...], status: int
) -> None:
    with web_agent(tmp_path, None, web="host_names: [disks.example.org]") as agent:
        assert agent.curl("/-/reload", "-X", "POST", *headers, scheme="http").status == status
        assert agent.curl("/metrics", *headers, scheme="http").status == 200


def test_reload_by_post_can_be_switched_off(tmp_path: Path) -> None:
    with web_agent(tmp_path, None, web="enable_lifecycle: false") as agent:
        answer = agent.curl("/-/reload", "-X", "POST", scheme="http")
        assert (answer.status, "enable_lifecycle" in answer.body) == (403, True)


@pytest.mark.requires_prometheus
def test_prometheus_scrapes_over_tls_with_a_password(agent: WebAgent) -> None:
    directory = agent.directory
    (directory / "password").write_text("right")
    text = PROMETHEUS_CONFIG.format(port=agent.port, rules="")
    text += f"""\
    scheme: https
    tls_config: {{ca_file: {directory}/ca.pem}}
    basic_auth: {{username: prometheus, password_file: {directory}/password}}
"""
    (directory / "prometheus.yml").write_text(text.replace("rule_files: []\n", ""))
    stack = Stack(agent_port=agent.port, prometheus_port=free_port())
    command = [
        "prometheus",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/tsdb",
        f"--web.listen-address=127.0.0.1:{stack.prometheus_port}",
    ]
    with started(command, log=directory / "prometheus.log", port=stack.prometheus_port):
        wait_until(stack.is_ready, "Prometheus has read its storage")
        stack.wait_for("up == 1")
        make_certificate(directory, "server", "DNS:localhost,IP:127.0.0.1", serial=2)
        stack.wait_for("time() - iovigil_web_config_last_reload_success_timestamp_seconds < 5 and on () up == 1")
        (directory / "password").write_text("wrong")
        stack.wait_for("up == 0")
