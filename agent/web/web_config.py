"""The web configuration: the file format that all exporters of Prometheus share, with their TLS, users and headers."""

import difflib
import posixpath
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from iovigil.agent.config import ConfigError, text_of
from iovigil.agent.config.document import Report, Section, compose, is_null
from iovigil.agent.config.kinds import read_flag
from iovigil.agent.config.source import Unreadable, content_of
from iovigil.agent.web.tls import CIPHERS, CURVES, HAS_MANY_CURVES, VERSIONS, BadTls, Tls, context
from iovigil.engines.quantities import quoted

MAX_PEM_BYTES: Final = 1 << 20

TOP: Final = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
TLS_KEYS: Final = (
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_auth_type",
    "client_ca_file",
    "client_ca",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
)
POLICIES: Final[Mapping[str, ssl.VerifyMode]] = {
    "NoClientCert": ssl.CERT_NONE,
    # In Go it is asked for, and taken unseen: nothing that is served depends on it.
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
ANYBODY: Final = ("RequireAnyClientCert", "RequireClientCert")
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
BCRYPT: Final = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
LEAST_COST: Final = 4
MOST_COST: Final = 16  # some 4 s of one CPU; a scrape waits for 10 s
DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """A web configuration that is right, ready for use."""

    context: ssl.SSLContext | None = None
    """None is plain HTTP."""
    needs_client: bool = False
    """Whether what is asked for needs a client certificate."""
    allowed_sans: frozenset[str] = frozenset()
    """Of which a client certificate must have one; empty is any."""
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    interval_s: float = 0.0
    """Between two requests, on average; 0 is as many as come."""
    burst: int = 0
    files: tuple[str, ...] = ()
    """What it was read from: a change of one is a reason to read them again."""
    remarks: tuple[str, ...] = ()
    """What is right, and not what it seems."""

    @property
    def is_open(self) -> bool:
        """Whether anybody may ask."""
        return not self.users and not self.needs_client


class Refused(ConfigError):
    """A web configuration that is refused; `files` is what was read of it, and may be mended."""

    def __init__(self, error: ConfigError, files: tuple[str, ...]) -> None:
        super().__init__(error.problems)
        self.files = files


def load(path: str, *, has_open_paths: bool = False) -> WebConfig:
    """Return the web configuration in a file, with the files that it names; raise Refused.

    Where some paths are open, a client certificate is asked for in the handshake, and missed only later.
    """
    files = [path]
    report = Report(path)
    try:
        text = text_of(path)
        try:
            return Reader(report, files, has_open_paths).read(compose(text, report, may_be_empty=True))
        except RecursionError:
            report.add(1, "", "is nested too deeply")
            raise ConfigError(report.problems) from None
    except ConfigError as error:
        raise Refused(error, tuple(files)) from None


class Reader:
    """Reads one file; what is wrong goes to the report."""

    def __init__(self, report: Report, files: list[str], has_open_paths: bool) -> None:
        self._report = report
        self._files = files
        self._has_open_paths = has_open_paths
        self._remarks: list[str] = []

    def read(self, root: Section) -> WebConfig:
        root.refuse_unknown(TOP)
        values: dict[str, Any] = {}
        for name, read in (
            ("tls_server_config", self._tls),
            ("http_server_config", self._http),
            ("basic_auth_users", self._users),
            ("rate_limit", self._rate),
        ):
            section = root.section(name) if name in root.entries else None
            if section is not None:
                values |= read(section)
        if self._report.problems:
            raise ConfigError(self._report.problems)
        if values.get("users") and not values.get("context"):
            self._remarks.append("basic_auth_users without tls_server_config: passwords travel in the clear")
        return WebConfig(**values, files=tuple(self._files), remarks=tuple(self._remarks))

    def _tls(self, section: Section) -> dict[str, Any]:
        section.refuse_unknown(TLS_KEYS)
        if not section.entries:
            return {}
        before = len(self._report.problems)
        pem = {name: self._pem(section, name) for name in ("cert", "key", "client_ca")}
        for name in ("cert", "key"):
            if f"{name}_file" not in section.entries and name not in section.entries:
                section.refuse("", f"has neither {name}_file nor {name}: TLS needs both a certificate and its key")
        policy = self._policy(section)
        versions = {
            bound: read_one(section, name, VERSIONS, default)
            for bound, name, default in (("least", "min_version", "TLS12"), ("most", "max_version", "TLS13"))
        }
        if VERSIONS[versions["least"]] > VERSIONS[versions["most"]]:
            section.refuse("min_version", f"{versions['least']} is above max_version, {versions['most']}")
        if VERSIONS[versions["least"]] < ssl.TLSVersion.TLSv1_2:
            self._remarks.append(f"min_version {versions['least']}: TLS before 1.2 is not safe any more")
        curves = read_several(section, "curve_preferences", CURVES)
        if len(curves) > 1 and not HAS_MANY_CURVES:
            section.refuse(
                "curve_preferences",
                "has more than one curve: before Python 3.15 one can be chosen, or, without this key, all are",
            )
        ciphers = read_several(section, "cipher_suites", CIPHERS)
        prefers = read_with(section, "prefer_server_cipher_suites", read_flag, True)
        sans = self._sans(section, policy)
        if policy != ssl.CERT_NONE and not pem["client_ca"] and len(self._report.problems) == before:
            section.refuse(
                "client_auth_type",
                "needs client_ca_file or client_ca: whose signature a client's certificate must bear",
            )
        written = section.text("client_auth_type") if "client_auth_type" in section.entries else "NoClientCert"
        if written == "NoClientCert" and pem["client_ca"]:
            given = "client_ca_file" if "client_ca_file" in section.entries else "client_ca"
            section.refuse(given, "has no effect without a client_auth_type such as RequireAndVerifyClientCert")
        if len(self._report.problems) > before:
            return {}
        is_late = policy == ssl.CERT_REQUIRED and self._has_open_paths
        tls = Tls(
            certificate=pem["cert"],
            key=pem["key"],
            client_ca=pem["client_ca"],
            asks_for_client=ssl.CERT_OPTIONAL if is_late else policy,
            ciphers=ciphers,
            prefers_own_ciphers=prefers,
            curves=curves,
            **versions,
        )
        try:
            made = context(tls)
        except BadTls as error:
            of_file = f"{error.key}_file"
            section.refuse(of_file if of_file in section.entries else error.key, self._told(section, error))
            return {}
        return {"context": made, "needs_client": policy == ssl.CERT_REQUIRED, "allowed_sans": sans}

    def _told(self, section: Section, error: BadTls) -> str:
        name = f"{error.key}_file"
        return f"{section.text(name)} {error.reason}" if name in section.entries else error.reason

    def _pem(self, section: Section, name: str) -> bytes:
        """Return a certificate or key, inline or out of its file; nothing where there is none, or with a report."""
        in_file = f"{name}_file"
        if name in section.entries and in_file in section.entries:
            section.refuse(name, f"is given beside {in_file}: give one of them")
            return b""
        if name in section.entries:
            return (section.text(name) or "").encode()
        if in_file not in section.entries:
            return b""
        written = section.text(in_file)
        if not written:
            if written is not None:
                section.refuse(in_file, "has no value")
            return b""
        path = posixpath.join(posixpath.dirname(self._report.file), written)
        self._files.append(path)
        try:
            content = content_of(path, MAX_PEM_BYTES, "certificate, and no key")
        except Unreadable as reason:
            section.refuse(in_file, f"{path} {reason}")
            return b""
        if not content:
            section.refuse(in_file, f"{path} is empty")
            return b""
        return content

    def _policy(self, section: Section) -> ssl.VerifyMode:
        name = "client_auth_type"
        written = section.text(name) if name in section.entries else "NoClientCert"
        if written in ANYBODY:
            section.refuse(
                name,
                f"{written} takes any certificate, one that anybody made for himself as well, and is not offered; "
                "use RequireAndVerifyClientCert",
            )
        elif written is not None and written not in POLICIES:
            section.refuse(name, f"{quoted(written)} is not one of {', '.join(POLICIES)}")
        if written == "RequestClientCert":
            self._remarks.append("client_auth_type RequestClientCert is as NoClientCert: nothing depends on it")
        return POLICIES.get(written or "", ssl.CERT_NONE)

    def _sans(self, section: Section, policy: ssl.VerifyMode) -> frozenset[str]:
        if "client_allowed_sans" not in section.entries:
            return frozenset()
        names = frozenset(text for _, text in section.texts("client_allowed_sans"))
        if not names:
            section.refuse("client_allowed_sans", "is an empty list: nobody could connect")
        elif policy != ssl.CERT_REQUIRED:
            section.refuse("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
        return names

    def _http(self, section: Section) -> dict[str, Any]:
        section.refuse_unknown(("http2", "headers"))
        if "http2" in section.entries and read_with(section, "http2", read_flag, False):
            self._remarks.append("http_server_config.http2 has no effect: the agent speaks HTTP/1.1")
        headers = section.section("headers") if "headers" in section.entries else None
        return {"headers": dict(self._headers(headers))} if headers is not None else {}

    def _headers(self, section: Section) -> Iterator[tuple[str, str]]:
        section.refuse_unknown(tuple(HEADERS))
        for name in section.entries.keys() & HEADERS.keys():
            value = "" if is_null(section.entries[name].node) else section.text(name)
            allowed = HEADERS[name]
            if not value:
                continue  # as in the toolkit: blank is unset
            if allowed and value not in allowed:
                section.refuse(name, f"{quoted(value)} is not {' or '.join(allowed)}")
            elif not (value.isascii() and value.isprintable()):
                section.refuse(name, f"{quoted(value)} cannot be the value of a header")
            else:
                yield name, value

    def _users(self, section: Section) -> dict[str, Any]:
        users = {}
        for name in section.entries:
            # A user's hash stands in no message: those end in logs.
            if ":" in name or not name:
                section.refuse(name, "is not the name of a user: a colon ends it on its way")
            value = section.text(name)
            if value is None:
                continue
            match = BCRYPT.fullmatch(value)
            if match is None:
                section.refuse(name, "is not a bcrypt hash: make one with htpasswd -nBC 10 NAME")
            elif not LEAST_COST <= int(match["cost"]) <= MOST_COST:
                section.refuse(name, f"has cost {int(match['cost'])}, which is not in {LEAST_COST}..{MOST_COST}")
            users[name] = value
        return {"users": users}

    def _rate(self, section: Section) -> dict[str, Any]:
        section.refuse_unknown(("interval", "burst"))
        interval_s = read_with(section, "interval", duration_s, 0.0)
        burst = read_with(section, "burst", whole_number, 0)
        if interval_s and not burst:
            section.refuse("burst", "is missing or 0: no request would ever be served")
        return {"interval_s": interval_s, "burst": burst}


def read_with(section: Section, name: str, read: Callable[[str], Any], default: Any) -> Any:
    text = section.text(name) if name in section.entries else None
    if text is None:
        return default
    try:
        return read(text)
    except ValueError as error:
        section.refuse(name, str(error))
        return default


def read_one(section: Section, name: str, of: Collection[str], default: str) -> str:
    def read(text: str) -> str:
        if text not in of:
            raise ValueError(f"{quoted(text)} is not one of {', '.join(of)}")
        return text

    return str(read_with(section, name, read, default))


def read_several(section: Section, name: str, of: Collection[str]) -> list[str]:
    if name not in section.entries or is_null(section.entries[name].node):
        return []
    texts = section.texts(name)
    for index, (line, text) in enumerate(texts):
        if text not in of:
            near = difflib.get_close_matches(text, of, n=1)
            allowed = f"not known here; did you mean {near[0]}?" if near else f"not one of {', '.join(of)}"
            section.report.add(line, f"{section.key(name)}[{index}]", f"{quoted(text)} is {allowed}")
    return [text for _, text in texts if text in of]


def duration_s(text: str) -> float:
    """Return a duration as Go writes it, such as 1m30s."""
    if text == "0":
        return 0.0
    if not DURATION.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a duration, such as 100ms or 1m30s")
    return sum(float(number) * UNIT_S[unit] for number, unit in re.findall(r"([0-9.]+)([a-zµ]+)", text))


def whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{quoted(text)} is not a whole number")
    return int(text)


OPEN: Final = WebConfig()
"""Plain HTTP, for anybody: what is in force without a file."""
