"""Configurations that nobody would write: each is taken or refused with file and line, soon, in little memory."""

import contextlib
import copy
import os
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iovigil.agent import config
from iovigil.agent.config import ConfigError, source
from iovigil.agent.config.document import MOST_PROBLEMS

EXAMPLES = int(os.environ.get("IOVIGIL_FUZZ_EXAMPLES", "100"))
EXAMPLE_S = 10.0
MEMORY = 192 << 20
MOST = config.MAX_FILE_BYTES

DISK = "disks: [{name: d, file: /srv/d/.iovigil, size: 1GiB}]\n"
PROBE = "probes: {p: {every: 1m, job: {rw: randread, runtime: 5s}}}\n"
SEEDS = [
    {
        "agent": {"listen": ":9942", "max_workers": 2, "pressure": {"hold_some": 40}, "history": {"runs": 10}},
        "disks": [
            {"name": "data0", "file": "/srv/data0/.iovigil", "size": "1GiB"},
            {"name": "nvme0", "device": "/dev/disk/by-id/nvme-X", "region": {"offset": "1GiB", "size": "1GiB"}},
            {"match": {"model": "WDC*"}, "name": "{serial}", "exclude": {"path": "/dev/sda"}},
        ],
        "probes": {
            "latency": {"every": "30s", "job": {"rw": "randread", "runtime": 5, "rate_iops": 100, "direct": 1}},
            "integrity": {
                "every": "10m",
                "disks": ["data*"],
                "windows": [{"days": "mon-fri", "from": "22:00", "to": "06:00"}],
                "job": {"rw": "randwrite", "bs": "64k", "size": "256MiB", "verify": "crc32c", "runtime": "30s"},
            },
            "scrub": {"kind": "scrub", "every": "1h", "disks": ["data0"], "period": "30d", "job": {"runtime": "5m"}},
        },
    }
]
WORDS = [
    *(
        "",
        " ",
        "null",
        "~",
        "true",
        "no",
        "0",
        "-0",
        "1",
        "-1",
        "9" * 400,
        "1e308",
        "-1e-320",
        ".nan",
        ".inf",
        "0x",
        "0b2",
    ),
    *("1:30", "2001-02-30", "*", "&", "[", "\u0000", "\u0085", "\u2028", "\ufeff", "\U0010ffff", "é", "a" * 5000),
    *("1GiB", "-1GiB", "50%", "-50%", "1000%", "{serial}", "{", "/", "//", "/dev/", "../..", "/\n", "d*", "[!", "\\"),
    *("mon-fri", "24:00", "25:00", "4k/60:8k/40", "zipf:1e999", "zoned:1/1", "EIO,EIO:", "!!python/object:os.system"),
    *("1s", "1e-9s", "1000000000d", "Europe/Zurich", "../../etc/passwd", ":0", "[::1]:99999", "1/0", "4k:4k:4k:4k"),
]
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=20),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(max_size=9),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4), max_leaves=8
)


def places(node: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path]
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            found += places(value, (*path, key))
    return found


