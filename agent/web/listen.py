"""Listen addresses: `host:port`, `[v6]:port` and `:port`, read and written."""


def parse(listen: str) -> tuple[str | None, int]:
    """Host and port; the host None is every address. Raises ValueError with the text to show."""
    host, separator, port = listen.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not separator or (":" in host and not is_bracketed):
        raise ValueError(f"{listen!r} is not host:port, [v6]:port or :port")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{listen!r}: {port!r} is not a port number in 0..65535")
    return (host[1:-1] if is_bracketed else host) or None, int(port)


def spell(host: str, port: int) -> str:
    """The address as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
