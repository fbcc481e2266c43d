"""The real fio takes the options that we spell, and reads sizes and times as we do."""

import json
import subprocess
from typing import Final

import pytest

from iovigil.agent.config.embedded import embedded
from iovigil.engines.options import SPECS
from iovigil.engines.spelling import parse_option, spell_option, spell_options

pytestmark = pytest.mark.requires_fio

OURS_ALONE: Final = {"verify_header"}
WORDS_OF_OURS: Final = {"verify"}  # fio has no word for no checksum
JOB: Final = ["--name=x", "--filename=x", "--size=1m"]


def fio(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["fio", *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", [name for name in SPECS if name not in OURS_ALONE | WORDS_OF_OURS | {"name"}])
def test_fio_has_every_option(name: str) -> None:
    # fio wants a runtime with time_based and looks for nothing else to go with a default.
    default = f"--{name}={spell_option(name, SPECS[name].default)}"
    result = fio(*JOB, default, "--parse-only")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("probe", embedded("/tmp").probes, ids=lambda probe: probe.name)
def test_fio_takes_the_option_line_of_a_probe(probe) -> None:
    words = [word for word in spell_options(probe.options) if word.partition("=")[0][2:] not in OURS_ALONE]
    result = fio(*words, "--filename=x", "--parse-only")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("text", ["512", "1k", "2kb", "1K", "1ki", "1m"])
def test_fio_does_as_many_ios_of_a_size_as_we_read_from_it(text: str) -> None:
    size = parse_option("bs", text)
    # Not fractions: fio 3.33 takes 1.5k for a single byte.
    result = fio("--name=x", "--ioengine=null", "--rw=read", f"--bs={text}", "--size=3m", "--output-format=json")
    assert json.loads(result.stdout)["jobs"][0]["read"]["total_ios"] == (3 << 20) // size
