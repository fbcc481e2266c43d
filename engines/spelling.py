"""Options in fio's spelling: from text to the value that an option holds, and back."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from iovigil.engines import foreign
from iovigil.engines.coherence import check
from iovigil.engines.compounds import Notation, joined, notation_of
from iovigil.engines.options import MAX_INT64, SPECS, JobOptions, JobOptionsError, Names, OptionError, OptionSpec
from iovigil.engines.quantities import parse_count, parse_size, quoted, spell_decimal
from iovigil.engines.scalars import UNIT_PARSERS, decimal_of, number_of, spell_number

__all__ = [
    "UNIT_PARSERS",
    "canonical",
    "check",
    "effect_missing",
    "engine_names",
    "parse_option",
    "parse_options",
    "read_options",
    "spell_number",
    "spell_option",
    "spell_options",
]

ENGINE_GROUP: Final = "iovigil.engines"
"""Of entry points: `name = package.module`, where the module has a class Engine."""
EXTERNAL: Final = "external:"
"""What stands before the path of an engine that is a file."""

ALIASES: Final[Mapping[str, str]] = {
    "ba": "blockalign",
    "blocksize": "bs",
    "blocksize_range": "bsrange",
    "blocksize_unaligned": "bs_unaligned",
    "buffered": "direct",
    "cpumask": "cpus_allowed",
    "disable_bw": "disable_bw_measurement",
    "fileoffset": "offset",
    "fill_fs": "fill_device",
    "io_limit": "io_size",
    "iodepth_batch": "iodepth_batch_submit",
    "iodepth_batch_complete": "iodepth_batch_complete_min",
    "iomem": "mem",
    "log_max_value": "log_window_value",
    "mem_align": "iomem_align",
    "nr_files": "nrfiles",
    "rate_cycle": "ratecycle",
    "ratemin": "rate_min",
    "readwrite": "rw",
    "rwmixwrite": "rwmixread",
    "ss": "steadystate",
    "ss_dur": "steadystate_duration",
    "ss_interval": "steadystate_check_interval",
    "ss_ramp": "steadystate_ramp_time",
    "startdelay": "start_delay",
    "timeout": "runtime",
    "wait_for_previous": "stonewall",
}
# fio's own name for an option, where ours is one of its others.
NAMES_IN_FIO: Final[Mapping[str, str]] = {
    "blockalign": "ba",
    "hugepage_size": "hugepage-size",
    "iodepth_batch_submit": "iodepth_batch",
    "ratecycle": "rate_cycle",
    "start_delay": "startdelay",
}
DIRECTIONS: Final = (
    "read", "write", "trim", "randread", "randwrite", "randtrim", "rw", "randrw", "trimwrite", "randtrimwrite",
)  # fmt: skip
VALUE_ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "continue_on_error": {"0": "none", "1": "all"},
    "fadvise_hint": {"0": "none", "1": "auto"},
    "log_window_value": {"0": "avg", "1": "max", "2": "both"},
    "sync": {"0": "none", "1": "sync"},
    "unified_rw_reporting": {"0": "none", "1": "mixed", "2": "both"},
    "verify": {"0": "none", "crc32c-intel": "crc32c"},
}
ENGINE_ALIASES: Final[Mapping[str, str]] = {"aio": "libaio", "linuxaio": "libaio"}
NAMED_AFTER_JOB: Final = ("write_bw_log", "write_hist_log", "write_iops_log", "write_lat_log")
FLAGS: Final[Mapping[str, bool]] = {"0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}


def canonical(name: str) -> str:
    """Return the name under which JobOptions has the option; raise OptionError when it has none."""
    plain = name.replace("-", "_")
    if plain in SPECS:
        return plain
    if plain in ALIASES:
        return ALIASES[plain]
    if reason := foreign.reason_against(plain):
        raise OptionError(name, reason)
    known = [*SPECS, *ALIASES, *foreign.UNSUPPORTED, *foreign.WITHOUT_EFFECT]
    near = difflib.get_close_matches(plain, known, n=1)
    raise OptionError(name, f"is not an option{f'; did you mean {near[0]}?' if near else ' of a job'}")


def effect_missing(name: str, value: str) -> str | None:
    """Return why an option of fio may be passed over: "" where it asks for nothing, None where it may not be."""
    plain = name.replace("-", "_")
    if plain in SPECS or plain in ALIASES:
        return None
    if foreign.is_harmless(plain, value):
        return ""
    return foreign.WITHOUT_EFFECT.get(plain)


def parse_option(name: str, value: object) -> Any:
    """Return what the option holds for `value`: text, a number, a truth, a list of those, or None for a bare flag.

    Raises OptionError.
    """
    option = canonical(name)
    spec = SPECS[option]
    try:
        if translate := TRANSLATIONS.get(name.replace("-", "_")):
            value = translate(as_text(value) if value is not None else "1")
        if notation := notation_of(spec):
            return read_compound(notation, spec, value)
        return READERS.get(spec.kind, read_choice)(spec, value)
    except ValueError as error:
        raise OptionError(name, str(error)) from None


def parse_options(written: Mapping[str, object], defaults: JobOptions | None = None) -> JobOptions:
    """Return `defaults` (fio's, when there are none) with `written` over them.

    Raises JobOptionsError with everything that is wrong.
    """
    options = read_options(written, defaults)
    if errors := check(options):
        raise JobOptionsError(errors)
    return options


def read_options(written: Mapping[str, object], defaults: JobOptions | None = None) -> JobOptions:
    """Do what `parse_options` does, but do not ask whether the options make sense together.

    What a refused value would have meant is not known, so that nothing could be said of it.
    """
    errors: list[OptionError] = []
    values: dict[str, Any] = {}
    written_as: dict[str, str] = {}
    for name, value in written.items():
        try:
            option = canonical(name)
            if option in written_as:
                raise OptionError(name, f"is the same option as {written_as[option]}: give one of them")
            written_as[option] = name
            values[option] = parse_option(name, value)
        except OptionError as error:
            errors.append(error)
    if errors:
        raise JobOptionsError(errors)
    options = msgspec.structs.replace(defaults or JobOptions(), **values)
    if options.verify == "none" and options.verify_pattern[0]:
        options = msgspec.structs.replace(options, verify="pattern_hdr")  # as in fio
    return name_logs(options, values)


def name_logs(options: JobOptions, values: Mapping[str, Any]) -> JobOptions:
    """As in fio, a log that is asked for without a name is named after the job."""
    unnamed = {name: options.name for name in NAMED_AFTER_JOB if values.get(name) == ""}
    return msgspec.structs.replace(options, **unnamed) if unnamed else options


def as_text(value: object) -> str:
    if value is None:
        raise ValueError("needs a value")
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    raise ValueError("takes one value, not a list")


def read_flag(_: OptionSpec, value: object) -> bool:
    text = "1" if value is None else as_text(value)
    if text.lower() not in FLAGS:
        raise ValueError(f"{quoted(text)} is neither yes nor no: write 1 or 0")
    return FLAGS[text.lower()]


def read_number(spec: OptionSpec, value: object) -> int:
    return number_of(spec, as_text(value))


def read_decimal(spec: OptionSpec, value: object) -> float:
    return decimal_of(spec, as_text(value))


def read_compound(notation: Notation, spec: OptionSpec, value: object) -> Any:
    """Read an option of more than one value: text, or in a configuration file a list of texts."""
    if isinstance(value, (list, tuple)):
        text = joined(notation, ["" if part is None else as_text(part) for part in value])
    else:
        # Blanks at the ends may be those of a file's name.
        text = value if isinstance(value, str) else as_text(value)
    if not text.strip():
        if spell_option(spec.name, spec.default):
            raise ValueError("needs a value")
        return spec.default
    return notation.read(spec, text if spec.kind in (Names, str) else text.strip())


def read_choice(spec: OptionSpec, value: object) -> str:
    text = as_text(value).lower()
    text = VALUE_ALIASES.get(spec.name, {}).get(text, text)
    if text not in spec.choices:
        refuse_foreign(spec.name, text)
        raise ValueError(f"{quoted(text)} is not one of {', '.join(spec.choices)}")
    return text


def refuse_foreign(option: str, text: str) -> None:
    """Raise ValueError with the reason when fio has a value that we have not."""
    if reason := foreign.VALUES.get(option, {}).get(text):
        raise ValueError(f"{text} {reason}")


def read_text(spec: OptionSpec, value: object) -> str:
    text = as_text(value)
    if not text and spec.default:
        raise ValueError("needs a value")
    if "\0" in text:
        raise ValueError(f"{quoted(text)} has a NUL byte")
    if spec.name == "rw":
        return read_rw(text.lower())
    if spec.name == "ioengine":
        return read_engine(text)
    return text


def read_engine(text: str) -> str:
    name = ENGINE_ALIASES.get(text, text)
    # Where no engine is to be seen nothing has been built; the child will say so better than we can.
    if name.startswith(EXTERNAL) or name in plugin_names():
        return name
    if engine_names() and name not in engine_names():
        if name in foreign.ENGINES:
            raise ValueError(f"{name} {foreign.ENGINES[name]}")
        raise ValueError(f"{quoted(text)} is not one of {', '.join(engine_names())}")
    return name


def read_rw(text: str) -> str:
    """Read a direction, and the number that may follow it."""
    word, colon, number = text.partition(":")
    word = {"readwrite": "rw"}.get(word, word)
    if word not in DIRECTIONS:
        refuse_foreign("rw", word)
        raise ValueError(f"{quoted(word)} is not one of {', '.join(DIRECTIONS)}")
    if not colon:
        return word
    is_random = word.startswith("rand")
    is_backwards = number.startswith("-") and not is_random
    sequence = (-1 if is_backwards else 1) * parse_size(number.removeprefix("-") if is_backwards else number)
    if sequence < 0 and is_random:
        raise ValueError(f"{quoted(number)} is below 0: it counts the I/Os from one offset to the next")
    if abs(sequence) > MAX_INT64:
        raise ValueError(f"{quoted(number)} is above {MAX_INT64}")
    return f"{word}:{sequence}" if sequence else word


def inverse_flag(text: str) -> str:
    """buffered is what direct is not."""
    if text.lower() not in FLAGS:
        raise ValueError(f"{quoted(text)} is neither yes nor no: write 1 or 0")
    return str(int(not FLAGS[text.lower()]))


def remainder(text: str) -> str:
    """rwmixwrite is the share that rwmixread leaves."""
    share = parse_count(text)
    if not 0 <= share <= 100:
        raise ValueError(f"{quoted(text)} is not in 0..100")
    return str(100 - share)


def mask_numbers(text: str) -> str:
    """cpumask is cpus_allowed as a number with a bit for each."""
    mask = parse_count(text)
    if mask < 0:
        raise ValueError(f"{quoted(text)} is below 0")
    return ",".join(str(bit) for bit in range(mask.bit_length()) if mask >> bit & 1)


# Options that say what another says, otherwise.
TRANSLATIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "buffered": inverse_flag,
    "cpumask": mask_numbers,
    "rwmixwrite": remainder,
}
READERS: Final[Mapping[Any, Callable[[OptionSpec, object], Any]]] = {
    bool: read_flag,
    float: read_decimal,
    int: read_number,
    str: read_text,
}


def plugin_names() -> Sequence[str]:
    """Return the I/O engines that other installed packages bring along."""
    return sorted({point.name for point in entry_points(group=ENGINE_GROUP)})


def engine_names() -> Sequence[str]:
    """Return the I/O engines there are: the modules of engines/io."""
    files = Path(__file__).with_name("io").iterdir()
    stems = {file.name.partition(".")[0] for file in files if file.suffix in (".so", ".pyx")}
    return sorted(stems - {"base"})


def spell_option(name: str, value: Any) -> str:
    """Return the text that `parse_option` reads back as `value`."""
    spec = SPECS[name]
    if notation := notation_of(spec):
        return notation.spell(spec, value)
    if spec.kind is bool:
        return str(int(value))
    if spec.kind is float:
        return spell_decimal(value)
    return spell_number(spec, value) if spec.kind is int else str(value)


def spell_options(options: JobOptions) -> list[str]:
    """Return `options` as arguments of a command line: rw, bs and what differs from fio's defaults."""
    return [
        f"--{NAMES_IN_FIO.get(name, name)}={spell_option(name, getattr(options, name))}"
        for name, spec in SPECS.items()
        if name in ("rw", "bs") or getattr(options, name) != spec.default
    ]
