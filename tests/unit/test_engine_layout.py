"""A compiled engine that was built for other structures is recognised before it is given an I/O."""

import re
from hashlib import sha256
from pathlib import Path

import iovigil

ENGINES = Path(iovigil.__file__).parent / "engines"
SHARED = ("io/base.pxd", "io_u.pxd", "target.pxd")
"""What a compiled engine takes its structures and the order of its methods from."""


def declarations(file: str) -> str:
    """What the compiler sees: no comments, no blank lines, and not the number itself."""
    text = (ENGINES / file).read_text()
    text = re.sub(r'cdef extern from \*:\n    """.*?"""\n', "", text, flags=re.DOTALL)
    lines = (line.partition("#")[0].rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def test_the_number_of_the_layout_changes_with_it() -> None:
    expected = sha256("\n".join(map(declarations, SHARED)).encode()).hexdigest()[:8]
    found = re.search(r"iovigil-layout:(\w+)", (ENGINES / "io/base.pxd").read_text())
    assert found is not None
    assert found[1] == expected, f"write iovigil-layout:{expected} in engines/io/base.pxd: compiled plug-ins are stale"
