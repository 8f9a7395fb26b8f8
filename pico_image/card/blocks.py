"""Slices of files, their holes and zeros, and the block map of an image.

A block map lists the blocks of an image that matter, with a checksum for each run of them. The
format is that of bmap-tools, version 2.0 (documented in ``bmaptools/BmapCreate.py``), and each
side reads the maps of the other.
"""

from __future__ import annotations

import errno
import hashlib
import os
import xml.etree.ElementTree as ElementTree
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.console import Progress
from pico_image.base.errors import UserError
from pico_image.base.files import write_text

BLOCK = 4096
ZERO_BLOCK = bytes(BLOCK)
CHUNK = 4 << 20
_NO_SUM = "0" * 64

Span = tuple[int, int]  # first byte, first byte after


@dataclass(frozen=True)
class Slice:
    """``size`` bytes from ``offset`` of the file or device ``path``; None means to its end.

    A part as a file of its own and a part inside a card image are both slices.
    """

    path: Path
    offset: int = 0
    size: int | None = None

    @classmethod
    def of(cls, part: Path | Slice) -> Slice:
        return part if isinstance(part, Slice) else cls(part)

    def length(self) -> int:
        """Bytes that are there: fewer than ``size`` when the file ends sooner."""
        there = max(0, file_size(self.path) - self.offset)
        return there if self.size is None else min(self.size, there)

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        """``count`` bytes (or all) from ``start``, fewer where the slice ends."""
        left = max(0, self.length() - start)
        with self.path.open("rb") as stream:
            stream.seek(self.offset + start)
            return stream.read(left if count is None else min(count, left))

    def chunks(self) -> Iterator[bytes]:
        """All bytes in order, at most CHUNK at a time."""
        left = self.length()
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            while left > 0 and (data := stream.read(min(CHUNK, left))):
                yield data
                left -= len(data)

    def sha256(self, bar: Progress | None = None) -> str:
        digest = hashlib.sha256()
        for data in self.chunks():
            digest.update(data)
            if bar:
                bar.advance(len(data))
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"{self.path} at byte {self.offset}" if self.offset else str(self.path)


def file_size(path: Path) -> int:
    """Size of a file, or of a block device (whose status says 0)."""
    with path.open("rb") as stream:
        return stream.seek(0, os.SEEK_END)


def data_spans(handle: int, offset: int, size: int) -> list[Span]:
    """The spans of an open file, from ``offset`` on, that are no holes; all where not known.

    They count from ``offset`` and end at ``size``.
    """
    spans: list[Span] = []
    position = offset
    limit = offset + size
    while position < limit:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            return [(0, size)]
        except AttributeError:  # no SEEK_DATA on this system
            return [(0, size)]
        if start >= limit:
            break
        spans.append((start - offset, min(end, limit) - offset))
        position = end
    return spans


def merged(spans: Iterable[Span]) -> list[Span]:
    """The spans sorted, with touching and overlapping ones joined."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif end > start:
            result.append((start, end))
    return result


class SpanSet:
    """Spans that can be searched quickly."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = merged(spans)
        self._starts = [start for start, _ in self._spans]

    def covers(self, start: int, end: int) -> bool:
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._spans[index][1]

    def within(self, start: int, end: int) -> Iterator[Span]:
        """The pieces of the spans between ``start`` and ``end``."""
        index = max(0, bisect_right(self._starts, start) - 1)
        for first, last in self._spans[index:]:
            if first >= end:
                return
            if last > start:
                yield max(first, start), min(last, end)


def zero_runs(chunk: bytes | memoryview) -> Iterator[tuple[int, int, bool]]:
    """Cut a chunk into (start, end, is zero) at multiples of BLOCK, as few pieces as possible."""
    size = len(chunk)
    start = 0
    was_zero = False
    for at in range(0, size, BLOCK):
        block = bytes(chunk[at : at + BLOCK])
        is_zero = block == ZERO_BLOCK or (at + BLOCK > size and not any(block))
        if at and is_zero != was_zero:
            yield start, at, was_zero
            start = at
        was_zero = is_zero
    if size:
        yield start, size, was_zero


@dataclass(frozen=True)
class Range:
    """A run of mapped blocks, both ends included, and the SHA-256 of their bytes."""

    first: int
    last: int
    checksum: str | None

    def span(self, block_size: int, image_size: int) -> tuple[int, int]:
        """First byte and first byte after; the last block of an image may be short."""
        return self.first * block_size, min((self.last + 1) * block_size, image_size)


