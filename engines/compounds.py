"""Options that hold more than one value: how fio writes ranges, splits, distributions, lists."""

import errno
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from iovigil.engines.options import (
    NO_RANGE,
    NO_SPLIT,
    UNIFORM,
    Decimals,
    Deviation,
    Distribution,
    ErrorLists,
    Names,
    Numbers,
    OptionSpec,
    PerDirection,
    Range,
    RangePerDirection,
    Service,
    Split,
    SplitPerDirection,
    VerifyPattern,
)
from iovigil.engines.patterns import parse_offset_pattern, parse_pattern, spell_offset_pattern, spell_pattern
from iovigil.engines.quantities import parse_decimal, parse_size, quoted, spell_decimal, spell_size
from iovigil.engines.scalars import number_of, spell_number

MAX_SPLITS: Final = 64
MAX_ZONES: Final = 256
MAX_LIST: Final = 4096
"""Most CPUs, nodes or percentiles that are written out."""
MAX_CPU: Final = 4095
MAX_ERRNO: Final = 4095
LAST_ERRNO_OF_FIO: Final = 34
"""Above ERANGE fio knows no names."""

# {name: (default of its parameter, limits that are excluded, words for them)}
DISTRIBUTIONS: Final[Mapping[str, tuple[float, Callable[[float], bool], str]]] = {
    "zipf": (1.1, lambda theta: theta > 0 and theta != 1, "a theta above 0 that is not 1"),
    "pareto": (0.2, lambda power: 0 < power < 1, "a power above 0 and below 1"),
    "normal": (0.0, lambda deviation: 0 <= deviation < 100, "a deviation from 0 up to, but not, 100 (per cent)"),
}
ZONED: Final = ("zoned", "zoned_abs")
FILE_ORDERS: Final[Mapping[str, str]] = {
    "roundrobin": "roundrobin",
    "sequential": "sequential",
    "random": "random",
    "zipf": "zipf",
    "pareto": "pareto",
    "normal": "normal",
    "gauss": "normal",
}
SYNC_FLAGS: Final = ("wait_before", "write", "wait_after")
MEMORY_POLICIES: Final[Mapping[str, tuple[int, int]]] = {
    # Fewest and most nodes that follow.
    "default": (0, 0),
    "local": (0, 0),
    "prefer": (1, 1),
    "bind": (1, MAX_LIST),
    "interleave": (1, MAX_LIST),
}
CRITERIA: Final = ("iops", "iops_slope", "bw", "bw_slope", "lat", "lat_slope")
REPLAYED: Final = ("read", "write", "trim", "sync")
REPLAY_ALIASES: Final[Mapping[str, str]] = {"flush": "sync"}
NODE_RANGE: Final = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)
NAME_PART: Final = re.compile(r"\\[\\:]|[^:]", re.DOTALL)
BACKSLASH: Final = re.compile(r"\\(?=[\\:]|$)")
DIRECTIONS: Final = "takes at most three values: for reads, writes and trims"


def per_direction(parts: Sequence[str], default: Sequence[Any], read: Callable[[str], Any]) -> tuple[Any, ...]:
    """Read a value for reads, writes and trims; as in fio an empty one leaves the default.

    What is not given is as the one before it.
    """
    if len(parts) > 3:
        raise ValueError(DIRECTIONS)
    written = [*parts, *[parts[-1]] * (3 - len(parts))]
    return tuple(read(part) if part else left for part, left in zip(written, default, strict=True))


def spell_per_direction(texts: Sequence[str]) -> str:
    reads, writes, trims = texts
    if writes == trims:
        return reads if reads == writes else f"{reads},{writes}"
    return f"{reads},{writes},{trims}"


def split_at(text: str, separators: str = ",") -> list[str]:
    return [part.strip() for part in re.split(f"[{separators}]", text)]


def read_triple(spec: OptionSpec, text: str) -> PerDirection:
    parts = split_at(text)
    if not any(parts):
        raise ValueError("needs a value")
    reads, writes, trims = per_direction(parts, spec.default, lambda part: number_of(spec, part))
    return reads, writes, trims


def spell_triple(spec: OptionSpec, value: PerDirection) -> str:
    return spell_per_direction([spell_number(spec, number) for number in value])


