"""The JSON API over a real socket: what each address tells, how it refuses, and that its document says so."""

import dataclasses
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, ClientTimeout
from fake_page import FakePage, result_of
from histories import row
from ledgers import READ, ledger_of, probe
from status_site import FakeAgent, FakeControl, FakeUpcoming, at_site, page_of, storage_node

from iovigil.agent.config import WebSettings
from iovigil.agent.history import HistoryUnusable
from iovigil.agent.ledger import Failure, Skip
from iovigil.agent.pauses import Pause
from iovigil.agent.run_record import RunRecord, record_of
from iovigil.agent.web import openapi, resources
from iovigil.agent.web.api import OPERATIONS
from iovigil.engines.stats import Mismatch, StatsPage


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body)


Ask = Callable[..., Awaitable[Answer]]


def served(agent: FakeAgent, client: Callable[[Ask], Awaitable[None]]) -> None:
    async def with_session(root: str) -> None:
        async with ClientSession(auto_decompress=False, timeout=ClientTimeout(total=10)) as session:

            async def ask(path: str, method: str = "GET", **fields: Any) -> Answer:
                async with session.request(method, f"{root}{path}", **fields) as response:
                    return Answer(response.status, response.headers, await response.read())

            await client(ask)

    at_site(agent, with_session)


def ask_once(agent: FakeAgent, *request: Any, **fields: Any) -> Answer:
    answers = []

    async def client(ask: Ask) -> None:
        answers.append(await ask(*request, **fields))

    served(agent, client)
    return answers[0]


def problem_of(answer: Answer) -> Any:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    return answer.json


def run(number: int, disk: str = "data0", **fields: Any) -> RunRecord:
    given = {
        "name": f"{disk}/latency/{number}",
        "probe": "latency",
        "started_unix": 1000.0 + number,
        "duration_s": 2.0,
        "engine": "psync",
    }
    return RunRecord(**{"id": number, "disk": disk, "duration_s": 2.0, "engine": "psync", **given, **fields})


def states(agent: FakeAgent) -> dict[tuple[str, str], tuple[str, str]]:
    disks = ask_once(agent, "/api/v1/disks").json["disks"]
    return {(d["name"], p["probe"]): (p["state"], p["reason"]) for d in disks for p in d["probes"]}


def test_every_state_has_its_word_and_its_reason() -> None:
    entries = {name: probe(name) for name in ("ok", "failed", "running", "stuck", "away", "paused", "due", "new")}
    held, skipped, shut = probe("stuck", "integrity"), probe("skipped"), probe("shut")
    agent = FakeAgent(ledger_of(*entries.values(), held, skipped, shut))
    now_unix = time.time()
    entries["ok"].last = result_of(FakePage(), READ)
    entries["failed"].last = result_of(FakePage(), READ, failure=Failure.IO_ERROR, message="EIO at 4096")
    entries["running"].live = StatsPage.private()
    entries["stuck"].stuck = StatsPage.private()
    agent.ledger.disks["stuck"].is_stuck = True
    agent.ledger.disks["stuck"].held_by = 4711
    agent.ledger.disks["away"].is_present = False
    assert agent.control is not None
    pause = Pause(disk="pau*", probe="*", since_unix=now_unix, until_unix=now_unix + 60, reason="new cable")
    agent.control.pauses = [pause]
    agent.plan.turns = [
        FakeUpcoming(disk="due", probe="latency", next_unix=now_unix + 5, due_unix=now_unix - 1),
        FakeUpcoming(
            disk="skipped",
            probe="latency",
            next_unix=now_unix + 5,
            last_skip=Skip.CONCURRENCY,
            last_skip_unix=now_unix - 9,
        ),
        FakeUpcoming(
            disk="shut", probe="latency", next_unix=now_unix + 5, last_skip="window", last_skip_unix=now_unix - 9
        ),
    ]
    told = states(agent)
    assert told["ok", "latency"] == ("ok", "")
    assert told["failed", "latency"] == ("failed", "EIO at 4096")
    assert told["running", "latency"][0] == "running"
    assert told["stuck", "latency"][0] == "stuck"
    assert "SIGKILL" in told["stuck", "latency"][1]
    assert told["stuck", "integrity"] == (
        "skipped",
        "a child that does not end (process 4711) holds the disk",
    )
    assert told["away", "latency"] == ("absent", "the disk is not there")
    assert told["paused", "latency"] == ("paused", "new cable")
    assert told["due", "latency"][0] == "waiting"
    assert told["skipped", "latency"] == ("skipped", "another probe held the disk, or all workers were taken")
    assert told["shut", "latency"] == ("waiting", "it was outside of its time window")
    assert told["new", "latency"] == ("new", "has not run yet")
    counted = ask_once(agent, "/api/v1/agent").json["states"]
    assert {state: sum(each == state for each, _ in told.values()) for state in counted} == counted


