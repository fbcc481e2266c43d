"""Errors of the API as application/problem+json (RFC 9457): what was found, and what is allowed."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

CONTENT_TYPE: Final = "application/problem+json"


class ProblemDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong with a request."""

    type: Annotated[str, Meta(description="about:blank: the title is that of the status.")] = "about:blank"
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(description="The HTTP status code.", ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong, and what to do about it.")]
    found: Annotated[str | None, Meta(description="What the request had there.")] = None
    allowed: Annotated[list[str] | None, Meta(description="What may be there.")] = None
    reason: Annotated[str | None, Meta(description="Why a run cannot start, as skipped runs are counted.")] = None


class ProblemError(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        found: str | None = None,
        allowed: list[str] | None = None,
        reason: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.details = ProblemDetails(
            title=status.phrase, status=status, detail=detail, found=found, allowed=allowed, reason=reason
        )


def answer(error: ProblemError) -> web.Response:
    headers = {
        hdrs.CACHE_CONTROL: "no-store",
        "X-Content-Type-Options": "nosniff",
        **error.headers,
        hdrs.CONTENT_TYPE: CONTENT_TYPE,
    }
    return web.Response(body=msgspec.json.encode(error.details), status=error.status, headers=headers)
