"""Block maps: which blocks of an image matter, with a checksum for each run of them.

The format is that of bmap-tools, version 2.0 (``bmaptools/BmapCreate.py`` there documents it);
``bmaptool copy`` takes what is written here, and what bmaptool writes is read here.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import write_text
from pico_image.card.extents import BLOCK

_NO_SUM = "0" * 64


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
        """A map of everything, without checksums: for an image that came without a map."""
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
        """Write the XML file; its own checksum is taken with the field filled with zeros."""
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
    """Read a bmap file of version 1.3 or newer with SHA-256 sums, its own sum checked.

    Raises UserError when it is damaged, no bmap, or of a kind not known here.
    """
    data = path.read_bytes()
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the latter: its encoding
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
    """Builds a Bmap from blocks given in ascending order, hashing them as they pass."""

    ranges: list[Range] = field(default_factory=list)
    _first: int | None = None
    _next: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, start: int, data: bytes | memoryview) -> None:
        """Record mapped bytes. ``start`` is a multiple of BLOCK; only the last may be short."""
        first = start // BLOCK
        if self._first is None or first != self._next:
            self.close()
            self._first = first
            self._hash = hashlib.sha256()
        self._hash.update(data)
        self._next = first + -(-len(data) // BLOCK)

    def close(self) -> None:
        if self._first is not None:
            self.ranges.append(Range(self._first, self._next - 1, self._hash.hexdigest()))
            self._first = None

    def finish(self, image_size: int) -> Bmap:
        self.close()
        return Bmap(image_size, tuple(self.ranges))