def test_a_pause_that_has_ended_pauses_nothing() -> None:
    agent = FakeAgent(control=FakeControl([Pause(disk="*", probe="*", since_unix=0, until_unix=time.time() - 1)]))
    assert states(agent)["data0", "latency"][0] == "new"


def test_a_disk_stands_as_its_worst_probe_does() -> None:
    good, bad = probe("data0", "latency"), probe("data0", "integrity")
    good.last = result_of(FakePage(), READ)
    bad.last = result_of(FakePage(), READ, failure=Failure.VERIFY)
    disk = ask_once(FakeAgent(ledger_of(good, bad)), "/api/v1/disks/data0").json
    assert (disk["name"], disk["state"], len(disk["probes"])) == ("data0", "failed", 2)


def test_a_disk_that_is_none_is_answered_with_those_there_are() -> None:
    problem = problem_of(ask_once(FakeAgent(ledger_of(probe("a"), probe("b"))), "/api/v1/disks/c"))
    assert (problem["status"], problem["found"], problem["allowed"]) == (404, "c", ["a", "b"])


def test_the_last_run_s_latency_is_told_by_operation() -> None:
    entry = probe()
    entry.last = result_of(page_of(0.001, 0.004), READ)
    (told,) = ask_once(FakeAgent(ledger_of(entry)), "/api/v1/disks").json["disks"][0]["probes"]
    assert told["last_run"]["latency_s"]["read"]["0.5"] == pytest.approx(0.001, rel=0.02)
    assert told["last_run"]["latency_s"]["read"]["0.99"] == pytest.approx(0.004, rel=0.02)


def test_runs_are_paged_through_from_the_newest_without_a_gap() -> None:
    agent = FakeAgent()
    for number in range(1, 8):
        agent.runs.add(run(number))

    async def client(ask: Ask) -> None:
        seen, cursor = [], None
        for _ in range(4):
            page = (await ask("/api/v1/runs", params={"limit": 3, **({"cursor": cursor} if cursor else {})})).json
            seen += [each["id"] for each in page["runs"]]
            agent.runs.add(run(100 + len(seen)))  # what comes meanwhile does not shift the pages
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [7, 6, 5, 4, 3, 2, 1]

    served(agent, client)


def test_runs_are_found_by_disk_probe_and_failure() -> None:
    agent = FakeAgent()
    for each in (run(1), run(2, "data1"), run(3, failure="verify"), run(4, "data1", probe="integrity")):
        agent.runs.add(each)

    async def client(ask: Ask) -> None:
        for query, found in (
            ({"disk": "data1"}, [4, 2]),
            ({"disk": "data1", "probe": "latency"}, [2]),
            ({"failed": "true"}, [3]),
            ({"disk": "none"}, []),
        ):
            page = (await ask("/api/v1/runs", params=query)).json
            assert ([each["id"] for each in page["runs"]], page["next_cursor"]) == (found, None)

    served(agent, client)


def test_a_run_is_told_whole() -> None:
    agent = FakeAgent()
    agent.runs.add(run(1, failure="verify", message="m", messages=("a", "m"), options={"rw": "randwrite"}, signal=9))
    told = ask_once(agent, "/api/v1/runs/1").json
    assert (told["failure"], told["messages"], told["options"], told["signal"]) == (
        "verify",
        ["a", "m"],
        {"rw": "randwrite"},
        9,
    )
    assert problem_of(ask_once(agent, "/api/v1/runs/2"))["status"] == 404


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "9" * 19, "9" * 40, "%C2%B2"])
def test_what_is_no_number_of_a_run_is_refused(number: str) -> None:
    assert problem_of(ask_once(FakeAgent(), f"/api/v1/runs/{number}"))["status"] == 400


