"""Every fault of the table is found, by its kind and its place, whichever way the disk is reached."""

from collections.abc import Iterator

import fault_matrix
import pytest
import reliability_page
from fault_matrix import CASES, Bench, Case, Way, perfect, render, tried, ways_of

pytestmark = [pytest.mark.requires_fuse, pytest.mark.requires_loop]

MARKS = {"io_uring": [pytest.mark.requires_io_uring]}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with fault_matrix.bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.mark.parametrize(
    ("case", "way"),
    [
        pytest.param(case, way, marks=MARKS.get(way.engine, ()), id=f"{case}-{way}")
        for case in CASES
        for way in ways_of(case)
    ],
)
def test_a_fault_is_found_and_named(bench: Bench, case: Case, way: Way) -> None:
    trial = tried(bench, case, way)
    assert trial.reported == trial.expected
    assert trial.is_right, trial.text


def test_the_table_is_that_of_the_cases() -> None:
    assert reliability_page.read("faults") == render(perfect()), "run: python tests/system/fault_matrix.py"