@dataclass(frozen=True)
class Bmap:
    image_size: int
    ranges: tuple[Range, ...]
    block_size: int = BLOCK

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [item.span(self.block_size, self.image_size) for item in self.ranges]

    @property
    def mapped_bytes(self) -> int:
        return sum(end - start for start, end in self.spans)

    @classmethod
    def whole(cls, image_size: int) -> Bmap:
        """A map of all blocks, without checksums, for an image that has no map."""
        blocks = -(-image_size // BLOCK)
        return cls(image_size, (Range(0, blocks - 1, None),) if blocks else ())

    def check(self, path: Path) -> None:
        """Raise UserError when ranges overlap, run backwards or leave the image."""
        if self.block_size < 512 or self.image_size < 0:
            raise UserError(f"{path}: the block map has an impossible size")
        before = -1
        for item in self.ranges:
            if not before < item.first <= item.last:
                raise UserError(f"{path}: the block map's ranges are not in order")
            before = item.last
        if before >= 0 and before * self.block_size >= self.image_size:
            raise UserError(f"{path}: the block map reaches beyond the end of the image")

    def write(self, path: Path) -> None:
        """Write the XML file; its own checksum is that of the file with zeros in the field."""
        text = self._xml(_NO_SUM)
        write_text(path, self._xml(hashlib.sha256(text.encode("ascii")).hexdigest()))

    def _xml(self, own: str) -> str:
        blocks = -(-self.image_size // self.block_size)
        mapped = sum(item.last - item.first + 1 for item in self.ranges)
        lines = [
            '<?xml version="1.0" ?>',
            "<!-- Block map of a card image: bmaptool copy sdcard.img /dev/DEVICE -->",
            '<bmap version="2.0">',
            f"    <ImageSize> {self.image_size} </ImageSize>",
            f"    <BlockSize> {self.block_size} </BlockSize>",
            f"    <BlocksCount> {blocks} </BlocksCount>",
            f"    <MappedBlocksCount> {mapped} </MappedBlocksCount>",
            "    <ChecksumType> sha256 </ChecksumType>",
            f"    <BmapFileChecksum> {own} </BmapFileChecksum>",
            "    <BlockMap>",
        ]
        for item in self.ranges:
            ends = f"{item.first}-{item.last}" if item.last > item.first else f"{item.first}"
            lines.append(f'        <Range chksum="{item.checksum}"> {ends} </Range>')
        return "\n".join([*lines, "    </BlockMap>", "</bmap>", ""])


def read_bmap(path: Path) -> Bmap:
    """Read a bmap file of version 1.3 or newer with SHA-256 sums, and check its own sum.

    Raises UserError when it is damaged, not a bmap, or of an unsupported kind.
    """
    data = path.read_bytes()
    try:
        root = ElementTree.fromstring(data)
    # An unknown encoding is a LookupError, an unsupported one a ValueError.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{path}: not a block map: {error}") from error
    if root.tag != "bmap":
        raise UserError(f"{path}: not a block map: its root element is <{root.tag}>")

    def value(tag: str) -> str:
        text = root.findtext(tag)
        if text is None:
            raise UserError(f"{path}: the block map has no <{tag}>")
        return text.strip()

    if value("ChecksumType").lower() != "sha256":
        raise UserError(f"{path}: checksums of type {value('ChecksumType')} are not supported")
    own = value("BmapFileChecksum")
    if hashlib.sha256(data.replace(own.encode(), _NO_SUM.encode(), 1)).hexdigest() != own:
        raise UserError(
            f"{path}: the block map is damaged: its own checksum does not match",
            hint="fetch it again, or flash without it: move it away",
        )
    try:
        ranges = tuple(_range(element) for element in root.iterfind("BlockMap/Range"))
        bmap = Bmap(int(value("ImageSize")), ranges, int(value("BlockSize")))
    except ValueError as error:
        raise UserError(f"{path}: the block map holds a bad number: {error}") from error
    bmap.check(path)
    return bmap


def _range(element: ElementTree.Element) -> Range:
    first, _, last = (element.text or "").strip().partition("-")
    return Range(int(first), int(last or first), element.get("chksum"))


@dataclass
class RangeRecorder:
    """Builds a Bmap from blocks in ascending order, and hashes them."""

    _ranges: list[Range] = field(default_factory=list)
    _first: int | None = None
    _next: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, start: int, data: bytes | memoryview) -> None:
        """Record mapped bytes from ``start``, a multiple of BLOCK; only the last may be short."""
        first = start // BLOCK
        if self._first is None or first != self._next:
            self._end_range()
            self._first = first
            self._hash = hashlib.sha256()
        self._hash.update(data)
        self._next = first + -(-len(data) // BLOCK)

    def _end_range(self) -> None:
        if self._first is not None:
            self._ranges.append(Range(self._first, self._next - 1, self._hash.hexdigest()))
            self._first = None

    def finish(self, image_size: int) -> Bmap:
        self._end_range()
        return Bmap(image_size, tuple(self._ranges))