def test_the_schedule_tells_what_comes_first_and_what_is_paused() -> None:
    agent = FakeAgent(ledger_of(probe("a"), probe("b")))
    now_unix = time.time()
    agent.plan.turns = [
        FakeUpcoming(disk="a", probe="latency", next_unix=now_unix + 50),
        FakeUpcoming(disk="b", probe="latency", next_unix=float("inf"), due_unix=now_unix - 1),
    ]
    assert agent.control is not None
    agent.control.pause("a", reason="why not")
    told = ask_once(agent, "/api/v1/schedule").json
    assert [turn["disk"] for turn in told["turns"]] == ["b", "a"]
    assert told["turns"][0]["next_unix"] is None
    assert told["pauses"] == [{"disk": "a", "probe": "*", "until_unix": None, "reason": "why not"}]


def test_mismatches_are_paged_through_from_the_newest() -> None:
    agent = FakeAgent()
    agent.mismatches.rows = [row(number, dumps="/x/one\n/x/two") for number in range(5)]

    async def client(ask: Ask) -> None:
        first = (await ask("/api/v1/mismatches?limit=3")).json
        assert [each["number"] for each in first["mismatches"]] == [4, 3, 2]
        assert first["mismatches"][0]["dumps"] == ["/x/one", "/x/two"]
        rest = (await ask(f"/api/v1/mismatches?limit=3&cursor={first['next_cursor']}")).json
        assert ([each["number"] for each in rest["mismatches"]], rest["next_cursor"]) == ([1, 0], None)
        assert (await ask("/api/v1/mismatches?disk=data9")).json["mismatches"] == []

    served(agent, client)


@pytest.mark.parametrize(
    ("query", "part", "allowed"),
    [
        ("limit=0", "limit: Expected `int` >= 1", "maximum: 500"),
        ("limit=many", "limit: Expected `int`", "type: integer"),
        ("limit=501", "limit", "maximum: 500"),
        ("failed=perhaps", "failed", "type: boolean"),
        ("disk=", "disk", "minLength: 1"),
        ("size=3", "size is not a parameter", "limit"),
        ("limit=1&limit=2", "more than once", None),
        ("cursor=%00", "cursor", None),
        ("cursor=bm90IG9uZQ", "cursor", None),
        ("cursor=WyJtaXNtYXRjaGVzIiwgInIiLCAxXQ", "cursor", None),
        ("cursor=WyJydW5zIiwgdHJ1ZV0", "cursor", None),
    ],
)
def test_a_query_that_does_not_fit_is_told_what_does(query: str, part: str, allowed: str | None) -> None:
    problem = problem_of(ask_once(FakeAgent(), f"/api/v1/runs?{query}"))
    assert problem["status"] == 400
    assert part in problem["detail"]
    assert problem["found"] is not None
    if allowed:
        assert allowed in problem["allowed"]


def test_a_history_that_does_not_answer_is_said() -> None:
    agent = FakeAgent()

    async def fail(*_: object, **__: object) -> list[RunRecord]:
        raise HistoryUnusable("the history does not answer within 5 s")

    agent.runs.latest = fail  # type: ignore[method-assign]
    problem = problem_of(ask_once(agent, "/api/v1/runs"))
    assert (problem["status"], problem["detail"]) == (503, "the history does not answer within 5 s")
    assert ask_once(agent, "/api/v1/disks").status == 200


@pytest.mark.parametrize("action", ["pause", "resume", "run"])
def test_nothing_is_changed_where_that_is_not_enabled(action: str) -> None:
    agent = FakeAgent()
    problem = problem_of(ask_once(agent, f"/api/v1/{action}", "POST", json={"disk": "data0", "probe": "latency"}))
    assert problem["status"] == 403
    assert "agent.web.enable_control" in problem["detail"]
    assert agent.control is not None
    assert (agent.control.pauses, agent.control.started) == ([], [])


