"""The ownership header of a region: what it holds comes back, and no byte of it may be another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.disks import ownership
from iovigil.agent.disks.ownership import Hardware, NotOurs, OtherVersion, Ownership

U64 = st.integers(0, 2**64 - 1)


def texts(most: int) -> st.SearchStrategy[str]:
    return st.text(max_size=most // 4)


owners = st.builds(
    Ownership,
    disk=texts(ownership.LONGEST_NAME),
    offset=U64,
    size=U64,
    uuid=st.binary(min_size=16, max_size=16),
    hardware=st.builds(
        Hardware,
        wwn=texts(ownership.LONGEST_IDENTITY),
        serial=texts(ownership.LONGEST_IDENTITY),
        device_bytes=U64,
        partition_start=U64,
    ),
)
OWNER = Ownership("d0", 1 << 30, 8 << 30, Hardware("naa.5000", "S1", 1 << 40, 0), bytes(range(16)))


@given(owners)
def test_what_a_header_says_comes_back(owned: Ownership) -> None:
    block = ownership.pack(owned)
    assert len(block) == ownership.BLOCK
    again = ownership.parse(block)
    assert again == owned
    assert again.hardware == owned.hardware


@given(st.integers(0, ownership.BLOCK - 1), st.integers(1, 255))
def test_a_header_with_any_byte_changed_is_none(at: int, flipped: int) -> None:
    block = bytearray(ownership.pack(OWNER))
    block[at] ^= flipped
    with pytest.raises(NotOurs):
        ownership.parse(bytes(block))


@given(st.binary(max_size=2 * ownership.BLOCK))
def test_any_other_bytes_are_no_header(data: bytes) -> None:
    with pytest.raises(NotOurs):
        ownership.parse(data)
    with pytest.raises(NotOurs):
        ownership.parse(data.ljust(ownership.BLOCK, b"\0")[: ownership.BLOCK])


def test_a_header_of_a_later_version_is_told_from_a_damaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(ownership, "VERSION", 2)
        block = ownership.pack(OWNER)
    with pytest.raises(OtherVersion, match="has version 2, this iovigil knows version 1"):
        ownership.parse(block)


@pytest.mark.parametrize(
    "owned",
    [
        Ownership("x" * 256, 0, 0, Hardware("", "S", 0), bytes(16)),
        Ownership("d", 0, 0, Hardware("w" * 1001, "", 0), bytes(16)),
        Ownership("d", 0, 0, Hardware("", "é" * 501, 0), bytes(16)),
    ],
)
def test_a_text_that_does_not_fit_is_refused_and_never_cut(owned: Ownership) -> None:
    with pytest.raises(ValueError, match="is longer than"):
        ownership.pack(owned)


def test_a_header_is_no_signature_that_others_look_for() -> None:
    """It stands in the region, but a tool that looks for a filesystem inside of one must not find any."""
    block = ownership.pack(OWNER)
    assert block[510:512] == b"\0\0"
    assert block[1080:1082] == b"\0\0"
