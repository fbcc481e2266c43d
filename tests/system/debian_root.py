"""The directory tree of a minimal Debian with systemd, made once and kept for the next test."""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CACHE: Final = Path("/var/tmp/iovigil-lab")
MAKING_DEADLINE_S: Final = 170.0  # below the limit that pyproject.toml sets for a whole test

PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "python3", "liburing2", "libisal2", "libssl3")
"""A system, and the shared libraries of the compiled modules."""

OPTIONS: Final = (
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


class CannotMake(AssertionError):
    """The tree could not be made; the text has the end of mmdebstrap's own words."""


def own_suite() -> str:
    """The code name of this machine's Debian, "" on anything else."""
    release = platform.freedesktop_os_release()
    return release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""


def debian_root(suite: str) -> Path:
    """The tree of this suite. Raises CannotMake."""
    wanted = "\n".join((suite, *PACKAGES, *OPTIONS))
    root = CACHE / f"{suite}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    with made_by_one(root):
        if not root.is_dir():
            make(suite, root)
    return root


@contextlib.contextmanager
def made_by_one(root: Path) -> Iterator[None]:
    """Let other test runs on this machine wait until this one has the tree."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    status = CACHE.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022 or not CACHE.is_dir():
        # /var/tmp is everybody's: what is in the tree will run as root.
        raise CannotMake(f"{CACHE} belongs to uid {status.st_uid} or is open to others: remove it")
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(suite: str, root: Path) -> None:
    unfinished = root.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    include = f"--include={','.join(PACKAGES)}"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", include, *OPTIONS, suite, str(unfinished)]
    log = root.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        status = process.wait(MAKING_DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise CannotMake(f"mmdebstrap took more than {MAKING_DEADLINE_S:g} s\n{end_of(log)}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if status:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CannotMake(f"mmdebstrap ended with status {status}; all it said is in {log}\n{end_of(log)}")
    unfinished.rename(root)


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
