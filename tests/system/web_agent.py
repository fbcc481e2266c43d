"""An agent with a web configuration, the certificates for it, and the clients that try it: curl and openssl."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import free_port, started, wait_until
from scraping import IOVIGIL

COMMAND_S = 20.0

AGENT_CONFIG = """\
agent:
  listen: 127.0.0.1:{port}
  state_directory: {directory}/state
  web: {web}
disks:
  - {{name: scratch, file: {directory}/scratch, size: 1MiB}}
probes:
  rare: {{every: 1d, job: {{rw: randread, runtime: 1s}}}}
"""


@dataclass(frozen=True)
class Answer:
    """What curl got: its exit status, the status line, the headers by lower-case name, and the body."""

    exit_status: int
    status: int
    headers: dict[str, str]
    body: str
    complaint: str


@dataclass(frozen=True)
class WebAgent:
    """A running agent, and the files that it goes by."""

    port: int
    pid: int
    directory: Path
    log: Path

    def write_web_config(self, text: str) -> None:
        """In one step, as a tool would: nobody sees half of it."""
        fresh = self.directory / "web.yml.new"
        fresh.write_text(text)
        fresh.replace(self.directory / "web.yml")

    def curl(self, path: str, *options: str, scheme: str = "https") -> Answer:
        command = ["curl", "-sS", "-i", "--max-time", "15", "--cacert", f"{self.directory}/ca.pem", *options]
        done = subprocess.run(
            [*command, f"{scheme}://localhost:{self.port}{path}"],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return answer_of(done)

    def handshake(self, *options: str) -> str:
        """All that `openssl s_client` says of one; it ends by itself when the server does not hang up."""
        done = subprocess.run(
            [
                "openssl",
                "s_client",
                "-ign_eof",
                "-connect",
                f"127.0.0.1:{self.port}",
                "-CAfile",
                f"{self.directory}/ca.pem",
                *options,
            ],
            input="GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return done.stdout + done.stderr

    def serial(self) -> str:
        """Of the certificate that a new connection gets."""
        shown = self.handshake()
        pem = (
            shown[shown.index("-----BEGIN") : shown.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
        )
        done = subprocess.run(
            ["openssl", "x509", "-noout", "-serial"],
            input=pem,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=True,
        )
        return done.stdout.strip().removeprefix("serial=")

    def metric(self, series: str, *options: str, scheme: str = "https") -> float:
        for line in self.curl("/metrics", *options, scheme=scheme).body.splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no {series}")

    def wait_for_line(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text(), f"{text!r} in the log; it is\n{self.log.read_text()}")


def answer_of(done: "subprocess.CompletedProcess[str]") -> Answer:
    head, _, body = done.stdout.partition("\n\n")  # text mode has made \n of \r\n
    while head.startswith("HTTP/1.1 100"):
        head, _, body = body.partition("\n\n")
    lines = head.splitlines()
    status = int(lines[0].split()[1]) if lines else 0
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(done.returncode, status, headers, body, done.stderr)


@contextlib.contextmanager
def web_agent(
    directory: Path, web_config: str | None, *, web: str = "", through: tuple[str, ...] = ()
) -> Iterator[WebAgent]:
    """`web` are further keys of agent.web; with None for the web configuration there is none."""
    port, log = free_port(), directory / "agent.log"
    keys = ", ".join(filter(None, [f"config_file: {directory}/web.yml" if web_config is not None else "", web]))
    if web_config is not None:
        (directory / "web.yml").write_text(web_config)
    (directory / "agent.yml").write_text(AGENT_CONFIG.format(port=port, directory=directory, web=f"{{{keys}}}"))
    command = [*through, str(IOVIGIL), "agent", "--config", str(directory / "agent.yml")]
    with started(command, log=log, port=port) as process:
        agent = WebAgent(port, process.pid, directory, log)
        agent.wait_for_line("iovigil is running")
        yield agent
    assert "Traceback" not in log.read_text()


def make_ca(directory: Path, name: str = "ca") -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.pem"),
    )


def make_certificate(
    directory: Path, name: str, sans: str, *, ca: str = "ca", serial: int = 1, rsa: bool = False
) -> None:
    """NAME.pem and NAME.key, signed by the CA; the old ones are replaced in one step each."""
    key = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    openssl(
        "req",
        "-newkey",
        *key,
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-keyout",
        f"{directory}/new.key",
        "-out",
        str(request),
    )
    extensions.write_text(f"subjectAltName={sans}\n")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", f"{directory}/{ca}.pem", "-CAkey", f"{directory}/{ca}.key"),
        *("-set_serial", str(serial), "-days", "2", "-extfile", str(extensions), "-out", f"{directory}/new.pem"),
    )
    (directory / "new.key").replace(directory / f"{name}.key")
    (directory / "new.pem").replace(directory / f"{name}.pem")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=COMMAND_S)
