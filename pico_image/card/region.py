"""A stretch of a file: a part as a file of its own, or as a slot inside a card image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Region:
    """``size`` bytes from ``offset`` of the file or device ``path``; None means to its end."""

    path: Path
    offset: int = 0
    size: int | None = None

    @classmethod
    def of(cls, part: Path | Region) -> Region:
        return part if isinstance(part, Region) else cls(part)

    def length(self) -> int:
        """Bytes that are there: fewer than ``size`` when the file ends sooner."""
        there = max(0, file_size(self.path) - self.offset)
        return there if self.size is None else min(self.size, there)

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        """``count`` bytes (or all) from ``start``, fewer where the region ends."""
        left = max(0, self.length() - start)
        with self.path.open("rb") as stream:
            stream.seek(self.offset + start)
            return stream.read(left if count is None else min(count, left))

    def for_e2fsprogs(self) -> str:
        """The name by which libext2fs opens the region (its ``offset`` I/O option)."""
        name = os.fspath(self.path)
        return f"{name}?offset={self.offset}" if self.offset else name

    def __str__(self) -> str:
        return f"{self.path} at byte {self.offset}" if self.offset else str(self.path)


def file_size(path: Path) -> int:
    """Size of a file, or of a block device (whose status says 0)."""
    with path.open("rb") as stream:
        return stream.seek(0, os.SEEK_END)
