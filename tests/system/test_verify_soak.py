"""The soak of good data is quiet about good data, and would not be about bad."""

import os
from pathlib import Path
from typing import Any

import pytest
import reliability_page
import verify_soak
from engine_runs import MIB
from verify_soak import OPTIONS, Soak


@pytest.mark.requires_io_uring
def test_good_data_are_good_with_every_set_of_options(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 4 * MIB, 1 << 40)
    with verify_soak.file_in_memory(tmp_path, soak.size) as fd:
        for number, name in enumerate(OPTIONS):
            soak.write_and_read_again(fd, name, number)
    assert soak.wrong == []
    assert all(account.verified >= MIB // 2 for account in soak.accounts.values())


def test_damage_ends_it_as_a_failure(tmp_path: Path) -> None:
    class Damaged(Soak):
        def job(self, fd: int, name: str, options: dict[str, Any]) -> None:
            super().job(fd, name, options)
            os.pwrite(fd, bytes([os.pread(fd, 1, 70_000)[0] ^ 1]), 70_000)

    soak = Damaged(tmp_path, 4 * MIB, 1 << 40)
    soak.run(1)
    assert soak.accounts["in order, 64 KiB"].mismatches == verify_soak.AGAIN
    assert "offset=65536" in soak.wrong[1]
    assert "first_byte=70000" in soak.wrong[1]
    assert soak.table().endswith(f" | {verify_soak.AGAIN} |")


def test_the_page_tells_of_a_terabyte_without_a_false_mismatch() -> None:
    text = reliability_page.read("soak")
    if not text:
        pytest.skip("run: python tests/system/verify_soak.py --bytes 1T --write")
    _, _, verified, mismatches = text.splitlines()[-1].replace("|", " ").split()
    assert float(verified) >= 1000
    assert mismatches == "0"
