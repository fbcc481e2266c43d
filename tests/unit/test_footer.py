"""The footer of a probe file: what was packed is parsed, and nothing else is."""

import pytest

from iovigil.agent.disks import footer


def test_a_footer_says_whose_the_file_is() -> None:
    assert footer.parse(footer.pack("data0", 1 << 30)) == ("data0", 1 << 30)


def test_a_footer_is_one_block_on_a_block_of_its_own() -> None:
    assert len(footer.pack("data0", 1)) == footer.BLOCK
    assert [footer.offset(size) for size in (1, 4096, 4097)] == [4096, 4096, 8192]


def test_a_name_may_have_255_bytes_of_utf_8_and_no_more() -> None:
    assert footer.parse(footer.pack("ü" * 127, 1))[0] == "ü" * 127
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        footer.pack("ü" * 128, 1)


@pytest.mark.parametrize("position", [16, 20, 24, 40, 2048, 4095])
def test_any_flipped_bit_behind_the_magic_is_damage(position: int) -> None:
    block = bytearray(footer.pack("data0", 4096))
    block[position] ^= 1
    with pytest.raises(footer.NotAFooter, match="damaged"):
        footer.parse(bytes(block))


@pytest.mark.parametrize("block", [b"", b"\0" * 4096, b"x" * 4096, footer.pack("data0", 1)[:-1]])
def test_anything_else_is_no_footer(block: bytes) -> None:
    with pytest.raises(footer.NotAFooter, match="no footer"):
        footer.parse(block)
