"""The configuration: what is read from a right one, and what is said of each kind of mistake.

A file in tests/unit/config holds one kind of mistake and begins with the messages that are expected.
"""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent import config
from iovigil.agent.bounds import Bounds
from iovigil.agent.config import ConfigError, DiskSettings, PressureSettings, reference, schema
from iovigil.agent.config.embedded import embedded
from iovigil.agent.config.rules import NOT_IN_A_PROBE
from iovigil.engines.options import SPECS, JobOptions

ROOT = Path(__file__).parents[2]
MISTAKES = sorted((Path(__file__).parent / "config").glob("*.yml"))
EXAMPLES = sorted((ROOT / "config").glob("*.yml"))
EXPECT = "# expect: "

RIGHT = """\
agent: {listen: ":9942", max_workers: 2}
disks:
  - name: data0
    file: /srv/data0/.iovigil
    size: 1GiB
  - name: nvme0
    device: /dev/disk/by-id/nvme-X
probes:
  latency:
    every: 30s
    job: {rw: randread, runtime: 5, rate_iops: 100, direct: 1}
  integrity:
    every: 10m
    disks: [data*]
    job: {rw: randwrite, bs: 64k, size: 256MiB, verify: crc32c, runtime: 30s}
"""


KINDS = """\
disks: [{name: d, file: /srv/d/.iovigil, size: 1GiB}]
probes:
  p:
    every: 1m
    job:
      rw: randrw
      runtime: 5s
      bs: [4k, 8k]
      bssplit: 4k/60:64k/40
      random_distribution: zipf:1.2
      cpus_allowed: [0-1, 3]
      size: 50%
      latency_percentile: 99.9
      latency_target: 1ms
      latency_window: 1s
      ignore_error: "EIO,EIO:ENOSPC"
      buffer_pattern: '"abc"'
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        config.parse(text, "f.yml")
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_is_named_with_its_line_and_key(path: Path) -> None:
    expected = [line.removeprefix(EXPECT) for line in path.read_text().split("\n") if line.startswith(EXPECT)]
    assert expected
    with pytest.raises(ConfigError) as refused:
        config.load(str(path))
    assert str(refused.value).split("\n") == [f"{path}:{line}" for line in expected]


def test_there_is_a_file_for_many_mistakes() -> None:
    assert len(MISTAKES) > 80


def test_a_right_configuration_is_read() -> None:
    loaded = config.parse(RIGHT, "f.yml")
    assert loaded.source == "f.yml"
    assert (loaded.agent.listen, loaded.agent.max_workers) == ((":9942",), 2)
    assert loaded.agent.state_directory == "/var/lib/iovigil"
    assert loaded.disks == (
        DiskSettings(name="data0", file="/srv/data0/.iovigil", size=1 << 30),
        DiskSettings(name="nvme0", device="/dev/disk/by-id/nvme-X"),
    )
    latency, integrity = loaded.probes
    assert (latency.name, latency.every_s, latency.disks) == ("latency", 30.0, ("*",))
    assert latency.options == JobOptions(
        name="latency",
        ioengine="io_uring",
        rw="randread",
        time_based=True,
        randrepeat=False,
        runtime=5_000_000,
        rate_iops=(100, 100, 100),
        direct=True,
        verify_state_save=False,
        nice=5,
        prioclass=2,
        prio=7,
    )
    assert (integrity.every_s, integrity.options.size) == (600.0, 256 << 20)


def test_windows_are_read_as_they_are_written() -> None:
    agent = "agent: {timezone: Europe/Zurich, pressure: {hold_full: 40}}"
    every = "every: 30s\n    windows: [{days: Mon-Fri, from: 22:00, to: 6:00}, {from: 00:00, to: 24:00}]"
    text = RIGHT.replace('agent: {listen: ":9942", max_workers: 2}', agent).replace("every: 30s", every)
    loaded = config.parse(text, "f.yml")
    latency, integrity = loaded.probes
    assert [(each.days, each.from_, each.to) for each in latency.windows] == [
        ("mon-fri", "22:00", "06:00"),
        ("mon-sun", "00:00", "24:00"),
    ]
    windows = loaded.windows_of(latency)
    assert str(windows.zone) == "Europe/Zurich"
    assert [str(window) for window in windows.windows] == ["mon,tue,wed,thu,fri 22:00-06:00", "every day 00:00-24:00"]
    assert loaded.windows_of(integrity).are_always
    assert loaded.agent.pressure == PressureSettings(hold_full=40)
    assert config.parse(RIGHT, "f.yml").agent.pressure is None


def test_a_probe_is_assigned_to_the_disks_that_its_patterns_match() -> None:
    pairs = [(each.disk.name, each.probe.name) for each in config.parse(RIGHT, "f.yml").assignments()]
    assert pairs == [("data0", "latency"), ("data0", "integrity"), ("nvme0", "latency")]


def test_the_digest_is_that_of_the_text() -> None:
    one, same, other = (config.parse(text, "f.yml").sha256 for text in (RIGHT, RIGHT, RIGHT + "# more\n"))
    assert one == same != other
    assert len(one) == 64


def test_a_probe_may_say_otherwise_than_its_defaults() -> None:
    text = RIGHT.replace("direct: 1", "direct: 1, time_based: 0, ioengine: psync, randrepeat: 1")
    options = config.parse(text, "f.yml").probes[0].options
    assert (options.time_based, options.ioengine, options.randrepeat) == (False, "psync", True)


def test_a_merged_mapping_gives_what_is_not_said() -> None:
    text = RIGHT + "  second:\n    every: 10m\n    job: {<<: {bs: 8k, runtime: 7s}, runtime: 9s}\n"
    options = config.parse(text, "f.yml").probes[2].options
    assert (options.bs, options.runtime) == ((8192,) * 3, 9_000_000)


def test_a_mapping_that_merges_itself_is_read_once() -> None:
    text = RIGHT.replace("job: {rw: randread, ", "job: &self {<<: *self, rw: randread, ")
    assert config.parse(text, "f.yml").probes == config.parse(RIGHT, "f.yml").probes


def test_values_are_read_as_they_are_written_and_not_as_yaml_would_take_them() -> None:
    # YAML 1.1 makes 4210 of 1:10:10, an octal number of 010 and a truth of on.
    text = RIGHT.replace("name: data0", "name: on").replace("[data*]", "[on]")
    assert config.parse(text, "f.yml").disks[0].name == "on"
    text = RIGHT.replace("runtime: 5,", "runtime: 010,")
    assert config.parse(text, "f.yml").probes[0].options.runtime == 10_000_000


def test_the_engine_that_is_called_null_needs_no_quotes() -> None:
    text = RIGHT.replace("direct: 1", "ioengine: null")
    assert config.parse(text, "f.yml").probes[0].options.ioengine == "null"


def test_a_wrong_list_of_disks_does_not_bring_up_others() -> None:
    text = RIGHT.replace("disks: [data*]", "disks: data*")
    assert problems(text) == ["f.yml:14: probes.integrity.disks: is data*, where a list is expected"]


def test_a_wrong_option_does_not_bring_up_others() -> None:
    text = RIGHT.replace("runtime: 5,", "runtime: 5y,")
    (problem,) = problems(text)
    assert problem.startswith("f.yml:11: probes.latency.job.runtime: 5y is not a time")


@given(st.data())
def test_nothing_but_a_config_error_comes_of_a_damaged_file(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RIGHT)))
    end = data.draw(st.integers(start, min(len(RIGHT), start + 20)))
    damage = data.draw(st.text(st.sampled_from("abc019:-,.{}[]&*!<|>'\"%@#\n \t\0\ud800é"), max_size=8))
    with contextlib.suppress(ConfigError):
        config.parse(RIGHT[:start] + damage + RIGHT[end:], "f.yml")


def test_nesting_without_end_is_refused() -> None:
    assert problems("[" * 50_000) == ["f.yml:1: is nested too deeply"]


def test_merging_without_end_is_refused() -> None:
    chain = "".join(f", &a{link} {{<<: *a{link - 1}}}" for link in range(1, 2000))
    assert "f.yml:1: is nested too deeply" in problems(f"{{? [&a0 {{}}{chain}] : 1, agent: *a1999}}\n")


@pytest.mark.parametrize("text", ['\ndisks: "\\U00110000"\n', f"\n%YAML {'9' * 5000}.1\n---\n"])
def test_numbers_that_the_yaml_library_cannot_take_are_refused_with_their_line(text: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("f.yml:2: is not YAML: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "none.yml")
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    assert str(refused.value) == f"{path}: cannot be read: No such file or directory"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(str(tmp_path))


def test_a_path_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be read: embedded null byte"):
        config.load("/tmp/\0")


def test_a_binary_file_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "binary.yml"
    path.write_bytes(b"disks:\n  - \xff\xfe\x00")
    with pytest.raises(ConfigError) as refused:
        config.load(str(path))
    assert str(refused.value) == f"{path}:2: is not text: byte 0xff is not UTF-8"


def test_a_device_is_not_even_opened() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: is a character device, and not a file"):
        config.load("/dev/zero")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path) -> None:
    """Those that select their disks have none here: test_config_examples gives them a machine."""
    loaded = config.load(str(path))
    assert loaded.assignments() or loaded.selectors


def test_the_embedded_configuration_stays_under_its_directory() -> None:
    loaded = embedded('/tmp/a "strange": {dir}')
    assert loaded.agent.state_directory == '/tmp/a "strange": {dir}'
    (scratch,) = loaded.disks
    assert scratch == DiskSettings(name="scratch", file='/tmp/a "strange": {dir}/scratch', size=64 << 20)
    assert [probe.name for probe in loaded.probes] == ["latency", "integrity"]


def test_the_schema_in_the_repository_is_current() -> None:
    hint = "run: python -m iovigil.agent.config.schema > config/schema.json"
    assert (ROOT / "config" / "schema.json").read_text() == schema.render(), hint


def test_the_reference_in_the_repository_is_current() -> None:
    hint = "run: python -m iovigil.agent.config.reference > docs/options.md"
    assert (ROOT / "docs" / "options.md").read_text() == reference.render(), hint


def test_the_schema_knows_every_option_of_a_probe() -> None:
    probe = json.loads(schema.render())["properties"]["probes"]["additionalProperties"]
    options = probe["properties"]["job"]["properties"]
    assert {name for name in options if name in SPECS} == SPECS.keys() - NOT_IN_A_PROBE.keys()
    assert {"rw", "bssplit", "random_distribution", "buffer_pattern", "latency_percentile"} <= options.keys()
    assert {"blocksize", "readwrite"} <= options.keys()


def test_a_probe_has_no_say_in_what_the_agent_does_itself() -> None:
    kept = {name for name, spec in SPECS.items() if spec.used_by in ("target", "session", "output")}
    assert kept <= NOT_IN_A_PROBE.keys()
    assert {
        "fill_device",
        "uid",
        "gid",
        "exec_prerun",
        "ioscheduler",
        "write_bw_log",
        "read_iolog",
    } <= NOT_IN_A_PROBE.keys()
    assert not {"rw", "bs", "verify", "runtime", "rate_iops", "direct"} & NOT_IN_A_PROBE.keys()


def test_a_probe_takes_every_kind_of_option() -> None:
    loaded = config.parse(KINDS, "f.yml").probes[0].options
    assert loaded.bs == (4096, 8192, 8192)
    assert loaded.bssplit == (((4096, 60), (65536, 40)),) * 3
    assert loaded.random_distribution == ("zipf", 1.2, -1.0, ())
    assert loaded.cpus_allowed == (0, 1, 3)
    assert loaded.size == -50
    assert loaded.latency_percentile == 99.9
    assert loaded.ignore_error == ((5,), (5, 28), ())
    assert loaded.buffer_pattern == b"abc"


def test_what_is_remembered_of_runs_can_be_bounded_in_part(tmp_path: Path) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(
        "agent: {history: {runs: 50, size: 64MiB}}\n"
        "disks: [{name: data0, file: /srv/data0/.iovigil, size: 1GiB}]\n"
        "probes: {latency: {every: 30s, job: {rw: randread, runtime: 5s}}}\n"
    )
    bounds = config.load(str(path)).agent.history.bounds
    assert bounds == Bounds(runs=50, size=64 << 20)
