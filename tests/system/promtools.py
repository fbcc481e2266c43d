"""promtool of other Debian releases than this machine's: fetched once, unpacked beside each other, kept for later."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from debian_root import CACHE, made_by_one

MIRROR: Final = "http://deb.debian.org/debian"
FETCHING_DEADLINE_S: Final = 150.0

VERSIONS: Final = {"bookworm": "2.42", "trixie": "2.53", "sid": "3."}
"""What each suite has; sid's goes on, within version 3."""


class CannotFetch(AssertionError):
    """The package could not be had; the text has the end of apt's own words."""


def promtool_of(suite: str) -> Path:
    """promtool as this suite ships it. Raises CannotFetch."""
    directory = CACHE / f"promtool-{suite}"
    with made_by_one(directory):
        if not (directory / "promtool").exists():
            fetch(suite, directory)
    return directory / "promtool"


def fetch(suite: str, directory: Path) -> None:
    unfinished = directory.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "lists").mkdir(parents=True)
    # A little apt of its own, so that the machine's knows nothing of another release.
    (unfinished / "sources.list").write_text(f"deb {MIRROR} {suite} main\n")
    own = {
        "Dir::Etc::sourcelist": unfinished / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": unfinished / "lists",
        "Dir::Cache": unfinished,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    options = [f"--option={key}={value}" for key, value in own.items()]
    run(["apt-get", *options, "update"], unfinished)
    # It has had a package of its own since Debian 13, and until then came with the server.
    package = "promtool" if suite != "bookworm" else "prometheus"
    run(["apt-get", *options, "download", package], unfinished)
    [archive] = unfinished.glob(f"{package}_*.deb")
    run(["dpkg-deb", "--extract", str(archive), "tree"], unfinished)
    shutil.copy(unfinished / "tree/usr/bin/promtool", unfinished / "promtool")
    for left in ("tree", "lists"):
        shutil.rmtree(unfinished / left)
    archive.unlink()
    unfinished.rename(directory)


def run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FETCHING_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise CannotFetch(f"{command[0]} ended with {done.returncode}\n{done.stdout[-2000:]}")
