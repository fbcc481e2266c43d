"""What a reload keeps: accounts of pairs that stay, nothing of those that go."""

from iovigil.agent import books
from iovigil.agent.config import Config, parse
from iovigil.agent.ledger import Failure, Ledger, Skip


def config(
    *,
    disks: str = "ab",
    runtime: str = "5s",
    every: str = "30s",
    probe: str = "latency",
    file: str = "",
    agent: str = "",
) -> Config:
    lines = [agent, "disks:"]
    for disk in disks:
        lines += [f"  - name: {disk}", f"    file: {file or '/srv/' + disk}/probe", "    size: 1MiB"]
    lines += ["probes:", f"  {probe}:", f"    every: {every}", f"    job: {{rw: randread, runtime: {runtime}}}"]
    return parse("\n".join(lines), "test.yml")


def used_books(of: Config) -> Ledger:
    ledger = books.open_books(of)
    for entry in ledger.probes.values():
        entry.runs = 7
        entry.failures[Failure.CRASH] = 2
        entry.skips[Skip.MISSED] = 1
    return ledger


def test_every_probe_on_every_disk_has_an_account() -> None:
    ledger = books.open_books(config())
    assert list(ledger.disks) == ["a", "b"]
    assert [disk.target for disk in ledger.disks.values()] == ["file", "file"]
    entry = ledger.probes["a", "latency"]
    assert (entry.interval_s, entry.timeout_s, entry.engine) == (30.0, 15.0, "io_uring")


def test_an_account_that_stays_keeps_its_counts_and_gets_the_new_settings() -> None:
    old = used_books(config())
    entry = old.probes["a", "latency"]
    entry.engine = "psync"
    new = books.open_books(config(runtime="2s", every="1m"), old)
    assert new.probes["a", "latency"] is entry
    assert (entry.runs, entry.failures[Failure.CRASH], entry.skips[Skip.MISSED]) == (7, 2, 1)
    assert (entry.interval_s, entry.timeout_s, entry.options.runtime) == (60.0, 12.0, 2_000_000)
    assert entry.engine == "io_uring", "a reload tries the configured engine again"


def test_an_account_that_is_removed_goes_at_once() -> None:
    old = used_books(config())
    new = books.open_books(config(disks="bc"), old)
    assert list(new.probes) == [("b", "latency"), ("c", "latency")]
    assert list(new.disks) == ["b", "c"]
    assert [entry.runs for entry in new.probes.values()] == [7, 0]


def test_what_is_known_of_a_disk_and_of_children_outlives_a_reload() -> None:
    old = used_books(config())
    old.disks["a"].is_present = True
    old.disks["a"].identity = {"serial": "X1"}
    old.workers_running, old.workers_abandoned = 2, 1
    new = books.open_books(config(), old)
    assert new.disks["a"].is_present
    assert new.disks["a"].identity == {"serial": "X1"}
    assert (new.workers_running, new.workers_abandoned) == (2, 1)


def test_a_name_given_to_another_disk_begins_new_accounts() -> None:
    old = used_books(config())
    old.disks["a"].is_present = True
    old.disks["a"].identity = {"serial": "X1"}
    new = books.open_books(config(disks="a", file="/mnt"), old)
    assert (new.disks["a"].is_present, new.disks["a"].identity) == (False, {}), "the serial number is the old disk's"
    assert new.probes["a", "latency"].runs == 0


def test_only_runs_of_changed_and_removed_pairs_are_outdated() -> None:
    assert books.outdated(config(), config()) == frozenset()
    assert books.outdated(config(), config(every="1m")) == frozenset(), "the interval is not the run's business"
    assert books.outdated(config(), config(disks="abc")) == frozenset()
    assert books.outdated(config(), config(disks="b")) == {("a", "latency")}
    assert books.outdated(config(), config(runtime="2s")) == {("a", "latency"), ("b", "latency")}
    assert books.outdated(config(), config(probe="other")) == {("a", "latency"), ("b", "latency")}
    assert books.outdated(config(disks="a"), config(disks="a", file="/mnt")) == {("a", "latency")}


def test_the_differences_are_named() -> None:
    assert books.differences(config(), config()) == []
    assert books.differences(config(disks="ab"), config(disks="bc", every="1m")) == [
        "disk a removed",
        "disk c added",
        "probe latency changed: every",
    ]
    assert books.differences(config(), config(runtime="6s")) == ["probe latency changed: job.runtime"]
    assert books.differences(config(disks="a"), config(disks="a", file="/mnt")) == ["disk a changed: file"]


def test_what_of_the_agent_differs_is_named() -> None:
    other = "agent: {max_workers: 8, pressure: {}, web: {enable_control: true}, textfile: {directory: /srv/prom}}\n"
    assert books.differences(config(), config(agent=other)) == [
        "agent.max_workers changed",
        "agent.pressure changed",
        "agent.web.enable_control changed",
        "agent.textfile changed",
    ]


def scrub(period: str, rewrite: str = "10%") -> Config:
    return parse(
        f"disks: [{{name: a, file: /srv/a, size: 1MiB}}]\n"
        f"probes: {{scrub: {{kind: scrub, every: 1m, period: {period}, rewrite: {rewrite}, job: {{runtime: 5s}}}}}}\n",
        "test.yml",
    )


def test_a_scrub_of_another_period_or_share_is_another_one() -> None:
    entry = books.open_books(scrub("1d")).probes["a", "scrub"]
    assert entry.scrub is not None
    assert (entry.scrub.n, entry.scrub.period_s, entry.scrub.every_s) == (10, 86_400.0, 60.0)
    assert books.outdated(scrub("1d"), scrub("1d")) == frozenset()
    assert books.outdated(scrub("1d"), scrub("2d")) == {("a", "scrub")}
    assert books.outdated(scrub("1d"), scrub("1d", "20%")) == {("a", "scrub")}
