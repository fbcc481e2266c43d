"""The page of all options of a job: `python -m iovigil.agent.config.reference > docs/options.md`."""

from collections.abc import Iterator
from typing import Final

from iovigil.agent.config import kinds
from iovigil.agent.config.model import (
    PROBE_DEFAULTS,
    AgentSettings,
    ConfigKey,
    DiskSettings,
    FactSettings,
    HistorySettings,
    LimitSettings,
    OtlpSettings,
    PressureSettings,
    ProbeSettings,
    RegionSettings,
    SelectorSettings,
    TextfileSettings,
    WebSettings,
    WindowSettings,
    keys_of,
)
from iovigil.agent.config.rules import NOT_IN_A_PROBE
from iovigil.agent.config.sections import TOP_KEYS
from iovigil.engines.compounds import notation_of
from iovigil.engines.options import (
    MAX_INT64,
    SECOND_US,
    SPECS,
    Decimals,
    OptionSpec,
    PerDirection,
    Range,
    RangePerDirection,
    SplitPerDirection,
)
from iovigil.engines.quantities import spell_time
from iovigil.engines.scalars import ALL_OF_IT, UNIT_PARSERS, spell_number
from iovigil.engines.spelling import ALIASES, TRANSLATIONS, VALUE_ALIASES, spell_option

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
| triple | `100` for reads, writes and trims, or one each: `100,50,20`. What is left out is as the one before it \
(`100,50`), what is left empty keeps the default (`,50`). In a configuration file also `[100, 50]`. |
| range | `4k-64k`: drawn between the two. |
| split | `4k/60:64k/40`: sizes and their shares in per cent; those without a share divide the rest. |
| share | Where a size may be a share of the target, `20%`: a whole number of per cent. |
| distribution | `random`, `zipf:1.2`, `pareto:0.2`, `normal:20`, each with `:0.5` for its centre; \
`zoned:60/10:40/90`: share of the I/Os over share of the region; `zoned_abs:60/20g:40/80g`. |
| order | `roundrobin`, `sequential` or `random`, with `:8` for eight I/Os to a file; `zipf:1.2`, \
`pareto:0.2`, `normal:20`. |
| names | `a:b`; a colon in a name is `\\:`. |
| numbers | `0-3,7`. |
| decimals | `50:99:99.9`. |
| errors | `EIO:ENOSPC,EIO`: lists for reads, writes and verify, by name or number. |
| criterion | `iops:2%`, `bw:10m`, `iops_slope:0.3%`: what is looked at, and how far it may stray. |
| flags | `wait_before,write:8`: what sync_file_range is told, and after how many writes. |
| policy | `bind:0-1`, `prefer:0`, `interleave:0,1`, `local`, `default`. |
| pattern | `"text"`, `0xhex`, numbers and `'file'`, one after another. |

