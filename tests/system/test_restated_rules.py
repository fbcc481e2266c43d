"""What benchmarks/detection.py says of the shipped rules is what promtool says of them."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.requires_promtool
def test_promtool_agrees_with_the_rules_as_the_benchmark_has_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "check_restated_rules.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=360, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