def read_range(spec: OptionSpec, text: str) -> Range:
    """Read least-most; one value is both."""
    bounds = [number_of(spec, part) for part in split_at(text, "-")]
    if len(bounds) > 2:
        raise ValueError(f"{quoted(text)} is not a range: least-most")
    least, most = bounds[0], bounds[-1]
    if least > most:
        raise ValueError(f"{quoted(text)} begins above its end: write the lesser first")
    return least, most


def spell_range(spec: OptionSpec, value: Range) -> str:
    least, most = (spell_number(spec, number) for number in value)
    return least if least == most else f"{least}-{most}"


def read_ranges(spec: OptionSpec, text: str) -> RangePerDirection:
    def read(part: str) -> Range:
        # fio takes a colon for the dash.
        part = part.replace(":", "-")
        if "-" not in part:
            raise ValueError(f"{quoted(part)} is not a range, such as 4k-64k")
        return read_range(spec, part)

    reads, writes, trims = per_direction(split_at(text), NO_RANGE, read)
    return reads, writes, trims


def spell_ranges(spec: OptionSpec, value: RangePerDirection) -> str:
    bounds = ([spell_number(spec, number) for number in pair] if any(pair) else [] for pair in value)
    return spell_per_direction(["-".join(pair) for pair in bounds])


def read_splits(spec: OptionSpec, text: str) -> SplitPerDirection:
    reads, writes, trims = per_direction(split_at(text), NO_SPLIT, lambda part: read_split(spec, part))
    return reads, writes, trims


def read_split(spec: OptionSpec, text: str) -> Split:
    """Read size/share:size/share; sizes without a share divide what is left among them."""
    sizes, shares = [], []
    for part in split_at(text, ":"):
        size, _, share = part.partition("/")
        sizes.append(number_of(spec, size.strip()))
        shares.append(read_share(share.strip()))
    if len(sizes) > MAX_SPLITS:
        raise ValueError(f"has {len(sizes)} sizes: at most {MAX_SPLITS}")
    return tuple(zip(sizes, (int(share) for share in completed(shares)), strict=True))


def read_share(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,3}", text, re.ASCII) or int(text) > 100:
        raise ValueError(f"{quoted(text)} is not a share: a whole number of per cent, 0 to 100")
    return int(text)


def completed(shares: Sequence[int | None]) -> list[int]:
    """Return the shares with the rest divided among those that are None; together they are 100."""
    given = sum(share for share in shares if share is not None)
    open_places = [place for place, share in enumerate(shares) if share is None]
    rest = 100 - given
    if rest < 0 or (rest > 0 and not open_places):
        raise ValueError(f"the shares make {given}: they have to make 100")
    if rest < len(open_places):
        raise ValueError(f"the shares given leave {rest} for {len(open_places)} without one")
    whole = [0 if share is None else share for share in shares]
    for number, place in enumerate(open_places):
        # What does not divide evenly goes to the last ones.
        whole[place] = (rest + number) // len(open_places)
    return whole


def spell_splits(spec: OptionSpec, value: SplitPerDirection) -> str:
    return spell_per_direction(
        [":".join(f"{spell_number(spec, size)}/{share}" for size, share in split) for split in value]
    )


def read_distribution(_spec: OptionSpec, text: str) -> Distribution:
    name, _, rest = text.lower().partition(":")
    if name == "random" and not rest:
        return UNIFORM
    if name in ZONED:
        return name, 0.0, -1.0, read_zones(name, rest)
    if name not in DISTRIBUTIONS:
        raise ValueError(f"{quoted(name)} is not one of random, {', '.join([*DISTRIBUTIONS, *ZONED])}")
    default, is_allowed, words = DISTRIBUTIONS[name]
    written, _, centre = rest.partition(":")
    parameter = parse_decimal(written) if written else default
    if not is_allowed(parameter):
        raise ValueError(f"{name} takes {words}, not {written or default}")
    if not centre:
        return name, parameter, -1.0, ()
    if not 0 <= parse_decimal(centre) <= 1:
        raise ValueError(f"the centre {centre} is not in 0..1, a share of the region")
    return name, parameter, parse_decimal(centre), ()