def mutated(data: st.DataObject, node: object) -> object:
    """A configuration with some of its values, or of its keys, in place of which others stand."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([place for place in places(node) if place] or [()]))
        if not path:
            return node
        holder = node
        for key in path[:-1]:
            holder = holder[key]  # type: ignore[index]
        match data.draw(st.sampled_from(["value", "drop", "rename", "double"])):
            case "value":
                holder[path[-1]] = data.draw(VALUES)  # type: ignore[index]
            case "drop":
                del holder[path[-1]]  # type: ignore[attr-defined]
            case "rename" if isinstance(holder, dict):
                holder[data.draw(SCALARS)] = holder.pop(path[-1])
            case "double" if isinstance(holder, list):
                holder.append(holder[path[-1]])  # type: ignore[call-overload]
    return node


def refusals(text: str) -> list[config.Problem]:
    """What is said of it; nothing of one that is right."""
    try:
        config.parse(text, "f.yml")
    except ConfigError as refused:
        return list(refused.problems)
    return []


def told(text: str) -> list[config.Problem]:
    """The same, once it has been seen that each says where and why."""
    found = refusals(text)
    lines = 1 + sum(text.count(end) for end in ("\n", "\r", "\x85", "\u2028", "\u2029"))
    assert all(1 <= problem.line <= lines + 1 and problem.reason for problem in found), found
    return found


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_configuration_with_other_values_is_taken_or_refused_with_its_line(data: st.DataObject) -> None:
    node = mutated(data, copy.deepcopy(data.draw(st.sampled_from(SEEDS))))
    flow = data.draw(st.sampled_from([None, True, False]))
    told(yaml.dump(node, default_flow_style=flow, allow_unicode=data.draw(st.booleans())))


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=400), st.integers(0, 400))
def test_bytes_of_any_kind_are_refused_with_their_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.yml"
    text = yaml.dump(SEEDS[0]).encode()
    path.write_bytes(text[:at] + noise + text[at + len(noise) // 2 :])
    with contextlib.suppress(ConfigError):
        config.load(str(path))


def many(unit: str, most: int = MOST - 200) -> str:
    return unit * (most // len(unit))


BOMBS = {
    "items": "disks:\n" + many("- a\n"),
    "keys": DISK + "probes:\n" + "".join(f" p{number}: {{}}\n" for number in range(20_000)),
    "unknown keys": DISK + PROBE + "".join(f"k{number}: 1\n" for number in range(20_000)),
    "nesting": many("["),
    "nesting of mappings": many("{a: "),
    "laughter": "a: &a [lol, lol]\n"
    + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "disks: *j\nprobes: *j\n",
    "the same mapping of many keys again and again": DISK
    + f"x: &x {{{', '.join(f'k{number}: 1' for number in range(5000))}}}\nprobes:\n"
    + "".join(f" p{number}: *x\n" for number in range(5000)),
    "the same right list again and again": DISK
    + "probes:\n p: &p\n  every: 1m\n  job: {rw: randread, runtime: 5s}\n  disks: ["
    + "d, " * 900
    + "d]\n"
    + "".join(f" p{number}: *p\n" for number in range(190)),
    "merges": "{? [&a0 {k0: 1}"
    + "".join(f", &a{number} {{<<: *a{number - 1}, k{number}: 1}}" for number in range(1, 900))
    + "] : 1, agent: *a899}",
    "disks by probes": "disks:\n"
    + "".join(f"- {{name: d{number}, file: /s/{number}, size: 1GiB}}\n" for number in range(990))
    + "probes:\n"
    + "".join(f" p{number}: {{every: 1m, job: {{rw: randread, runtime: 5s}}}}\n" for number in range(190)),
    "windows": DISK
    + "probes: {p: {every: 1m, windows: ["
    + many("{from: '00:00', to: '00:01'}, ", 200_000)
    + "], job: {rw: randread, runtime: 5s}}}\n",
    "a long word": DISK + PROBE + "agent: {listen: '" + many("a", 200_000) + "'}\n",
    "a long number": DISK + PROBE + "agent: {max_workers: " + many("9", 200_000) + "}\n",
    "a pattern": DISK + "probes: {p: {every: 1m, disks: ['" + "*a" * 31 + "b'], job: {rw: randread, runtime: 5s}}}\n",
    "sizes": DISK
    + "probes: {p: {every: 1m, job: {rw: randread, bssplit: '"
    + many("4k/1:", 200_000)
    + "', runtime: 5s}}}\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_a_file_that_asks_for_more_than_it_holds_costs_little(text: str) -> None:
    began_s = time.thread_time()
    assert 0 < len(told(text)) <= MOST_PROBLEMS + 1
    assert time.thread_time() - began_s < EXAMPLE_S
    if len(text) < MOST // 4:  # measuring takes longer than reading
        tracemalloc.start()
        try:
            told(text)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()


def test_a_large_configuration_that_is_right_is_taken() -> None:
    disks = "".join(f"- {{name: d{number}, file: /srv/disk-{number}/.iovigil, size: 1GiB}}\n" for number in range(1000))
    probes = "".join(f" p{number}: {{every: 1m, job: {{rw: randread, runtime: 5s}}}}\n" for number in range(10))
    assert len(config.parse(f"disks:\n{disks}probes:\n{probes}", "f.yml").assignments()) == 10_000


def refusal(path: Path | str) -> str:
    with pytest.raises(ConfigError) as refused:
        config.load(str(path))
    return str(refused.value)


def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PIPE_S", 0.2)
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == f"{tmp_path}/pipe: is a pipe whose end did not come within 0.2 s"


def test_a_pipe_without_end_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "pipe").open("rb+", buffering=0) as held:
        os.set_blocking(held.fileno(), False)
        must_end = threading.Event()

        def pour() -> None:
            while not must_end.is_set():
                if not held.write(b"#" * 4096):
                    time.sleep(0.001)

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            assert refusal(tmp_path / "pipe").endswith(f"is longer than {MOST} bytes: this is no configuration")
        finally:
            must_end.set()
            thread.join(10)


def test_a_configuration_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, (DISK + PROBE).encode())
        os.close(writing)
        assert [disk.name for disk in config.load(f"/dev/fd/{reading}").disks] == ["d"]
    finally:
        os.close(reading)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert refusal(tmp_path / "socket").endswith("is a socket, and not a file")


def test_a_file_of_100_mb_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "large.yml").open("wb") as file:
        file.truncate(100 << 20)
    tracemalloc.start()
    try:
        assert refusal(tmp_path / "large.yml").endswith(f"is longer than {MOST} bytes: this is no configuration")
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    finally:
        tracemalloc.stop()
