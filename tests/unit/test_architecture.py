"""The promises of the floor plan that a refactoring breaks quietly."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import iovigil

ENGINES = Path(iovigil.__file__).parent / "engines"

# Each of them costs a child milliseconds of start-up and memory it does not need; asyncio alone 28 ms.
NOT_IN_A_CHILD = {"aiohttp", "asyncio", "json", "msgspec", "prometheus_client", "psutil", "re", "yaml"}


def sources(*suffixes: str) -> list[Path]:
    return [path for path in sorted(ENGINES.rglob("*")) if path.suffix in suffixes]


def modules_after(statement: str) -> set[str]:
    """Names of the modules a child's interpreter holds after a statement."""
    program = f"import sys; sys.path.insert(0, {str(ENGINES.parent.parent)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("source", sources(".py", ".pyx", ".pxd"), ids=lambda path: path.name)
def test_engines_never_reach_up_into_the_agent(source: Path) -> None:
    # import-linter reads .py only.
    reaching = re.findall(
        r"^.*\b(?:c?import|from)\b.*\b(?:iovigil\.|from iovigil import.*\b)agent\b.*$", source.read_text(), re.M
    )
    assert not reaching


def test_neither_half_can_be_imported_by_its_bare_name() -> None:
    checkout = Path(os.path.realpath(ENGINES)).parent
    for half in ("agent", "engines"):
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"import {half}"], cwd=checkout, capture_output=True, timeout=30, check=False
        )
        assert b"No module named" in done.stderr, f"import {half} works"


def test_a_child_imports_engines_alone() -> None:
    loaded = modules_after("import iovigil.engines.child")
    assert "iovigil.engines.child" in loaded
    assert loaded & NOT_IN_A_CHILD == set()
    assert not [name for name in loaded if name.startswith("iovigil.agent")]


def test_the_agents_half_of_a_child_needs_the_light_standard_library_only() -> None:
    heavy = NOT_IN_A_CHILD | {"dataclasses", "logging", "pathlib", "subprocess", "typing"}
    assert modules_after("import iovigil.agent.launch") & heavy == set()