def read_zones(name: str, text: str) -> tuple[tuple[float, float], ...]:
    """Read share/length:share/length; a length is in per cent of the region, or for zoned_abs a size."""
    if not text:
        raise ValueError(f"{name} needs its zones, such as {name}:60/{'10' if name == 'zoned' else '20g'}:40/")
    if "," in text:
        raise ValueError("zones of their own for reads, writes and trims are not supported: give one list")
    shares, lengths = [], []
    for part in split_at(text, ":"):
        share, _, length = part.partition("/")
        shares.append(read_share(share.strip()))
        lengths.append(length.strip())
    if len(shares) > MAX_ZONES:
        raise ValueError(f"has {len(shares)} zones: at most {MAX_ZONES}")
    if name == "zoned":
        extents = [float(length) for length in completed_lengths([read_share(length) for length in lengths])]
    else:
        extents = [float(parse_size(length)) for length in lengths]
    if any(extent <= 0 for extent in extents):
        raise ValueError("a zone without a length cannot be reached: leave it out")
    return tuple(zip(map(float, completed(shares)), extents, strict=True))


def completed_lengths(lengths: Sequence[int | None]) -> Sequence[int]:
    """As in fio, zones may leave a part of the region untouched."""
    given = sum(length for length in lengths if length is not None)
    if None in lengths:
        return completed(lengths)
    if given > 100:
        raise ValueError(f"the zones make {given} per cent of the region: at most 100")
    return [length for length in lengths if length is not None]


def spell_distribution(_spec: OptionSpec, value: Distribution) -> str:
    name, parameter, centre, zones = value
    if name == "random":
        return name
    if name in ZONED:
        spell = spell_decimal if name == "zoned" else lambda length: spell_size(int(length))
        return ":".join([name, *(f"{spell_decimal(share)}/{spell(length)}" for share, length in zones)])
    return ":".join([name, spell_decimal(parameter), *([spell_decimal(centre)] if centre >= 0 else [])])


def read_service(_spec: OptionSpec, text: str) -> Service:
    """Read order:number; of zipf, pareto and normal the number is their parameter."""
    name, _, number = text.lower().partition(":")
    if name not in FILE_ORDERS:
        raise ValueError(f"{quoted(name)} is not one of {', '.join(FILE_ORDERS)}")
    order = FILE_ORDERS[name]
    if not number:
        return order, 0.0
    if order in DISTRIBUTIONS:
        _, is_allowed, words = DISTRIBUTIONS[order]
        parameter = parse_decimal(number)
        if not is_allowed(parameter):
            raise ValueError(f"{name} takes {words}, not {number}")
        return order, parameter
    if not re.fullmatch("[0-9]{1,9}", number, re.ASCII):
        raise ValueError(f"{quoted(number)} is not a number of I/Os")
    return order, float(number)


def spell_service(_spec: OptionSpec, value: Service) -> str:
    order, number = value
    return f"{order}:{spell_decimal(number)}" if number else order


def read_names(_spec: OptionSpec, text: str) -> Names:
    r"""Read names separated by colons; a colon of a name is written \:."""
    parts = [""]
    place = 0
    while place < len(text):
        match = NAME_PART.match(text, place)
        if match is None:
            parts.append("")
            place += 1
            continue
        piece = match[0]
        parts[-1] += piece[1] if len(piece) == 2 else piece
        place = match.end()
    names: list[str] = []
    for part in parts:
        # Names of devices under /dev/disk hold colons that nobody writes a backslash for.
        if names and names[-1].startswith("/dev/disk/") and not part.startswith("/"):
            names[-1] += f":{part}"
        else:
            names.append(part)
    if "" in names:
        raise ValueError(f"{quoted(text)} has an empty name between its colons")
    if any("\0" in name for name in names):
        raise ValueError(f"{quoted(text)} has a NUL byte")
    return tuple(names)


def spell_names(_spec: OptionSpec, value: Names) -> str:
    return ":".join(BACKSLASH.sub(r"\\\\", name).replace(":", r"\:") for name in value)


def read_one_name(spec: OptionSpec, text: str) -> str:
    """Read what fio takes several of, separated by colons."""
    names = read_names(spec, text)
    if len(names) > 1:
        raise ValueError(
            f"{quoted(text)} names {len(names)}: one is supported; write a colon that belongs to it as \\:"
        )
    return names[0]