**A trap that is not copied.** With its default `kb_base=1024` fio reads `k` and `kb` as 1024, but `KiB` as 1000 and
`GiB` as 10^9. Here `1GiB` is 2^30 bytes. fio 3.33 takes `1.5k` for a single byte; here it is 1536. Sizes that are to
mean the same to both are best written `4k`, `1g`, `1536`.
"""

CLOSING: Final = """\
What else fio has, and why it is not taken or has no effect, is in [fio-compatibility.md](fio-compatibility.md).
"""


def render() -> str:
    return "\n".join([OPENING, *sections(), *options(), CLOSING])


def sections() -> Iterator[str]:
    yield "## The configuration file\n"
    for title, opening, settings in (
        ("agent", TOP_KEYS["agent"], AgentSettings),
        ("web", "Of the agent. The web configuration file is described in [web.md](web.md).", WebSettings),
        ("pressure", "Of the agent.", PressureSettings),
        ("history", "Of the agent.", HistorySettings),
        ("textfile", "Of the agent.", TextfileSettings),
        ("otlp", "Of the agent.", OtlpSettings),
        ("disks", TOP_KEYS["disks"], DiskSettings),
        ("disks, selected", "Instead of `file` or `device`, an entry may have `match`.", SelectorSettings),
        ("match, exclude", "Of an entry that selects disks.", FactSettings),
        ("region", "Of a disk, beside `device`.", RegionSettings),
        ("probes", TOP_KEYS["probes"], ProbeSettings),
        ("windows", "Of a probe: a list.", WindowSettings),
        ("limits", "Of the agent and of probes.", LimitSettings),
    ):
        yield f"### `{title}`\n\n{opening} {' '.join((settings.__doc__ or '').split())}\n"
        yield "| key | default | meaning |\n| --- | --- | --- |"
        for key in keys_of(settings):
            default = "required" if key.is_required else code(default_text(key) if key.kind else "")
            yield f"| `{key.name}` | {default} | {key.text} |"
        yield ""
    yield (
        "A run that verifies writes for at most half of its runtime; checking what it wrote may then take as long "
        "as all of\nruntime, so that `every` has to leave room for half as much again.\n"
    )


def default_text(key: ConfigKey) -> str:
    default = key.default
    if isinstance(default, bool):
        return "true" if default else "false"
    if key.kind is kinds.INTERVAL:
        return spell_time(round(default * SECOND_US))
    return ", ".join(default) if isinstance(default, tuple) else str(default or "")


def options() -> Iterator[str]:
    yield "## Options of a job\n"
    yield "The default is that of `iovigil run`, which is fio's; where a probe has another, both are given.\n"
    yield "| option | kind | default | allowed | meaning |\n| --- | --- | --- | --- | --- |"
    for spec in SPECS.values():
        aliases = [alias for alias, of in ALIASES.items() if of == spec.name]
        names = [spec.name, *(alias for alias in aliases if alias not in TRANSLATIONS)]
        meaning = spec.text + (f" For {', '.join(map(code, spec.engines))}." if spec.engines else "")
        meaning += " Not in a configuration file." if spec.name in NOT_IN_A_PROBE else ""
        meaning += "".join(f" {TRANSLATIONS[alias].__doc__}" for alias in aliases if alias in TRANSLATIONS)
        meaning = meaning.replace("|", "\\|")
        cells = (", ".join(map(code, names)), kind(spec), default_of(spec), allowed(spec), meaning)
        yield f"| {' | '.join(cells)} |"
    yield ""


def kind(spec: OptionSpec) -> str:
    if spec.choices:
        return "choice"
    if spec.kind in (bool, str):
        return "flag" if spec.kind is bool else "text"
    notation = notation_of(spec)
    if notation and spec.kind not in (PerDirection, Range):
        return notation.word
    single = scalar_kind(spec)
    if notation is None:
        return single
    return f"{notation.word} of {single.replace('size', 'sizes').replace('count', 'counts').replace('time', 'times')}"


def scalar_kind(spec: OptionSpec) -> str:
    if spec.unit == "us":
        return f"time, bare: {spell_time(spec.plain)[1:]}"
    if spec.kind is float:
        return "decimal"
    if spec.unit not in UNIT_PARSERS:
        return "count"
    share = " or share" if spec.ge == ALL_OF_IT else ""
    return f"size{' a second' if spec.unit == 'bytes/s' else ''}{share}"


def default_of(spec: OptionSpec) -> str:
    default = code(spell_option(spec.name, spec.default))
    in_a_probe = getattr(PROBE_DEFAULTS, spec.name)
    return default if in_a_probe == spec.default else f"{default}; probe: {code(spell_option(spec.name, in_a_probe))}"


def allowed(spec: OptionSpec) -> str:
    if spec.choices:
        also = (f"{code(alias)} is {code(of)}" for alias, of in VALUE_ALIASES.get(spec.name, {}).items())
        return "; ".join([", ".join(map(code, spec.choices)), *also])
    if spec.kind not in (int, float, PerDirection, Range, RangePerDirection, SplitPerDirection, Decimals):
        return ""
    spell = spell_time if spec.unit == "us" else lambda number: spell_number(spec, number)
    percent = " %" if spec.unit == "%" else ""
    if spec.ge == ALL_OF_IT:
        return "from 0, or 1% to 100%"
    return f"from {spell(spec.ge)}" if spec.le == MAX_INT64 else f"{spell(spec.ge)} to {spell(spec.le)}{percent}"


def code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(render(), end="")
