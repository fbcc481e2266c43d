"""Control groups where systemd hands them out: a service of an ordinary user, in a container."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Container, booted, why_not
from debian_root import debian_root, own_suite
from processes import NotReady

pytestmark = pytest.mark.requires_nspawn

CHECKOUT = Path(__file__).parents[2]

PROGRAM = """
import os, sys
sys.path.insert(0, "/opt/iovigil/src")
from iovigil.engines import cgroup

def group():
    with open("/proc/self/cgroup") as file:
        return file.read().strip().removeprefix("0::")

before = group()
member = cgroup.enter("disks/slow", 0, False)
print(os.getuid() != 0, group() == before + "/disks/slow")
print(repr(member.leave()), group() == before, os.path.exists("/sys/fs/cgroup" + before + "/disks"))
"""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    if reason := why_not():
        pytest.skip(reason)
    try:
        root = debian_root(own_suite())
    except NotReady as problem:
        pytest.skip(str(problem))
    log = tmp_path_factory.mktemp("container") / "console.log"
    with booted(root, log, read_only={CHECKOUT: "/opt/iovigil"}) as container:
        yield container


def run_as_service(container: Container, *properties: str) -> tuple[str, str]:
    """What the program says as a service of the user nobody: output, errors."""
    words = [f"--property={text}" for text in ("User=nobody", *properties)]
    done = container.run(
        "systemd-run", "--quiet", "--wait", "--pipe", *words, "python3", "-B", "-c", PROGRAM, check=False
    )
    return done.stdout, done.stderr


def test_a_delegated_service_makes_groups_and_removes_them(container: Container) -> None:
    output, errors = run_as_service(container, "Delegate=yes")
    assert output.splitlines() == ["True True", "'' True False"], errors


def test_a_service_without_delegation_is_told_of_it(container: Container) -> None:
    output, errors = run_as_service(container)
    assert output == ""
    assert errors.splitlines()[-1].endswith(
        "Permission denied; systemd gives a service its own groups with Delegate=yes"
    )