def spell_one_name(spec: OptionSpec, value: str) -> str:
    return spell_names(spec, (value,))


def read_replayed(_spec: OptionSpec, text: str) -> Names:
    names = [REPLAY_ALIASES.get(name, name) for name in split_at(text.lower(), ",:")]
    for name in names:
        if name not in REPLAYED:
            raise ValueError(f"{quoted(name)} is not one of {', '.join(REPLAYED)}")
    return tuple(dict.fromkeys(names))


def read_numbers(_spec: OptionSpec, text: str) -> Numbers:
    """Read 0-3,7; all is any, as nothing is."""
    return () if text.lower() == "all" else numbers_of(text)


def numbers_of(text: str) -> Numbers:
    numbers: set[int] = set()
    for part in split_at(text, ",:"):
        match = NODE_RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{quoted(part)} is not a number or a range, such as 0-3,7")
        least, most = int(match[1]), int(match[2] or match[1])
        if least > most:
            raise ValueError(f"{quoted(part)} begins above its end: write the lesser first")
        if most > MAX_CPU:
            raise ValueError(f"{most} is above {MAX_CPU}")
        numbers.update(range(least, most + 1))
    return tuple(sorted(numbers))


def spell_numbers(_spec: OptionSpec, value: Numbers) -> str:
    """Spell ascending numbers, neighbours as a range."""
    runs: list[list[int]] = []
    for number in value:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def read_decimals(spec: OptionSpec, text: str) -> Decimals:
    values = [parse_decimal(part) for part in split_at(text, ":,")]
    if len(values) > MAX_LIST:
        raise ValueError(f"has {len(values)} values: at most {MAX_LIST}")
    for value in values:
        if not spec.ge <= value <= spec.le:
            raise ValueError(f"{spell_decimal(value)} is not in {spec.ge}..{spec.le}")
    return tuple(values)


def spell_decimals(_spec: OptionSpec, value: Decimals) -> str:
    return ":".join(map(spell_decimal, value))


def read_errors(_spec: OptionSpec, text: str) -> ErrorLists:
    """Read lists of errno values for reads, writes and verify; a list that is not given is empty."""
    parts = split_at(text)
    if len(parts) > 3:
        raise ValueError("takes at most three lists: for reads, writes and verify")
    reads, writes, verify = (
        [read_errno(name) for name in split_at(part, ":")] if part else [] for part in parts + [""] * (3 - len(parts))
    )
    return tuple(reads), tuple(writes), tuple(verify)


def read_errno(text: str) -> int:
    number = getattr(errno, text.upper(), None) if re.fullmatch("[A-Za-z][A-Za-z0-9]*", text) else None
    if number is None and re.fullmatch("[0-9]{1,4}", text, re.ASCII):
        number = int(text)
    if not isinstance(number, int) or not 0 < number <= MAX_ERRNO:
        raise ValueError(f"{quoted(text)} is not an error: a name such as EIO, or its number")
    return number


def spell_errors(_spec: OptionSpec, value: ErrorLists) -> str:
    return ",".join(":".join(map(spell_errno, numbers)) for numbers in value).rstrip(",")


def spell_errno(number: int) -> str:
    return errno.errorcode.get(number, str(number)) if number <= LAST_ERRNO_OF_FIO else str(number)


def read_deviation(_spec: OptionSpec, text: str) -> Deviation:
    criterion, _, limit = text.lower().partition(":")
    if criterion not in CRITERIA:
        raise ValueError(f"{quoted(criterion)} is not one of {', '.join(CRITERIA)}")
    is_percent = limit.endswith("%")
    if not limit:
        raise ValueError(f"needs a limit: {criterion}:2%")
    if is_percent:
        value = parse_decimal(limit[:-1])
    else:
        value = float(parse_size(limit)) if criterion.startswith("bw") else parse_decimal(limit)
    if value < 0 or not math.isfinite(value):
        raise ValueError(f"the limit {limit} is below 0")
    return criterion, value, is_percent


def spell_deviation(_spec: OptionSpec, value: Deviation) -> str:
    criterion, limit, is_percent = value
    if not criterion:
        return ""
    if criterion.startswith("bw") and not is_percent:
        return f"{criterion}:{spell_size(int(limit))}"
    return f"{criterion}:{spell_decimal(limit)}{'%' if is_percent else ''}"


