"""The page of all options of a job: `python -m iovigil.agent.config.reference > docs/options.md`."""

import textwrap
from collections.abc import Iterator
from typing import Final

from iovigil.agent.config.model import PROBE_DEFAULTS, AgentSettings, DiskSettings, ProbeSettings, keys_of
from iovigil.agent.config.rules import NOT_IN_A_PROBE
from iovigil.agent.config.sections import TOP_KEYS
from iovigil.engines.options import MAX_INT64, SPECS, OptionSpec, PerDirection
from iovigil.engines.quantities import spell_time
from iovigil.engines.spelling import ALIASES, NOT_YET, UNIT_PARSERS, VALUE_ALIASES, spell_number, spell_option

OPENING: Final = """\
# Options

<!-- Generated: python -m iovigil.agent.config.reference > docs/options.md -->

What a configuration file holds, and every option of a job. Names and units are fio's; `iovigil run` takes the same
options as `--name=value`. `iovigil check-config FILE` says whether a file is right, and what it will do.

## How values are written

| kind | spelling |
| --- | --- |
| size | `4k`, `4KB`, `4KiB`: always powers of 1024, with `k`, `m`, `g`, `t` or `p`; fractions too: `1.5g`. |
| time | A number with `d`, `h`, `m`, `s`, `ms` or `us`: `30s`. What a bare number counts is in the table. |
| count | A number; it may have a size's suffix, as in fio: `10k` is 10240. |
| flag | `1` or `0`, `yes` or `no`, `true` or `false`. On a command line the bare name sets it. |
| pair | `100` for reads and writes, or one each: `100,50`, `100,`, `,50`; in a configuration file also `[100, 50]`. |

**A trap that is not copied.** With its default `kb_base=1024` fio reads `k` and `kb` as 1024, but `KiB` as 1000 and
`GiB` as 10^9. Here `1GiB` is 2^30 bytes. fio 3.33 takes `1.5k` for a single byte; here it is 1536. Sizes that are to
mean the same to both are best written `4k`, `1g`, `1536`.
"""


def render() -> str:
    return "\n".join([OPENING, *sections(), *options(), *not_yet()])


def sections() -> Iterator[str]:
    yield "## The configuration file\n"
    for title, settings in (("agent", AgentSettings), ("disks", DiskSettings), ("probes", ProbeSettings)):
        yield f"### `{title}`\n\n{TOP_KEYS[title]} {settings.__doc__}\n"
        yield "| key | default | meaning |\n| --- | --- | --- |"
        for key in keys_of(settings):
            default = "required" if key.is_required else code(default_text(key.default))
            yield f"| `{key.name}` | {default} | {key.text} |"
        yield ""
    yield (
        "A run that verifies writes for at most half of its runtime; checking what it wrote may then take as long "
        "as all of\nruntime, so that `every` has to leave room for half as much again.\n"
    )


def default_text(default: object) -> str:
    return ", ".join(default) if isinstance(default, tuple) else str(default or "")


def options() -> Iterator[str]:
    yield "## Options of a job\n"
    yield "The default is that of `iovigil run`, which is fio's; where a probe has another, both are given.\n"
    yield "| option | kind | default | allowed | meaning |\n| --- | --- | --- | --- | --- |"
    for spec in SPECS.values():
        names = [spec.name, *(alias for alias, of in ALIASES.items() if of == spec.name)]
        meaning = spec.text + (" Not in a configuration file." if spec.name in NOT_IN_A_PROBE else "")
        cells = (", ".join(map(code, names)), kind(spec), default_of(spec), allowed(spec), meaning)
        yield f"| {' | '.join(cells)} |"
    yield ""


def kind(spec: OptionSpec) -> str:
    if spec.choices:
        return "choice"
    if spec.kind in (bool, str):
        return "flag" if spec.kind is bool else "text"
    is_pair = spec.kind == PerDirection
    if spec.unit == "us":
        return f"time, bare: {spell_time(spec.plain)[1:]}"
    single = f"size{' a second' if spec.unit == 'bytes/s' else ''}" if spec.unit in UNIT_PARSERS else "count"
    return f"pair of {single.replace('size', 'sizes').replace('count', 'counts')}" if is_pair else single


def default_of(spec: OptionSpec) -> str:
    default = code(spell_option(spec.name, spec.default))
    in_a_probe = getattr(PROBE_DEFAULTS, spec.name)
    return default if in_a_probe == spec.default else f"{default}; probe: {code(spell_option(spec.name, in_a_probe))}"


def allowed(spec: OptionSpec) -> str:
    if spec.choices:
        also = (f"{code(alias)} is {code(of)}" for alias, of in VALUE_ALIASES.get(spec.name, {}).items())
        return "; ".join([", ".join(map(code, spec.choices)), *also])
    if spec.kind in (bool, str):
        return ""
    spell = spell_time if spec.unit == "us" else lambda number: spell_number(spec, number)
    percent = " %" if spec.unit == "%" else ""
    return f"from {spell(spec.ge)}" if spec.le == MAX_INT64 else f"{spell(spec.ge)} to {spell(spec.le)}{percent}"


def not_yet() -> Iterator[str]:
    yield "## Options of fio that are not supported yet\n"
    yield textwrap.fill(", ".join(map(code, NOT_YET)) + ".", 118) + "\n"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(render(), end="")
