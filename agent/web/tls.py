"""TLS in Python's ssl, from the names that Go and so the exporters of Prometheus have for it."""

import os
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

VERSIONS: Final[Mapping[str, ssl.TLSVersion]] = {
    "TLS13": ssl.TLSVersion.TLSv1_3,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS10": ssl.TLSVersion.TLSv1,
}

# None of TLS 1.3 can be chosen, in Go no more than in OpenSSL's Python: they are all good.
CIPHERS: Final[Mapping[str, str]] = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    # Of older toolkits; Go counts them among the insecure ones since 1.22.
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
CURVES: Final[Mapping[str, str]] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
HAS_MANY_CURVES: Final = hasattr(ssl.SSLContext, "set_groups")  # from Python 3.15 on

ALL_BUT_ANONYMOUS: Final = "DEFAULT:!aNULL"
# The last is what a key of another kind comes out as: an RSA certificate and an EC key.
MISMATCHES: Final = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
SAN_KINDS: Final = {"DNS", "email", "IP Address", "URI"}


class BadTls(Exception):
    """TLS that cannot be had; `key` is whose fault it is."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")


@dataclass(frozen=True, kw_only=True)
class Tls:
    """What the handshake is made of; the certificates as PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes = b""
    asks_for_client: ssl.VerifyMode = ssl.CERT_NONE
    least: str = "TLS12"
    most: str = "TLS13"
    ciphers: Sequence[str] = ()
    prefers_own_ciphers: bool = True
    curves: Sequence[str] = ()


def context(tls: Tls) -> ssl.SSLContext:
    """Return what the handshakes of a server go by. Raises BadTls."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    least = choose_ciphers(made, tls)
    with warnings.catch_warnings():
        # Python warns of TLS 1.0 and 1.1; whoever writes them has been told by check-config.
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version = least
        made.maximum_version = VERSIONS[tls.most]
    if tls.prefers_own_ciphers:
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    made.options |= ssl.OP_NO_RENEGOTIATION
    if tls.curves:
        choose_curves(made, [CURVES[name] for name in tls.curves])
    made.set_alpn_protocols(["http/1.1"])
    load_certificate(made, tls)
    if tls.client_ca:
        load_client_ca(made, tls.client_ca)
    made.verify_mode = tls.asks_for_client
    return made


def choose_ciphers(made: ssl.SSLContext, tls: Tls) -> ssl.TLSVersion:
    """Set the ciphers up to TLS 1.2, and return the least version that is left."""
    least = VERSIONS[tls.least]
    chosen = [CIPHERS[name] for name in tls.ciphers if CIPHERS[name]]
    if tls.ciphers and not chosen:
        if tls.most != "TLS13":
            raise BadTls("cipher_suites", f"are of TLS 1.3 alone, and max_version is {tls.most}")
        return ssl.TLSVersion.TLSv1_3
    ciphers = ":".join(chosen) or ALL_BUT_ANONYMOUS
    if least < ssl.TLSVersion.TLSv1_2:
        # OpenSSL 3 has TLS 1.0 and 1.1 at its lowest level of security alone: they sign with SHA-1.
        ciphers += ":@SECLEVEL=0"
    try:
        made.set_ciphers(ciphers)
    except ssl.SSLError:
        raise BadTls("cipher_suites", "are none that this host's OpenSSL has") from None
    return least


def choose_curves(made: Any, curves: Sequence[str]) -> None:
    if HAS_MANY_CURVES:
        made.set_groups(":".join(curves))
    else:
        made.set_ecdh_curve(curves[0])


def load_certificate(made: ssl.SSLContext, tls: Tls) -> None:
    if b"-----BEGIN CERTIFICATE-----" not in tls.certificate:
        raise BadTls("cert", "holds no certificate in PEM")
    if b"PRIVATE KEY-----" not in tls.key:
        raise BadTls("key", "holds no private key in PEM")
    # OpenSSL takes them from files alone: these are in memory, and nowhere else.
    with in_memory(tls.certificate) as certificate, in_memory(tls.key) as key:
        try:
            made.load_cert_chain(certificate, key, password=no_passphrase)
        except Encrypted:
            raise BadTls("key", "is encrypted: an agent cannot be asked for a passphrase; give the plain key") from None
        except ssl.SSLError as error:
            raise told(error) from None


class Encrypted(Exception):
    """A key with a passphrase."""


def no_passphrase() -> str:
    raise Encrypted


def told(error: ssl.SSLError) -> BadTls:
    if error.reason in MISMATCHES:
        return BadTls("key", "does not belong to the certificate")
    if error.reason and error.reason.startswith("EE_KEY_TOO_SMALL"):
        return BadTls("cert", "has a key that is too short: 2048 bits of RSA are the least")
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return BadTls("cert", f"and its key cannot be used: {reason}")


def load_client_ca(made: ssl.SSLContext, pem: bytes) -> None:
    try:
        made.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise BadTls("client_ca", "holds no certificate in PEM") from None
    if not made.cert_store_stats()["x509"]:
        raise BadTls("client_ca", "holds no certificate in PEM")


class in_memory:  # noqa: N801 (used as a function)
    """A path to these bytes, for as long as the block lasts."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._fd = -1

    def __enter__(self) -> str:
        self._fd = os.memfd_create("iovigil-tls")
        with open(self._fd, "wb", closefd=False) as file:
            file.write(self._content)
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def names_in(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Return the subject alternative names of a client's certificate that can be allowed."""
    alternatives: Iterable[tuple[str, str]] = certificate.get("subjectAltName", ())
    for kind, name in alternatives:
        if kind in SAN_KINDS:
            yield name
