"""What is served to people and programs beside /metrics: the status page, its files and the API under it."""

import hashlib
import mimetypes
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Final

from aiohttp import hdrs, web

from iovigil.agent.web import page
from iovigil.agent.web.api import Api, send

STATIC: Final = Path(__file__).parent / "static"
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class Site:
    """The page and its files, read once; no request opens a file."""

    def __init__(self, api: Api) -> None:
        self.api = api
        files = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.is_file()}
        self._template = Template(files.pop("index.html").decode())
        self._files = files
        # In the path, and not behind a question mark: the modules import each other by relative names.
        release = hashlib.blake2b(b"".join(files.values()), digest_size=8).hexdigest()
        self._static = f"/static/{release}"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/static/{release}/{name}", self._file),
            web.get("/favicon.ico", self._icon),
            *self.api.routes(),
        ]

    async def _page(self, request: web.Request) -> web.Response:
        standing = self.api.standing()
        disks = standing.disks()
        text = page.render(self._template, self._static, self.api.agent(disks), disks, standing.pauses())
        return send(request, text.encode(), HTTPStatus.OK, "text/html; charset=utf-8", PAGE_HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        return self._send_file(request, request.match_info["name"])

    async def _icon(self, request: web.Request) -> web.Response:
        return self._send_file(request, "icon.svg")

    def _send_file(self, request: web.Request, name: str) -> web.Response:
        body = self._files.get(name)
        if body is None:
            raise web.HTTPNotFound
        is_current = request.path.startswith(f"{self._static}/")
        headers: dict[str, str] = {
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if is_current else "no-cache"
        }
        content_type = mimetypes.types_map.get(Path(name).suffix, "application/octet-stream")
        return send(request, body, HTTPStatus.OK, f"{content_type}; charset=utf-8", headers)
