"""Verify state files: what a job wrote before it ended, for a later job that is to check it; in fio's own layouts."""

import os
import struct

from iovigil.engines.outcomes import checksum
from iovigil.engines.setup_error import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes as long as the interpreter itself
    from collections.abc import Iterable

WITH_PLACES = 3
"""fio 2.2 to 3.40: where the last writes of each file went, as many as iodepth."""
WITH_NUMBERS = 7
"""fio since 3.41: which writes, by their number, were in flight or had failed."""
VERSIONS = {"fio-2.2": WITH_PLACES, "fio-3.41": WITH_NUMBERS}
"""By verify_header, so that one tool reads the headers and the state."""

HEAD = struct.Struct("<QQQ")  # version, bytes behind the head, their checksum
PLACES = struct.Struct("<QIIQQ56s64s")  # places, iodepth, files, writes, index, random state, name
NUMBERS = struct.Struct("<I4xQQ56s64s")  # iodepth, writes, index, random state, name
RANDOM = struct.Struct("<Q40sQ")  # whether of 64 bits, the generator's words, and ours: the seed where fio has nothing
NONE = (1 << 64) - 1  # a number that is none
NAME_BYTES = 63
MOST_BYTES = 1 << 27


class VerifyState:
    """What a verify state file holds."""

    __slots__ = (
        "depth", "failed", "file_count", "in_flight", "index", "name", "places", "random", "seed", "version", "writes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        version: int,
        depth: int,
        writes: int,
        index: int = 0,
        name: str = "",
        random: "tuple[bool, bytes]" = (False, b""),
        seed: int = 0,
        file_count: int = 1,
        in_flight: "Iterable[int]" = (),
        failed: "Iterable[int]" = (),
        places: bytes = b"",
    ) -> None:
        """`in_flight` and `failed` are numbers of writes; a file `WITH_PLACES` has packed pairs of (file, offset)
        instead. `random` is the generator's state, `seed` the job's where it is told.
        """
        self.version = version
        self.depth = depth
        self.writes = writes
        self.index = index
        self.name = name
        self.random = random
        self.seed = seed
        self.file_count = file_count
        self.in_flight = tuple(in_flight)
        self.failed = tuple(failed)
        self.places = places


def path_of(directory: str, job: str, index: int) -> str:
    """Where the state of a job is kept; `index` is its place in the session, from 0."""
    name = cut(job).decode(errors="surrogateescape").replace("/", ".")
    return os.path.join(directory, f"local-{name}-{index}-verify.state")


def cut(name: str) -> bytes:
    """A job's name, as far as the file has room for it."""
    return name.encode(errors="surrogateescape")[:NAME_BYTES]


def encode(state: VerifyState) -> bytes:
    """The file's contents."""
    is_wide, words = state.random
    random = RANDOM.pack(is_wide, words, state.seed)
    if state.version == WITH_PLACES:
        count = len(state.places) // 16
        body = PLACES.pack(count, state.depth, state.file_count, state.writes, state.index, random, cut(state.name))
        body += state.places.ljust(16 * state.depth * state.file_count, b"\0")
    else:
        body = NUMBERS.pack(state.depth, state.writes, state.index, random, cut(state.name))
        numbers = [*state.in_flight, *[NONE] * (state.depth - len(state.in_flight)), *state.failed]
        body += struct.pack(f"<{len(numbers)}Q", *numbers)
    return HEAD.pack(state.version, len(body), checksum(body)) + body


def decode(data: bytes) -> VerifyState:
    """Raises ValueError, which says what is wrong with the file."""
    if len(data) < HEAD.size:
        raise ValueError(f"{len(data)} bytes are no verify state")
    version, size, found = HEAD.unpack_from(data)
    if version not in (WITH_PLACES, WITH_NUMBERS):
        raise ValueError(f"version {version} is none that is known: {WITH_PLACES} and {WITH_NUMBERS} are")
    numbers: tuple[int, ...] = ()
    body = data[HEAD.size : HEAD.size + size]
    layout = PLACES if version == WITH_PLACES else NUMBERS
    if len(body) < size or size < layout.size:
        raise ValueError(f"it is cut short: {len(data) - HEAD.size} bytes of {max(size, layout.size)}")
    if checksum(body) != found:
        raise ValueError("it is corrupt: its checksum is wrong")
    rest = body[layout.size :]
    if version == WITH_PLACES:
        count, depth, file_count, writes, index, random, name = layout.unpack_from(body)
        is_whole = len(rest) == 16 * depth * file_count and count <= depth * file_count
        places = rest[: 16 * count]
    else:
        depth, writes, index, random, name = layout.unpack_from(body)
        numbers = struct.unpack(f"<{len(rest) // 8}Q", rest[: len(rest) // 8 * 8])
        is_whole = len(rest) >= 8 * depth and len(rest) % 8 == 0
        places = b""
        file_count = 0  # not told
    name = name.rstrip(b"\0")
    # The version lies outside the checksum.
    if not is_whole or not depth or b"\0" in name:
        raise ValueError("it is corrupt: what it counts is not there")
    is_wide, words, seed = RANDOM.unpack(random)
    return VerifyState(
        version=version,
        depth=depth,
        writes=writes,
        index=index,
        name=name.decode(errors="surrogateescape"),
        random=(bool(is_wide), words),
        seed=seed,
        file_count=file_count,
        in_flight=[number for number in numbers[:depth] if number != NONE],
        failed=[number for number in numbers[depth:] if number != NONE],
        places=places,
    )


def save(path: str, state: VerifyState) -> None:
    """Replace the file as a whole, or not at all. Raises OSError."""
    data = encode(state)
    unfinished = f"{path}.{os.getpid()}.tmp"
    # Its name can be foretold: in a directory of many, nobody else may have laid something there.
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)  # it is to tell of a job that was cut off, perhaps by a power failure
        finally:
            os.close(fd)
        os.replace(unfinished, path)
    except OSError:
        os.unlink(unfinished)
        raise


def load(path: str) -> VerifyState:
    """Raises SetupError, which says what to do."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SetupError(
            f"verify_state_load: {path} is not there: run the job of this name that writes first, in the same "
            f"directory (or --aux-path) and at the same place among its jobs"
        ) from None
    except OSError as error:
        raise SetupError(f"verify_state_load: {path}: {error.strerror}") from None
    try:
        data = b""
        while len(data) <= MOST_BYTES and (more := os.read(fd, MOST_BYTES)):
            data += more
        return decode(data)
    except OSError as error:
        raise SetupError(f"verify_state_load: {path}: {error.strerror}") from None
    except ValueError as error:
        raise SetupError(f"verify_state_load: {path}: {error}; remove it, and write anew") from None
    finally:
        os.close(fd)
