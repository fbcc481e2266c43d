"""The JSON API: what is known of disks, runs and the plan, and, where that is enabled, pausing and starting."""

import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import hdrs, web

import iovigil
from iovigil.agent.history import HistoryUnusable
from iovigil.agent.ledger import Ledger
from iovigil.agent.run_record import RunRecord
from iovigil.agent.supervisor import Busy
from iovigil.agent.web import cursor, openapi, problem, resources
from iovigil.agent.web.encodings import accepts_gzip, compressed
from iovigil.agent.web.openapi import Operation
from iovigil.agent.web.problem import ProblemError
from iovigil.agent.web.sources import Control, Mismatches, Plan, Runs
from iovigil.agent.web.standing import Standing

ROOT: Final = "/api/v1"
DOCUMENT: Final = f"{ROOT}/openapi.json"
LARGEST_BODY: Final = 4096
SMALLEST_COMPRESSED: Final = 1024

S = TypeVar("S", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BAD, MISSING, BROKEN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
REFUSALS: Final = (
    BAD,
    HTTPStatus.FORBIDDEN,
    MISSING,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BROKEN,
)
OPERATIONS: Final = (
    Operation(
        method="GET",
        path=f"{ROOT}/agent",
        id="getAgent",
        summary="The agent itself, and how many probes stand how.",
        answer=resources.Agent,
        problems=(BAD,),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/disks",
        id="listDisks",
        summary="Every disk with every probe on it: its state, the reason, the last run.",
        answer=resources.Disks,
        problems=(BAD,),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/disks/{{name}}",
        id="getDisk",
        summary="One disk.",
        answer=resources.Disk,
        problems=(BAD, MISSING),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/runs",
        id="listRuns",
        summary="Finished runs, newest first.",
        answer=resources.Runs,
        query=resources.RunsQuery,
        problems=(BAD, BROKEN),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/runs/{{id}}",
        id="getRun",
        summary="One finished run: what it said, how it was set up, what came out.",
        answer=resources.Run,
        problems=(BAD, MISSING, BROKEN),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/schedule",
        id="getSchedule",
        summary="When each probe starts on each disk next, why it last did not, and what is paused.",
        answer=resources.Schedule,
        problems=(BAD,),
    ),
    Operation(
        method="GET",
        path=f"{ROOT}/mismatches",
        id="listMismatches",
        summary="Blocks that failed verification, newest first; also those of former agents.",
        answer=resources.Mismatches,
        query=resources.MismatchesQuery,
        problems=(BAD, BROKEN),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/pause",
        id="pause",
        summary="Start no runs of these probes on these disks; a run under way goes on.",
        answer=resources.Pauses,
        body=resources.PauseOrder,
        problems=REFUSALS,
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/resume",
        id="resume",
        summary="Undo a pause, and have a disk in quarantine tried at once.",
        answer=resources.Pauses,
        body=resources.ResumeOrder,
        problems=(*REFUSALS, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="POST",
        path=f"{ROOT}/run",
        id="runNow",
        summary="Start a run now, whatever the plan says.",
        answer=resources.Started,
        status=HTTPStatus.ACCEPTED,
        body=resources.RunOrder,
        problems=(*REFUSALS, HTTPStatus.CONFLICT),
    ),
)


class Api:
    """Answers from memory; the history is read aside. No watched disk is touched."""

    def __init__(
        self,
        ledger_of: Callable[[], Ledger],
        runs: Runs,
        mismatches: Mismatches,
        *,
        plan: Plan | None = None,
        control: Control | None = None,
        is_control_enabled: Callable[[], bool] = lambda: False,
        is_operators: Callable[[web.Request], bool] = lambda _: False,
        host: str = "",
    ) -> None:
        """`is_operators` says whether a request came in where control is always enabled."""
        self._ledger_of = ledger_of
        self._runs = runs
        self._mismatches = mismatches
        self._plan = plan
        self._control = control
        self._is_control_enabled = is_control_enabled
        self._is_operators = is_operators
        self._host = host
        self._started_unix = time.time()
        self._document = msgspec.json.encode(openapi.document(OPERATIONS))

    def routes(self) -> list[web.RouteDef]:
        """Every operation, and an answer for whatever is not one."""
        handlers: dict[str, Handler] = {
            "getAgent": self._agent,
            "listDisks": self._disks,
            "getDisk": self._disk,
            "listRuns": self._list_runs,
            "getRun": self._run,
            "getSchedule": self._schedule,
            "listMismatches": self._list_mismatches,
            "pause": self._pause,
            "resume": self._resume,
            "runNow": self._run_now,
        }
        routes = []
        for operation in OPERATIONS:
            add = web.get if operation.method == "GET" else web.post
            routes.append(add(operation.path, in_problems(handlers[operation.id])))
            allow = "GET, HEAD" if operation.method == "GET" else "POST"
            routes.append(web.route("*", operation.path, in_problems(refuse_method(allow))))
        routes.append(web.get(DOCUMENT, in_problems(self._openapi)))
        routes.append(web.route("*", DOCUMENT, in_problems(refuse_method("GET, HEAD"))))
        routes.append(web.route("*", "/api{rest:(/.*)?}", in_problems(refuse_path)))
        return routes

    def standing(self) -> Standing:
        upcoming = self._plan.upcoming() if self._plan is not None else ()
        pauses = self._control.paused() if self._control is not None else ()
        return Standing(self._ledger_of(), upcoming, pauses)

    def agent(self, disks: Collection[resources.Disk]) -> resources.Agent:
        ledger = self._ledger_of()
        states = dict.fromkeys(resources.State, 0)
        for disk in disks:
            for probe in disk.probes:
                states[probe.state] += 1
        return resources.Agent(
            version=iovigil.__version__,
            host=self._host,
            started_unix=self._started_unix,
            is_control_enabled=self._is_control_enabled() and self._control is not None,
            last_reload_successful=ledger.last_reload_successful,
            last_reload_unix=ledger.last_reload_unix,
            workers_running=ledger.workers_running,
            workers_abandoned=ledger.workers_abandoned,
            disks=len(ledger.disks),
            probes=len(ledger.probes),
            states={state.value: number for state, number in states.items()},
        )

    async def _agent(self, request: web.Request) -> web.Response:
        read_query(request, resources.NoQuery)
        return answer(request, self.agent(self.standing().disks()))

    async def _disks(self, request: web.Request) -> web.Response:
        read_query(request, resources.NoQuery)
        return answer(request, resources.Disks(disks=self.standing().disks()))

    async def _disk(self, request: web.Request) -> web.Response:
        read_query(request, resources.NoQuery)
        ledger, name = self._ledger_of(), request.match_info["name"]
        disk = ledger.disks.get(name)
        if disk is None:
            raise unknown("disk", name, ledger.disks)
        entries = [entry for entry in ledger.probes.values() if entry.disk == name]
        return answer(request, self.standing().disk(disk, entries))

    async def _list_runs(self, request: web.Request) -> web.Response:
        query = read_query(request, resources.RunsQuery)
        before = read_cursor("runs", (int,), query.cursor)
        found = await self._runs.latest(
            query.disk, query.probe, query.limit + 1, int(before[0]) if before else None, is_failed=query.failed
        )
        page = found[: query.limit]
        is_more = len(found) > query.limit
        return answer(
            request,
            resources.Runs(
                runs=[summary_of(record) for record in page],
                next_cursor=cursor.spell("runs", page[-1].id) if is_more else None,
            ),
        )

    async def _run(self, request: web.Request) -> web.Response:
        read_query(request, resources.NoQuery)
        found = request.match_info["id"]
        if not (found.isascii() and found.isdigit() and 0 < int(found[:20]) < 1 << 63 and len(found) < 20):
            detail = "the number of a run is a whole number from 1: /api/v1/runs lists them"
            raise ProblemError(BAD, detail, found=found[:80])
        record = await self._runs.run(int(found))
        if record is None:
            raise ProblemError(MISSING, "no such run is kept: /api/v1/runs lists those that are", found=found)
        return answer(request, run_of(record))

    async def _schedule(self, request: web.Request) -> web.Response:
        read_query(request, resources.NoQuery)
        standing = self.standing()
        return answer(request, resources.Schedule(turns=standing.turns(), pauses=standing.pauses()))

    async def _list_mismatches(self, request: web.Request) -> web.Response:
        query = read_query(request, resources.MismatchesQuery)
        place = read_cursor("mismatches", (str, int), query.cursor)
        before = (str(place[0]), int(place[1])) if place else None
        rows = await self._mismatches.latest(query.disk or "", query.limit + 1, before)
        page = rows[: query.limit]
        is_more = len(rows) > query.limit
        return answer(
            request,
            resources.Mismatches(
                mismatches=[resources.Mismatch(**{**row._asdict(), "dumps": row.dumps.splitlines()}) for row in page],
                next_cursor=cursor.spell("mismatches", page[-1].run, page[-1].number) if is_more else None,
            ),
        )

    async def _pause(self, request: web.Request) -> web.Response:
        control, order = self._allowed(request), await read_order(request, resources.PauseOrder)
        if order.until_unix is not None and order.until_unix <= time.time():
            raise ProblemError(BAD, "until_unix has passed: give a time to come", found=str(order.until_unix))
        with self._said():
            control.pause(order.disk, order.probe, until_unix=order.until_unix, reason=order.reason)
        return answer(request, resources.Pauses(pauses=self.standing().pauses()))

    async def _resume(self, request: web.Request) -> web.Response:
        control, order = self._allowed(request), await read_order(request, resources.ResumeOrder)
        try:
            with self._said():
                control.resume(order.disk, order.probe)
        except Busy as busy:
            detail = f"{order.disk} cannot be released now: {why(busy)}"
            raise ProblemError(HTTPStatus.CONFLICT, detail, reason=busy.skip.value) from None
        return answer(request, resources.Pauses(pauses=self.standing().pauses()))

    async def _run_now(self, request: web.Request) -> web.Response:
        control, order = self._allowed(request), await read_order(request, resources.RunOrder)
        self._check_names(order.disk, order.probe)
        try:
            with self._said():
                control.run_now(order.disk, order.probe)
        except Busy as busy:
            detail = f"{order.probe} cannot start on {order.disk} now ({busy.skip.value}): {why(busy)}"
            raise ProblemError(HTTPStatus.CONFLICT, detail, reason=busy.skip.value) from None
        return answer(request, resources.Started(disk=order.disk, probe=order.probe), HTTPStatus.ACCEPTED)

    async def _openapi(self, request: web.Request) -> web.Response:
        return send(request, self._document)

    def _allowed(self, request: web.Request) -> Control:
        """What the request may use. Raises ProblemError."""
        if not self._is_control_enabled() and not self._is_operators(request):
            detail = "this API is read-only: set agent.web.enable_control to true in the configuration, and reload"
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        if self._control is None:
            raise ProblemError(BROKEN, "this agent has no plan to control yet: try again later")
        return self._control

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """What the control says against an order, as a problem."""
        try:
            yield
        except LookupError as error:
            raise ProblemError(MISSING, error.args[0] if error.args else "there is no such probe") from None
        except ValueError as error:
            raise ProblemError(BAD, str(error)) from None

    def _check_names(self, disk: str, probe: str) -> None:
        ledger = self._ledger_of()
        if disk not in ledger.disks:
            raise unknown("disk", disk, ledger.disks)
        probes = dict.fromkeys(entry.probe for entry in ledger.probes.values() if entry.disk == disk)
        if probe not in probes:
            raise unknown("probe", probe, probes)


def summary_of(record: RunRecord) -> resources.RunSummary:
    return resources.RunSummary(
        id=record.id,
        name=record.name,
        disk=record.disk,
        probe=record.probe,
        started_unix=record.started_unix,
        duration_s=record.duration_s,
        engine=record.engine,
        failure=record.failure or None,
        message=record.message,
        latency_s={operation: dict(latency) for operation, latency in record.latency_s.items()},
    )


def run_of(record: RunRecord) -> resources.Run:
    return resources.Run(
        **msgspec.structs.asdict(summary_of(record)),
        messages=list(record.messages),
        exit_status=record.exit_status,
        signal=record.signal,
        options=dict(record.options),
        ios=dict(record.ios),
        bytes=dict(record.bytes),
        errors=dict(record.errors),
        errnos=dict(record.errnos),
        verified_bytes=record.verified_bytes,
        mismatches=dict(record.mismatches),
    )


def unknown(what: str, name: str, known: Collection[str]) -> ProblemError:
    return ProblemError(MISSING, f"there is no {what} of that name", found=name[:80], allowed=list(known))


def read_query(request: web.Request, of: type[S]) -> S:
    """The parameters of a request. Raises ProblemError."""
    names = [field.name for field in msgspec.structs.fields(of)]
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in names:
            detail = f"{name[:80]} is not a parameter of {request.path[:80]}"
            raise ProblemError(BAD, detail, found=name[:80], allowed=names)
        if name in given:
            raise ProblemError(BAD, f"{name} stands more than once", found=f"{given[name]}, {value}"[:80])
        given[name] = value
    try:
        return msgspec.convert(given, of, strict=False)
    except msgspec.ValidationError as error:
        raise misfit(error, given, of) from None


def why(busy: Busy) -> str:
    """In words, where it has any beside its reason."""
    return str(busy) if str(busy) != busy.skip.value else "try again later"


async def read_order(request: web.Request, of: type[S]) -> S:
    """What the request asks for. Raises ProblemError."""
    if request.content_type != "application/json":
        detail = "the body has to be JSON, and the header Content-Type has to say so"
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise ProblemError(status, detail, found=request.content_type[:80], allowed=["application/json"])
    body = await read_body(request)
    try:
        return msgspec.json.decode(body, type=of)
    except msgspec.ValidationError as error:
        raise misfit(error, given_in(body), of) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(BAD, f"the body is not JSON: {error}", found=repr(body[:80])) from None


def given_in(body: bytes) -> Any:
    """What a body holds; itself where that is nested too deep to be read."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


async def read_body(request: web.Request) -> bytes:
    """A small body, all of which is there: the gate has waited for it. Raises ProblemError."""
    too_large = ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {LARGEST_BODY} bytes",
        headers={hdrs.CONNECTION: "close"},
    )
    if (request.content_length or 0) > LARGEST_BODY:
        raise too_large
    body = await request.read()
    if len(body) > LARGEST_BODY:
        raise too_large
    return body


def misfit(error: msgspec.ValidationError, given: Any, of: type[msgspec.Struct]) -> ProblemError:
    """The problem of a value that does not fit: which one, what was found, what may be there."""
    text, _, where = str(error).partition(" - at `$.")
    name = where.rstrip("`")
    schemas = openapi.properties(of)
    if name not in schemas:
        found = repr(given)[:80] if not isinstance(given, dict) else ", ".join(map(str, given))[:80]
        return ProblemError(BAD, f"{of.__name__}: {text}", found=found, allowed=list(schemas))
    rule = {key: value for key, value in schemas[name].items() if key not in ("description", "default")}
    allowed = [f"{key}: {value}" for key, value in rule.items()]
    return ProblemError(BAD, f"{name}: {text}", found=str(given.get(name))[:80], allowed=allowed)


def read_cursor(kind: str, types: tuple[type, ...], text: str | None) -> tuple[str | int, ...]:
    return cursor.read(kind, types, text) if text is not None else ()


def answer(request: web.Request, value: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return send(request, msgspec.json.encode(value), status)


def send(
    request: web.Request,
    body: bytes,
    status: HTTPStatus = HTTPStatus.OK,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> web.Response:
    """A body with its ETag: asked for again, what has not changed costs a line."""
    sent = {
        hdrs.CACHE_CONTROL: "no-cache" if request.method in ("GET", "HEAD") else "no-store",
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        "X-Content-Type-Options": "nosniff",
        **(headers or {}),
    }
    if request.method in ("GET", "HEAD") and status == HTTPStatus.OK:
        # Weak: the same answer may be compressed or not.
        sent[hdrs.ETAG] = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        asked = {tag.strip() for tag in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")}
        if asked & {sent[hdrs.ETAG], sent[hdrs.ETAG].removeprefix("W/"), "*"}:
            return web.Response(status=304, headers=sent)
    if len(body) >= SMALLEST_COMPRESSED and accepts_gzip(request):
        body = compressed(body)
        sent[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=body, status=status, headers={**sent, hdrs.CONTENT_TYPE: content_type})


def in_problems(handler: Handler) -> Handler:
    """The handler, with its errors as problems."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ProblemError as error:
            refusal = error
        except HistoryUnusable as error:
            refusal = ProblemError(BROKEN, str(error))
        return problem.answer(refusal)

    return handle


def refuse_method(allow: str) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        detail = f"{request.path} is asked with {allow}"
        status = HTTPStatus.METHOD_NOT_ALLOWED
        headers: dict[str, str] = {hdrs.ALLOW: allow}
        raise ProblemError(status, detail, found=request.method, allowed=allow.split(", "), headers=headers)

    return refuse


async def refuse_path(request: web.Request) -> web.StreamResponse:
    paths = [operation.path for operation in OPERATIONS]
    raise ProblemError(
        MISSING, f"there is nothing here: {DOCUMENT} describes the API", found=request.path[:80], allowed=paths
    )
