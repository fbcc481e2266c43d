"""fio's iolog: what each line says, and what of each file the whole of it touches."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The values of io_u's Ddir.
READ, WRITE, TRIM, SYNC, DATASYNC = range(5)
ACTIONS = {"read": READ, "write": WRITE, "trim": TRIM, "sync": SYNC, "datasync": DATASYNC}

MAX_FILES = 1024
MAX_LENGTH = 1 << 30  # of a read or a write: what bs may be
MAX_VALUE = (1 << 63) - 1
MAX_LINE = 8192  # characters; the longest name of a file is 4096
BLKTRACE_MAGICS = (b"\x07tae", b"eat\x07")
"""How a binary trace begins, in either byte order."""


class IologError(ValueError):
    """A log that cannot be replayed; the text says where and why."""


class FileUse:
    """What a log does to one file."""

    __slots__ = ("end", "is_changed", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.end = 0
        """Behind the last byte that is read, written or trimmed."""
        self.is_changed = False
        """Whether anything of it is written or trimmed."""

    def __repr__(self) -> str:
        return f"FileUse({self.name!r}, end={self.end}, is_changed={self.is_changed})"


class Survey:
    """What a whole log does."""

    __slots__ = ("duration_us", "files", "ios", "longest")

    def __init__(self, files: Sequence[FileUse], ios: int, longest: int, duration_us: int) -> None:
        self.files = files
        """Those with any I/O, in the order in which the log comes to them."""
        self.ios = ios
        self.longest = longest
        """Bytes of the longest read or write: how long a buffer must be."""
        self.duration_us = duration_us
        """From the log's begin to when the last I/O is due."""


def survey(path: str, skip: Sequence[str] = (), scale: int = 1, align: int = 0) -> Survey:
    """Read a log to its end; raises IologError or OSError. For what else is given see `steps`."""
    uses: dict[str, FileUse] = {}
    ios = longest = due_us = 0
    for _line, due_us, name, ddir, offset, length in steps(path, skip, scale, align):  # noqa: B007
        use = uses.get(name)
        if use is None:
            use = uses[name] = FileUse(name)
        use.end = max(use.end, offset + length)
        use.is_changed = use.is_changed or ddir in (WRITE, TRIM)
        if ddir in (READ, WRITE):
            longest = max(longest, length)
        ios += 1
    return Survey(list(uses.values()), ios, longest, due_us)


def redirected(uses: Sequence[FileUse], name: str) -> FileUse:
    """What one target sees when all I/O of the log goes to it."""
    use = FileUse(name)
    use.end = max((other.end for other in uses), default=0)
    use.is_changed = any(other.is_changed for other in uses)
    return use


def steps(
    path: str, skip: Sequence[str] = (), scale: int = 1, align: int = 0
) -> Iterator[tuple[int, int, str, int, int, int]]:
    """Line, due time in microseconds since the log began, file, direction, offset and length of each of its I/Os.

    In the order of the log, and times never go back. Raises IologError or OSError.
    `skip` leaves out directions by name, sync meaning both kinds; `scale` divides offsets, `align` then rounds them
    down: replay_skip, replay_scale and replay_align.
    """
    skipped = {ACTIONS[word] for word in skip if word in ACTIONS}
    if SYNC in skipped:
        skipped.add(DATASYNC)
    added: set[str] = set()
    due_us = 0
    begun_us = -1
    for number, time_us, words in lines(path):
        name, action = words[:2]
        if begun_us < 0:
            begun_us = time_us
        # The order is kept, so nothing is due before what stands above it.
        due_us = max(due_us, time_us - begun_us)
        if len(words) == 2:
            if action == "add":
                added.add(name)
                if len(added) > MAX_FILES:
                    raise IologError(f"{path}:{number}: more than {MAX_FILES} files")
            elif action not in ("open", "close"):
                raise IologError(f"{path}:{number}: {action!r} is neither add, open nor close")
            elif name not in added:
                raise IologError(f"{path}:{number}: {name!r} has not been added")
            continue
        offset = parsed(path, number, words[2], "offset")
        length = parsed(path, number, words[3], "length")
        if action == "wait":
            due_us = min(due_us + offset, MAX_VALUE)
            continue
        ddir = ACTIONS.get(action, -1)
        if ddir < 0:
            raise IologError(f"{path}:{number}: {action!r} is none of {', '.join(ACTIONS)}, wait")
        if name not in added:
            raise IologError(f"{path}:{number}: {name!r} has not been added")
        if ddir in skipped:
            continue
        if ddir in (SYNC, DATASYNC):
            length = 0
        elif not length:
            raise IologError(f"{path}:{number}: a {action} of 0 bytes")
        elif ddir != TRIM and length > MAX_LENGTH:
            raise IologError(f"{path}:{number}: a {action} of {length} bytes is longer than {MAX_LENGTH}")
        offset //= scale
        if align:
            offset -= offset % align
        if offset + length > MAX_VALUE:
            raise IologError(f"{path}:{number}: {offset} + {length} is beyond any file")
        yield number, due_us, name, ddir, offset, length


def lines(path: str) -> Iterator[tuple[int, int, list[str]]]:
    """Number, time in microseconds (0 in version 2) and the words behind it, of each line that says something."""
    version = 0
    refuse_what_is_no_log(path)
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as log:
        for number, line in enumerate(iter(lambda: log.readline(MAX_LINE), ""), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(line) == MAX_LINE or "\0" in line:
                raise IologError(f"{path}:{number}: not a line of text")
            if not version:
                version = version_of(path, number, words)
                continue
            time_us = 0
            if version == 3:
                time_us = parsed(path, number, words.pop(0), "timestamp")
            if len(words) not in (2, 4):
                wanted = "[timestamp] file action" if version == 3 else "file action"
                raise IologError(f"{path}:{number}: {line.strip()!r} is not {wanted} [offset length]")
            if version == 3 and words[1] == "wait":
                raise IologError(f"{path}:{number}: version 3 has timestamps instead of wait")
            yield number, time_us, words
    if not version:
        raise IologError(f"{path}: empty; the first line of an iolog is 'fio version 3 iolog'")


def refuse_what_is_no_log(path: str) -> None:
    """Nothing but a plain text file can be read twice, once to admit its files and once to replay it."""
    if path == "-":
        raise IologError("-: a log from standard input cannot be replayed; name a file")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise IologError(f"{path}: not a regular file")
    with open(path, "rb") as log:
        start = log.read(4)
    if start in BLKTRACE_MAGICS:
        raise IologError(
            f"{path}: a binary trace of blktrace is not supported; make an iolog of it (fio version 3 iolog)"
        )


def version_of(path: str, number: int, words: list[str]) -> int:
    if len(words) != 4 or [*words[:2], words[3]] != ["fio", "version", "iolog"]:
        raise IologError(f"{path}:{number}: the first line of an iolog is 'fio version 3 iolog'")
    if words[2] not in ("2", "3"):
        raise IologError(f"{path}:{number}: iolog version {words[2]!r} is not known; 2 and 3 are")
    return int(words[2])


def parsed(path: str, number: int, word: str, what: str) -> int:
    # isdecimal: int() takes digits of all scripts, signs and underscores, and may take seconds over a long one.
    if len(word) > len(str(MAX_VALUE)) or not word.isascii() or not word.isdecimal() or int(word) > MAX_VALUE:
        raise IologError(f"{path}:{number}: {what} {word[:40]!r} is not a number in 0..{MAX_VALUE}")
    return int(word)