def test_an_operator_pauses_resumes_and_starts() -> None:
    agent = FakeAgent(is_control_enabled=True)

    async def client(ask: Ask) -> None:
        until_unix = time.time() + 60
        order = {"disk": "data0", "until_unix": until_unix, "reason": "new cable"}
        paused = await ask("/api/v1/pause", "POST", json=order)
        assert paused.status == 200
        assert paused.headers["Cache-Control"] == "no-store"
        assert paused.json["pauses"] == [
            {"disk": "data0", "probe": "*", "until_unix": until_unix, "reason": "new cable"}
        ]
        assert (await ask("/api/v1/disks")).json["disks"][0]["probes"][0]["state"] == "paused"
        assert (await ask("/api/v1/resume", "POST", json={"disk": "data0"})).json == {"pauses": []}
        started = await ask("/api/v1/run", "POST", json={"disk": "data0", "probe": "latency"})
        assert (started.status, started.json) == (202, {"disk": "data0", "probe": "latency"})

    served(agent, client)
    assert agent.control is not None
    assert agent.control.started == [("data0", "latency")]


def test_who_may_not_ask_is_told_in_json_too(tmp_path: Path) -> None:
    users = tmp_path / "web.yml"
    users.write_text(f"basic_auth_users: {{operator: $2y$10${'a' * 53}}}\n")

    async def client(ask: Ask) -> None:
        answer = await ask("/api/v1/disks")
        assert problem_of(answer)["status"] == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert (await ask("/metrics")).headers["Content-Type"].startswith("text/plain")

    served(FakeAgent(web=WebSettings(config_file=str(users))), client)


def test_a_run_that_cannot_start_is_told_why() -> None:
    agent = FakeAgent(control=FakeControl(busy={("data0", "latency"): Skip.STUCK}), is_control_enabled=True)
    problem = problem_of(ask_once(agent, "/api/v1/run", "POST", json={"disk": "data0", "probe": "latency"}))
    assert (problem["status"], problem["reason"]) == (409, "stuck")


@pytest.mark.parametrize(
    ("order", "status", "part"),
    [
        ({"disk": "data9", "probe": "latency"}, 404, "no disk"),
        ({"disk": "data0", "probe": "none"}, 404, "no probe"),
        ({"disk": "*", "probe": "latency"}, 404, "no disk"),
        ({"disk": "data0"}, 400, "required field `probe`"),
        ({"disk": 7, "probe": "latency"}, 400, "disk: Expected `str`"),
        ({"disk": "data0", "probe": "latency", "now": True}, 400, "unknown field `now`"),
        ([], 400, "Expected `object`"),
    ],
)
def test_an_order_that_does_not_fit_is_told_what_does(order: Any, status: int, part: str) -> None:
    agent = FakeAgent(is_control_enabled=True)
    problem = problem_of(ask_once(agent, "/api/v1/run", "POST", json=order))
    assert problem["status"] == status
    assert part in problem["detail"]
    assert agent.control is not None
    assert agent.control.started == []


