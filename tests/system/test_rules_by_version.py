"""The rules and their unit tests on promtool of other Debian releases: of Prometheus 2.42, 2.53 and 3.

This machine's own one is not fetched: `make check` and test_rules run them on that.
"""

import subprocess
from pathlib import Path

import monitoring
import pytest
from debian_root import own_suite
from promtools import VERSIONS, promtool_of

pytestmark = [pytest.mark.requires_apt, pytest.mark.slow]


@pytest.fixture(scope="module", params=sorted(VERSIONS.keys() - {own_suite()}))
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def promtool(suite: str, *arguments: str | Path) -> str:
    """What it says; it has to be satisfied."""
    done = subprocess.run(
        [promtool_of(suite), *arguments], capture_output=True, text=True, timeout=120, check=False, env={}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_is_the_version_that_the_suite_has(suite: str) -> None:
    assert promtool(suite, "--version").startswith(f"promtool, version {VERSIONS[suite]}")


def test_the_rules_are_accepted(suite: str) -> None:
    promtool(suite, "check", "rules", "--lint=all", "--lint-fatal", monitoring.RULES)


@pytest.mark.parametrize("path", monitoring.RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(suite: str, path: Path) -> None:
    promtool(suite, "test", "rules", path)
