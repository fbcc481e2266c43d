"""How a subcommand asks a running agent: by its control socket, or over the network as one would with curl."""

import argparse
import asyncio
import contextlib
import getpass
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from iovigil.agent.config import DEFAULT_CONFIG, load
from iovigil.agent.web.problem import ProblemDetails

DEADLINE_S: Final = 30.0
API: Final = "/api/v1"
LONGEST_TEXT: Final = 300


class Unanswered(Exception):
    """The agent could not be asked, or would not do it; the text says why, and what to do."""


class RunningAgent:
    """The API of an agent."""

    def __init__(self, session: aiohttp.ClientSession, base: str, place: str) -> None:
        """`place` is what people know it by."""
        self._session = session
        self._base = base
        self.place = place

    async def get(self, path: str) -> Any:
        """Raises Unanswered."""
        return await self._ask("GET", path)

    async def post(self, path: str, **order: Any) -> Any:
        """Raises Unanswered."""
        return await self._ask("POST", path, json=order)

    async def _ask(self, method: str, path: str, **fields: Any) -> Any:
        try:
            async with self._session.request(method, f"{self._base}{API}{path}", **fields) as response:
                body = await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            reason = f"its certificate is not trusted ({error.certificate_error}): --cacert names who signed it"
            raise Unanswered(f"{self.place}: {reason}") from None
        except aiohttp.ClientConnectorError as error:
            raise Unanswered(f"{self.place}: {reason_of(error)}") from None
        except TimeoutError:
            raise Unanswered(f"{self.place}: no answer within {DEADLINE_S:g} s") from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # the last of a name that no host can have
            raise Unanswered(f"{self.place}: {error or type(error).__name__}") from None
        if response.status >= 400:
            raise Unanswered(refusal(response.status, body))
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise Unanswered(f"{self.place}: what answers there is no iovigil") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which agent, and how it is reached")
    group.add_argument(
        "--config", metavar="FILE", help=f"the agent's configuration, which has its control socket ({DEFAULT_CONFIG})"
    )
    group.add_argument("--socket", metavar="PATH", help="its control socket, whatever its configuration")
    group.add_argument("--url", metavar="URL", help="where it serves, such as https://host:9942, in place of a socket")
    group.add_argument("--cacert", metavar="FILE", help="who signed its certificate; else whom this host trusts")
    group.add_argument("--cert", metavar="FILE", help="client certificate, where it asks for one")
    group.add_argument("--key", metavar="FILE", help="key of that; may be in the same file")
    group.add_argument("--insecure", action="store_true", help="do not look at its certificate")
    group.add_argument("--user", metavar="NAME", help="user, where it asks for one; the password is asked for")
    group.add_argument("--password-file", metavar="FILE", help="file whose first line is the password")


def asked(args: argparse.Namespace, work: Callable[[RunningAgent], Awaitable[int]]) -> int:
    """The exit status of what is done with a running agent; what goes wrong is told."""
    try:
        return asyncio.run(with_agent(args, work))
    except Unanswered as reason:
        print(f"iovigil: {reason}", file=sys.stderr)
        return 1


async def with_agent(args: argparse.Namespace, work: Callable[[RunningAgent], Awaitable[int]]) -> int:
    limits = aiohttp.ClientTimeout(total=DEADLINE_S)
    if args.url:
        base = base_of(args.url)
        connector: aiohttp.BaseConnector = aiohttp.TCPConnector(ssl=trust(args))
        auth = aiohttp.BasicAuth(args.user, password(args), encoding="utf-8") if args.user else None
        place = base
    else:
        given = [name for name in ("cacert", "cert", "key", "insecure", "user", "password_file") if getattr(args, name)]
        if given:
            raise Unanswered(f"--{given[0].replace('_', '-')} is for --url: the control socket asks for nothing")
        place = args.socket or socket_of(args.config)
        base, auth = "http://localhost", None
        connector = aiohttp.UnixConnector(place)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, auth=auth) as session:
        return await work(RunningAgent(session, base, place))


def socket_of(config: str | None) -> str:
    if config is None:
        # Where it may not be looked at, reading it says so.
        with contextlib.suppress(PermissionError):
            if not Path(DEFAULT_CONFIG).exists():
                raise Unanswered(f"there is no {DEFAULT_CONFIG}: name the agent by --config, --socket or --url")
    path = load(config or DEFAULT_CONFIG).agent.control_socket
    if not path:
        raise Unanswered("this agent has no control socket (agent.control_socket is none): name it by --url")
    return path


def base_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise Unanswered(f"{url} is not a URL such as http://127.0.0.1:9942 or https://host:9942")
    if parts.username or parts.password:
        raise Unanswered("a password in a URL is seen by everybody on this host: use --user, and --password-file")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def trust(args: argparse.Namespace) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=args.cacert)
        if args.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if args.cert or args.key:
            context.load_cert_chain(args.cert or args.key, args.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (args.cacert, args.cert, args.key)))
        raise Unanswered(f"{files}: {error.strerror or error}") from None
    return context


def password(args: argparse.Namespace) -> str:
    if args.password_file:
        try:
            with Path(args.password_file).open(encoding="utf-8") as file:
                return file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Unanswered(f"{args.password_file}: {getattr(error, 'strerror', None) or error}") from None
    if not sys.stdin.isatty():
        raise Unanswered("there is no terminal to ask for the password on: use --password-file")
    return getpass.getpass(f"Password of {args.user}: ")


def reason_of(error: aiohttp.ClientConnectorError) -> str:
    match error.os_error:
        case FileNotFoundError():
            return "no agent runs with this control socket: is it running? (systemctl status iovigil)"
        case ConnectionRefusedError():
            return "nobody answers there: is the agent running? (systemctl status iovigil)"
        case PermissionError():
            return "only root and the agent's own user may ask there: use sudo"
    return error.os_error.strerror or str(error.os_error)


def refusal(status: int, body: bytes) -> str:
    """What the agent said against it."""
    try:
        problem = msgspec.json.decode(body, type=ProblemDetails)
    except msgspec.DecodeError:
        text = body.decode(errors="replace").strip()[:LONGEST_TEXT] or f"it answered with status {status}"
    else:
        text = problem.detail
        if problem.found:
            text += f"; found {problem.found}"
        if problem.allowed:
            text += f"; there are {', '.join(problem.allowed)}"
    hints = {401: "; see --user and --password-file", 403: "; on its own host, root can ask by the control socket"}
    return text + hints.get(status, "")