def read_sync_flags(_spec: OptionSpec, text: str) -> tuple[Names, int]:
    flags, _, number = text.lower().partition(":")
    names = split_at(flags)
    for name in names:
        if name not in SYNC_FLAGS:
            raise ValueError(f"{quoted(name)} is not one of {', '.join(SYNC_FLAGS)}")
    if not re.fullmatch("[0-9]{1,18}", number, re.ASCII) or int(number) == 0:
        raise ValueError(f"needs a number of writes: {flags}:8")
    return tuple(dict.fromkeys(names)), int(number)


def spell_sync_flags(_spec: OptionSpec, value: tuple[Names, int]) -> str:
    flags, number = value
    return f"{','.join(flags)}:{number}" if flags else ""


def read_memory_policy(_spec: OptionSpec, text: str) -> tuple[str, Numbers]:
    mode, colon, nodes = text.lower().partition(":")
    if mode not in MEMORY_POLICIES:
        raise ValueError(f"{quoted(mode)} is not one of {', '.join(MEMORY_POLICIES)}")
    fewest, most = MEMORY_POLICIES[mode]
    numbers = numbers_of(nodes) if colon else ()
    if not fewest <= len(numbers) <= most:
        raise ValueError(f"{mode} takes {('no', 'one')[most] if most < 2 else 'at least one'} node: {quoted(text)}")
    return mode, numbers


def spell_memory_policy(spec: OptionSpec, value: tuple[str, Numbers]) -> str:
    mode, nodes = value
    return f"{mode}:{spell_numbers(spec, nodes)}" if nodes else mode


class Notation(NamedTuple):
    """How a kind of option is read and spelled."""

    read: Callable[[OptionSpec, str], Any]
    spell: Callable[[OptionSpec, Any], str]
    separator: str
    """What stands between the values of a list in a configuration file."""
    word: str
    """What the kind is called."""


NOTATIONS: Final[Mapping[Any, Notation]] = {
    PerDirection: Notation(read_triple, spell_triple, ",", "triple"),
    Range: Notation(read_range, spell_range, "-", "range"),
    RangePerDirection: Notation(read_ranges, spell_ranges, ",", "triple of ranges"),
    SplitPerDirection: Notation(read_splits, spell_splits, ",", "triple of splits"),
    Distribution: Notation(read_distribution, spell_distribution, ":", "distribution"),
    Service: Notation(read_service, spell_service, ":", "order"),
    Names: Notation(read_names, spell_names, ":", "names"),
    Numbers: Notation(read_numbers, spell_numbers, ",", "numbers"),
    Decimals: Notation(read_decimals, spell_decimals, ":", "decimals"),
    ErrorLists: Notation(read_errors, spell_errors, ",", "errors"),
    Deviation: Notation(read_deviation, spell_deviation, ":", "criterion"),
    tuple[Names, int]: Notation(read_sync_flags, spell_sync_flags, ",", "flags"),
    tuple[str, Numbers]: Notation(read_memory_policy, spell_memory_policy, ":", "policy"),
    VerifyPattern: Notation(
        lambda _spec, text: parse_offset_pattern(text),
        lambda _spec, value: spell_offset_pattern(*value),
        "",
        "pattern",
    ),
    bytes: Notation(lambda _spec, text: parse_pattern(text), lambda _spec, value: spell_pattern(value), "", "pattern"),
}
NOTATIONS_BY_NAME: Final[Mapping[str, Notation]] = {
    "directory": Notation(read_one_name, spell_one_name, "", "name"),
    "read_iolog": Notation(read_one_name, spell_one_name, "", "name"),
    "replay_skip": Notation(read_replayed, lambda _spec, value: ",".join(value), ",", "names"),
}


def notation_of(spec: OptionSpec) -> Notation | None:
    """Return how an option of more than one value is written, None for any other."""
    return NOTATIONS_BY_NAME.get(spec.name) or NOTATIONS.get(spec.kind)


def joined(notation: Notation, values: Iterable[str]) -> str:
    """Return a list of a configuration file as the text it stands for."""
    if notation.read is read_names:
        return notation.separator.join(value.replace("\\:", ":").replace(":", "\\:") for value in values)
    return notation.separator.join(values)