def test_bodies_that_are_no_order_are_refused() -> None:
    async def client(ask: Ask) -> None:
        json_type = {"Content-Type": "application/json"}
        for body, headers, status in (
            (b"{", json_type, 400),
            (b"\xff\xfe", json_type, 400),
            (b"", json_type, 400),
            (b"[" * 4000, json_type, 400),
            (b'{"reason":"\xff"}', json_type, 400),
            (b" " * 5000, json_type, 413),
            (b"disk=data0", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ):
            answer = await ask("/api/v1/pause", "POST", data=body, headers=headers)
            assert problem_of(answer)["status"] == status

        async def chunks() -> Any:
            for _ in range(9):  # a little more than the gate takes
                yield b" " * 8192

        answer = await ask("/api/v1/pause", "POST", data=chunks(), headers=json_type)
        assert problem_of(answer)["status"] == 413

    served(FakeAgent(is_control_enabled=True), client)


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_a_page_of_another_site_cannot_change_anything(headers: dict[str, str]) -> None:
    agent = FakeAgent(is_control_enabled=True)
    assert problem_of(ask_once(agent, "/api/v1/pause", "POST", json={}, headers=headers))["status"] == 403
    assert agent.control is not None
    assert agent.control.pauses == []


def test_another_site_is_not_let_read_either() -> None:
    agent = FakeAgent()
    answer = ask_once(agent, "/api/v1/disks", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert problem_of(ask_once(agent, "/api/v1/disks", "OPTIONS"))["status"] == 405


def test_what_has_not_changed_is_not_sent_again() -> None:
    agent = storage_node(12, 3)

    async def client(ask: Ask) -> None:
        first = await ask("/api/v1/runs")
        again = await ask("/api/v1/runs", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert first.headers["Cache-Control"] == "no-cache"
        agent.runs.add(run(99999))
        changed = await ask("/api/v1/runs", headers={"If-None-Match": first.headers["ETag"]})
        assert changed.status == 200
        assert changed.headers["ETag"] != first.headers["ETag"]
        plain = await ask("/api/v1/disks", headers={"Accept-Encoding": "identity"})
        packed = await ask("/api/v1/disks", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.body) < len(plain.body) / 4
        head = await ask("/api/v1/disks", "HEAD")
        assert (head.status, head.body) == (200, b"")

    served(agent, client)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v1/disks", 405),
        ("DELETE", "/api/v1/runs/1", 405),
        ("GET", "/api/v1/pause", 405),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api", 404),
        ("GET", "/api/v2/disks", 404),
    ],
)
def test_what_the_api_has_not_is_a_problem_too(method: str, path: str, status: int) -> None:
    answer = ask_once(FakeAgent(), path, method)
    problem = problem_of(answer)
    assert problem["status"] == status
    if status == 405:
        assert answer.headers["Allow"].split(", ") == problem["allowed"]


def test_a_run_is_told_with_what_was_measured() -> None:
    page = FakePage(mismatch_counts={Mismatch.STALE: 2}, errors_by_ddir={0: {5: 3}})
    result = result_of(page, READ, failure=Failure.VERIFY, message="stale")
    agent = FakeAgent()
    agent.runs.add(dataclasses.replace(record_of("data0/latency/1000", result, ("it said so",)), id=7))
    (listed,) = ask_once(agent, "/api/v1/runs").json["runs"]
    told = ask_once(agent, f"/api/v1/runs/{listed['id']}").json
    assert (told["failure"], told["mismatches"], told["errnos"]) == ("verify", {"stale": 2}, {"EIO": 3})
    assert told["messages"] == ["it said so"]
    assert told["options"]["rw"] == "randread"


def test_the_document_names_every_operation_and_every_answer() -> None:
    document = ask_once(FakeAgent(), "/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for operation in OPERATIONS:
        described = document["paths"][operation.path][operation.method.lower()]
        assert described["operationId"] == operation.id
        ok = described["responses"][str(int(operation.status))]["content"]["application/json"]["schema"]["$ref"]
        assert ok.rsplit("/", 1)[-1] in document["components"]["schemas"]


def test_the_document_is_openapi() -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(msgspec.to_builtins(openapi.document(OPERATIONS)))


def test_every_answer_is_as_the_document_says() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    agent = storage_node(12, 3)
    document = msgspec.to_builtins(openapi.document(OPERATIONS))

    async def client(ask: Ask) -> None:
        for operation in OPERATIONS:
            if operation.method != "GET":
                continue
            path = operation.path.replace("{name}", "nvme-04").replace("{id}", "3")
            answer = await ask(path)
            assert answer.status == 200
            schema = {**document, "$ref": f"#/components/schemas/{operation.answer.__name__}"}
            jsonschema.Draft202012Validator(schema).validate(answer.json)

    served(agent, client)


def test_an_answer_has_no_field_that_is_not_its_struct_s() -> None:
    told = ask_once(storage_node(12, 3), "/api/v1/disks").body
    disks = msgspec.json.decode(gzip.decompress(told), type=resources.Disks, strict=True)
    assert msgspec.json.decode(msgspec.json.encode(disks)) == json.loads(gzip.decompress(told))
