"""Samples: rows of figures in little memory, the last ones, or an even pick out of a stream of unknown length."""

from array import array

from iovigil.agent.slowdown.figures import Figures

WIDTH = len(Figures._fields)


class Last:
    """The last so many figures. 24 bytes each: as tuples those of a node would take tens of MB."""

    __slots__ = ("_most", "_values")

    def __init__(self, most: int, data: bytes = b"") -> None:
        """Raises ValueError where the bytes are not from `data`."""
        self._most = most
        self._values = array("d")
        self._values.frombytes(data)
        if len(self._values) % WIDTH:
            raise ValueError("not figures")

    def add(self, figures: Figures) -> None:
        self._values.extend(figures)
        if len(self) > self._most:
            del self._values[:WIDTH]

    def rows(self) -> list[Figures]:
        flat = self._values
        return [Figures(*flat[place : place + WIDTH]) for place in range(0, len(flat), WIDTH)]

    def clear(self) -> None:
        self._values = array("d")

    def data(self) -> bytes:
        return self._values.tobytes()

    def __len__(self) -> int:
        return len(self._values) // WIDTH


class Pick:
    """Takes every figure until it is full, then drops every second one and takes half as many from there on."""

    __slots__ = ("_kept", "_most", "_seen", "_stride")

    def __init__(self, most: int, state: tuple[bytes, int, int] = (b"", 1, 0)) -> None:
        """Raises ValueError where the state is not from `state`."""
        data, self._stride, self._seen = state
        self._most = most
        self._kept = Last(most, data)
        if len(self._kept) >= most or self._stride < 1:
            raise ValueError("not a pick of that many")

    def add(self, figures: Figures) -> bool:
        """Whether it was taken."""
        is_taken = self._seen % self._stride == 0
        self._seen += 1
        if is_taken:
            self._kept.add(figures)
            if len(self._kept) >= self._most:
                self._thin_out()
        return is_taken

    def _thin_out(self) -> None:
        rows = self.rows()
        self._kept.clear()
        for row in rows[::2]:
            self._kept.add(row)
        self._stride *= 2

    def rows(self) -> list[Figures]:
        return self._kept.rows()

    def clear(self) -> None:
        self._kept.clear()
        self._stride, self._seen = 1, 0

    def state(self) -> tuple[bytes, int, int]:
        return self._kept.data(), self._stride, self._seen

    def __len__(self) -> int:
        return len(self._kept)
