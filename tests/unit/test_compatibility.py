"""What becomes of every option and engine of fio, and that the page of it is current."""

import re
import subprocess
from pathlib import Path

import pytest

from iovigil.agent.fio import compatibility
from iovigil.agent.fio.compatibility import AcceptanceRow, Class
from iovigil.engines import foreign
from iovigil.engines.options import SPECS, OptionError
from iovigil.engines.spelling import ALIASES, canonical, effect_missing, engine_names, parse_option

TESTS = Path(__file__).parents[1]
PAGE = Path(__file__).parents[2] / "docs" / "fio-compatibility.md"


def fio(*words: str) -> str:
    return subprocess.run(["fio", *words], capture_output=True, text=True, timeout=30, check=False).stdout


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == compatibility.render(), f"run: {compatibility.COMMAND}"


@pytest.mark.requires_fio
def test_every_option_of_fio_is_classified() -> None:
    names = [line.partition(":")[0].strip() for line in fio("--cmdhelp=all").splitlines()]
    assert len(names) > 200
    assert [name for name in names if compatibility.verdict_on(name) is None] == []


@pytest.mark.requires_fio
def test_every_engine_of_fio_and_each_of_its_options_is_classified() -> None:
    engines = fio("--enghelp").split("\n", 1)[1].split()
    assert "libaio" in engines
    # Engines of ours that are not built here would be unknown: they are told by the tests of the engines.
    planned = {"cpuio", "libaio", "mmap", "net", "posixaio", "pvsync", "pvsync2", "sg", "splice", "vsync"}
    assert [name for name in engines if compatibility.verdict_on_engine(name) is None and name not in planned] == []
    for engine in engines:
        for line in fio(f"--enghelp={engine}").splitlines():
            name, colon, _ = line.partition(":")
            assert not colon or compatibility.verdict_on(name.strip()) is not None, f"{engine}: {name}"


@pytest.mark.requires_fio
def test_every_option_of_the_command_is_classified() -> None:
    names = re.findall(r"^  --([a-z-]+)", fio("--help"), re.MULTILINE)
    assert "status-interval" in names
    assert [name for name in names if compatibility.verdict_on_command(name) is None] == []


@pytest.mark.requires_fio
@pytest.mark.parametrize(
    ("option", "has_refused"),
    [
        ("verify", False),
        ("zonemode", True),
        ("continue_on_error", False),
        ("sync", False),
        ("file_service_type", False),
    ],
)
def test_every_value_of_fio_is_taken_or_refused_with_its_own_reason(option: str, has_refused: bool) -> None:
    help_text = fio(f"--cmdhelp={option}").partition("valid values:")[2]
    values = [
        line.split()[0] for line in help_text.replace("\n                    : ", "\n").split("\n") if line.split()
    ]
    assert len(values) > 2
    reasons = [reason for value in values if (reason := reason_against(option, value)) is not None]
    assert bool(reasons) == has_refused
    assert not any("is not one of" in reason for reason in reasons)


def reason_against(option: str, value: str) -> str | None:
    try:
        parse_option(option, value)
    except OptionError as error:
        return error.reason
    return None


def test_no_option_of_ours_is_refused_as_one_of_fio_s() -> None:
    ours = {*SPECS, *ALIASES}
    assert not ours & {*foreign.UNSUPPORTED, *foreign.WITHOUT_EFFECT, *foreign.ENGINE_OF}
    assert not set(foreign.UNSUPPORTED) & set(foreign.WITHOUT_EFFECT)


def test_no_engine_of_ours_is_refused() -> None:
    assert not set(engine_names()) & set(foreign.ENGINES)


def test_every_option_of_an_engine_names_an_engine_that_is_refused() -> None:
    assert set(foreign.OPTIONS_OF_ENGINES) <= set(foreign.ENGINES)


@pytest.mark.parametrize("name", foreign.UNSUPPORTED)
def test_an_option_that_is_refused_says_why(name: str) -> None:
    with pytest.raises(OptionError) as refused:
        canonical(name)
    assert refused.value.reason == foreign.UNSUPPORTED[name].reason
    verdict = compatibility.verdict_on(name)
    assert verdict is not None
    assert verdict.kind is Class.REFUSED


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("thread", "1", "each job is a process of its own"),
        ("io_submit_mode", "inline", ""),
        ("io_submit_mode", "offload", None),
        ("kb_base", "1024", ""),
        ("kb_base", "1000", None),
        ("bs", "4k", None),
        ("nonsense", "1", None),
    ],
)
def test_what_asks_for_nothing_is_passed_over(name: str, value: str, reason: str | None) -> None:
    assert effect_missing(name, value) == reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ioengine", "syslet-rw", "syslet-rw was never merged into Linux; use io_uring"),
        ("ioengine", "rbd", f"rbd {foreign.NETWORK_STORAGE}"),
        ("zonemode", "zbd", "zbd is for zoned block devices, which are not supported"),
        ("rw", "filestat", "filestat measures file metadata, not disks"),
        ("mem", "cudamalloc", "cudamalloc is memory of a graphics card, which is not supported"),
    ],
)
def test_a_value_that_is_refused_says_why(name: str, value: str, reason: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_option(name, value)
    assert refused.value.reason == reason


def test_options_of_a_foreign_engine_name_it() -> None:
    with pytest.raises(OptionError, match="rbdname: is for ioengine=rbd, which speaks to a storage service"):
        canonical("rbdname")


def test_acceptance_rows_make_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "ACCEPTANCE", (AcceptanceRow("reads stride", "test_strides"),))
    assert "| reads stride | ours and fio 3.33 | `test_strides` |" in compatibility.render()
    monkeypatch.setattr(compatibility, "ACCEPTANCE", ())
    assert "## Acceptance" not in compatibility.render()


@pytest.mark.parametrize("row", compatibility.ACCEPTANCE, ids=lambda row: row.behaviour)
def test_the_test_of_every_acceptance_row_exists(row: AcceptanceRow) -> None:
    if not row.test:
        assert row.passes.startswith("not yet")
        return
    file, _, name = row.test.partition("::")
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE), row.test


def test_every_file_of_acceptance_tests_has_a_row() -> None:
    """A file without any row would be one that nobody finds from the page."""
    files = {path.name for path in (TESTS / "system").glob("test_acceptance_fio_*.py")} | {"test_verify_matrix.py"}
    assert files == {row.test.partition("::")[0].partition("/")[2] for row in compatibility.ACCEPTANCE if row.test}
