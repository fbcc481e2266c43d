"""A made-up machine for tests: the files of /proc, /sys, /dev and /run that the inventory reads, under a directory."""

from pathlib import Path


class Machine:
    """Adds what it is told to the tree; `root` goes to the code under test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = str(directory)
        self._mounts = [(1, 0, "8:1", "/", "/", "ext4", "/dev/sda1")]
        self._write_mounts()

    def disk(self, name: str, major_minor: str, size: int, place: str, **attributes: str) -> Path:
        """A whole block device at this place under /sys/devices; `queue__rotational` is the file queue/rotational."""
        return self._block(self.directory / "sys/devices" / place / name, major_minor, size, attributes)

    def partition(self, disk: str, number: int, major_minor: str, size: int) -> Path:
        separator = "p" if disk[-1].isdigit() else ""
        place = (self.directory / "sys/class/block" / disk).resolve() / f"{disk}{separator}{number}"
        return self._block(place, major_minor, size, {"partition": str(number)})

    def stack(self, upper: str, *lower: str) -> None:
        """One device is built on others."""
        blocks = self.directory / "sys/class/block"
        for name in lower:
            self.file(f"{(blocks / name).resolve().relative_to(self.directory)}/holders/{upper}", "")
            self.file(f"{(blocks / upper).resolve().relative_to(self.directory)}/slaves/{name}", "")

    def link(self, path: str, target: str) -> None:
        place = self.directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def mount(
        self, point: str, major_minor: str, filesystem: str, source: str, below: int = 1, subtree: str = "/"
    ) -> int:
        """Mount something on a point of the mount with this number; the number of the new one."""
        number = len(self._mounts) + 1
        self._mounts.append((number, below, major_minor, subtree, point, filesystem, source))
        self._write_mounts()
        return number

    def file(self, path: str, content: str | bytes) -> None:
        place = self.directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def _block(self, place: Path, major_minor: str, size: int, attributes: dict[str, str]) -> Path:
        inside = f"/{place.relative_to(self.directory)}"
        self.file(f"{inside}/dev", f"{major_minor}\n")
        self.file(f"{inside}/size", f"{size // 512}\n")
        for attribute, text in attributes.items():
            self.file(f"{inside}/{attribute.replace('__', '/')}", f"{text}\n")
        for link in (f"class/block/{place.name}", f"dev/block/{major_minor}"):
            self.link(f"/sys/{link}", f"../../{place.relative_to(self.directory / 'sys')}")
        self.file(f"/dev/{place.name.replace('!', '/')}", "")
        return place

    def _write_mounts(self) -> None:
        lines = (
            f"{number} {below} {major_minor} {subtree} {point} rw,relatime shared:{number} - {filesystem} {source} rw\n"
            for number, below, major_minor, subtree, point, filesystem, source in self._mounts
        )
        self.file("/proc/self/mountinfo", "".join(lines))
