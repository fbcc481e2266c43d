"""Writes launchers that play a role a real child cannot be made to play at will."""

import textwrap
from pathlib import Path

import iovigil

# What a role may use. Words of the page without a setter in Python are reached by their distance from `state`:
# only the job writes them, and a role takes the job's place.
PREAMBLE = """\
import marshal, mmap, os, signal, struct, sys, time

sys.path.insert(0, {source!r})
from iovigil.engines.stats import RunState, StatsPage

order_fd, stats_fd = int(sys.argv[1]), int(sys.argv[2])
order = marshal.loads(os.pread(order_fd, 1 << 20, 0))
memory = mmap.mmap(stats_fd, 0)
page = StatsPage.attach(stats_fd)

SENTINEL = 0x5AFEF00D
page.state = SENTINEL
state_at = memory.find(struct.pack("<Q", SENTINEL))
page.state = RunState.RUNNING
WORDS = {{"error": 1, "total_errors": 3, "is_complete": 4, "first_io_ns": 6, "read_ios": 15, "read_bytes": 19}}


def put(word, value):
    struct.pack_into("<Q", memory, state_at + 8 * WORDS[word], value)


def do_io(ios):
    put("read_ios", ios)
    put("read_bytes", ios * order["options"]["bs"][0])


def begin_io(age_s=0.0):
    # In the last slot; the slots are near the end of the page.
    if not hasattr(begin_io, "at"):
        for at in range(len(memory) - 8, state_at, -8):
            if struct.unpack_from("<Q", memory, at)[0] == 0:
                struct.pack_into("<Q", memory, at, 1)
                is_slot = page.oldest_inflight_ns() > 0
                struct.pack_into("<Q", memory, at, 0)
                if is_slot:
                    begin_io.at = at
                    break
    struct.pack_into("<Q", memory, begin_io.at, time.monotonic_ns() - int(age_s * 1e9))


def end_io():
    struct.pack_into("<Q", memory, begin_io.at, 0)


def sleep_for_ever():
    while True:
        time.sleep(60)


def is_told_to_stop():
    return struct.unpack_from("<Q", memory, state_at - 8)[0]


def ignore_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent():
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def complete():
    put("is_complete", 1)
    page.state = RunState.EXITED

"""


def launcher(directory: Path, role: str, name: str = "launch.py") -> Path:
    """A launcher that does what `role` says, with the names of the preamble at hand."""
    path = directory / name
    source = str(Path(iovigil.__file__).parent.parent)
    path.write_text(PREAMBLE.format(source=source) + textwrap.dedent(role))
    return path


WELL_BEHAVED = """
    do_io(10)
    complete()
"""
DEAF = """
    ignore_sigterm()
    do_io(3)
    sleep_for_ever()
"""
HUNG = """
    ignore_sigterm()
    do_io(3)
    begin_io(age_s=30)
    sleep_for_ever()
"""
OBEDIENT = """
    signal.signal(signal.SIGTERM, lambda *_: None)
    do_io(1)
    while not is_told_to_stop():
        time.sleep(0.01)
    complete()
"""
