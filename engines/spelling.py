"""Options in fio's spelling: from text to the value that an option holds, and back."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from iovigil.engines.coherence import check
from iovigil.engines.options import (
    MAX_INT64,
    SECOND_US,
    SPECS,
    JobOptions,
    JobOptionsError,
    OptionError,
    OptionSpec,
    PerDirection,
)
from iovigil.engines.quantities import parse_count, parse_size, parse_time_us, quoted, spell_size, spell_time

__all__ = ["canonical", "check", "engine_names", "parse_option", "parse_options", "spell_option", "spell_options"]

ALIASES: Final[Mapping[str, str]] = {
    "blocksize": "bs",
    "fill_fs": "fill_device",
    "rate_cycle": "ratecycle",
    "ratemin": "rate_min",
    "readwrite": "rw",
    "timeout": "runtime",
}
DIRECTIONS: Final = (
    "read", "write", "trim", "randread", "randwrite", "randtrim", "rw", "randrw", "trimwrite", "randtrimwrite",
)  # fmt: skip
VALUE_ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "verify": {"0": "none", "crc32c-intel": "crc32c"},
    "continue_on_error": {"0": "none", "1": "all"},
}
FLAGS: Final[Mapping[str, bool]] = {"0": False, "no": False, "false": False, "1": True, "yes": True, "true": True}
UNIT_PARSERS: Final[Mapping[str, Callable[[str], int]]] = {"bytes": parse_size, "bytes/s": parse_size}

# Options that a fio user may bring along; the rest of fio's list is refused as unknown.
# fmt: off
NOT_YET: Final = (
    "ba", "blockalign", "bs_unaligned", "bsrange", "blocksize_range", "bssplit", "buffer_compress_percentage",
    "buffer_pattern", "buffered", "cpus_allowed", "dedupe_percentage", "directory", "exitall", "experimental_verify",
    "file_service_type", "filesize", "flow", "group_reporting", "io_submit_mode", "iodepth_batch",
    "iodepth_batch_complete", "iodepth_batch_complete_max", "iodepth_batch_complete_min", "iodepth_batch_submit",
    "iodepth_low", "ioprio", "latency_percentile", "latency_target", "latency_window", "max_latency", "nice", "nrfiles",
    "numjobs", "offset_increment", "percentage_random", "prio", "prioclass", "random_distribution", "random_generator",
    "rate_process", "read_iolog", "refill_buffers", "rw_sequencer", "rwmixwrite", "serialize_overlap", "startdelay",
    "stonewall", "sync", "sync_file_range", "thread", "thinktime_blocks_type", "thinktime_iotime", "trim_percentage",
    "verify_async", "verify_backlog", "verify_backlog_batch", "verify_dump", "verify_interval", "verify_offset",
    "verify_only", "verify_pattern", "verify_state_load", "verify_state_save", "write_bw_log", "write_iolog",
    "write_iops_log", "write_lat_log", "zero_buffers", "zonemode", "zonerange", "zonesize", "zoneskip",
)
# fmt: on


def canonical(name: str) -> str:
    """Return the name under which JobOptions has the option; raise OptionError when it has none."""
    if name in SPECS:
        return name
    if name in ALIASES:
        return ALIASES[name]
    if name in NOT_YET:
        raise OptionError(name, "is an option of fio that iovigil does not support yet")
    near = difflib.get_close_matches(name, [*SPECS, *ALIASES], n=1)
    raise OptionError(name, f"is not an option{f'; did you mean {near[0]}?' if near else ' of a job'}")


def parse_option(name: str, value: object) -> Any:
    """Return what the option holds for `value`: text, a number, a truth, a list of those, or None for a bare flag.

    Raises OptionError.
    """
    spec = SPECS[canonical(name)]
    try:
        if spec.kind == PerDirection:
            return read_pair(spec, value)
        return READERS.get(spec.kind, read_choice)(spec, value)
    except ValueError as error:
        raise OptionError(name, str(error)) from None


def parse_options(written: Mapping[str, object], defaults: JobOptions | None = None) -> JobOptions:
    """Return `defaults` (fio's, when there are none) with `written` over them.

    Raises JobOptionsError with everything that is wrong.
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
    options = msgspec.structs.replace(defaults or JobOptions(), **values)
    # What a refused value would have meant is not known, so nothing is said of how the values fit together.
    errors = errors or list(check(options))
    if errors:
        raise JobOptionsError(errors)
    return options


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
    text = as_text(value)
    parse = UNIT_PARSERS.get(spec.unit, parse_count)
    number = parse_time_us(text, spec.plain) if spec.unit == "us" else parse(text)
    if spec.ge <= number <= spec.le:
        return number
    spell = spell_time if spec.unit == "us" else partial(spell_number, spec)
    least, most = spell(spec.ge), spell(spec.le)
    if spec.le < MAX_INT64:
        raise ValueError(f"{quoted(text)} is not in {least}..{most}")
    raise ValueError(f"{quoted(text)} is {f'below {least}' if number < spec.ge else f'above {most}'}")


def read_pair(spec: OptionSpec, value: object) -> PerDirection:
    """Read one value for both directions, or one each; as in fio, an empty one leaves the default."""
    parts = list(value) if isinstance(value, (list, tuple)) else as_text(value).split(",")
    if len(parts) > 3:
        raise ValueError("takes at most three values: for reads, writes and trims")
    if all(part in (None, "") for part in parts):
        raise ValueError("needs a value")
    # As in fio, what is not given is as the one before it.
    parts += [parts[-1]] * (3 - len(parts))
    reads, writes, trims = (
        default if part in (None, "") else read_number(spec, part)
        for part, default in zip(parts, spec.default, strict=True)
    )
    return reads, writes, trims


def read_choice(spec: OptionSpec, value: object) -> str:
    text = as_text(value).lower()
    text = VALUE_ALIASES.get(spec.name, {}).get(text, text)
    if text not in spec.choices:
        raise ValueError(f"{quoted(text)} is not one of {', '.join(spec.choices)}")
    return text


def read_text(spec: OptionSpec, value: object) -> str:
    text = as_text(value)
    if not text:
        raise ValueError("needs a value")
    if spec.name == "rw":
        return read_rw(text.lower())
    # Where no engine is to be seen nothing has been built; the child will say so better than we can.
    if spec.name == "ioengine" and engine_names() and text not in engine_names():
        raise ValueError(f"{quoted(text)} is not one of {', '.join(engine_names())}")
    return text


def read_rw(text: str) -> str:
    """Read a direction, and the number that may follow it."""
    word, colon, number = text.partition(":")
    word = {"readwrite": "rw"}.get(word, word)
    if word not in DIRECTIONS:
        raise ValueError(f"{quoted(word)} is not one of {', '.join(DIRECTIONS)}")
    if not colon:
        return word
    is_backwards = number.startswith("-") and not word.startswith("rand")
    sequence = (-1 if is_backwards else 1) * parse_size(number.removeprefix("-") if is_backwards else number)
    return f"{word}:{sequence}" if sequence else word


READERS: Final[Mapping[Any, Callable[[OptionSpec, object], Any]]] = {
    bool: read_flag,
    int: read_number,
    str: read_text,
}


def engine_names() -> Sequence[str]:
    """Return the I/O engines there are: the modules of engines/io."""
    files = Path(__file__).with_name("io").iterdir()
    stems = {file.name.partition(".")[0] for file in files if file.suffix in (".so", ".pyx")}
    return sorted(stems - {"base"})


def spell_number(spec: OptionSpec, number: int) -> str:
    if spec.unit == "us":
        is_plain = spec.plain != SECOND_US and number % spec.plain == 0
        return str(number // spec.plain) if is_plain else spell_time(number)
    return spell_size(number) if spec.unit in UNIT_PARSERS else str(number)


def spell_option(name: str, value: Any) -> str:
    """Return the text that `parse_option` reads back as `value`."""
    spec = SPECS[name]
    if spec.kind == PerDirection:
        reads, writes, trims = (spell_number(spec, number) for number in value)
        if writes == trims:
            return reads if reads == writes else f"{reads},{writes}"
        return f"{reads},{writes},{trims}"
    if spec.kind is bool:
        return str(int(value))
    return spell_number(spec, value) if spec.kind is int else str(value)


def spell_options(options: JobOptions) -> list[str]:
    """Return `options` as arguments of a command line: rw, bs and what differs from fio's defaults."""
    return [
        f"--{name}={spell_option(name, getattr(options, name))}"
        for name, spec in SPECS.items()
        if name in ("rw", "bs") or getattr(options, name) != spec.default
    ]
