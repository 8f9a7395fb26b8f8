"""A card image as a file: raw or compressed, with or without its block map, whole or not."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.bmap import Bmap, read_bmap
from pico_image.card.compose import check_part
from pico_image.card.env import find_env, layout_of
from pico_image.card.region import Region, file_size
from pico_image.card.sums import NAME as SUMS
from pico_image.card.sums import read_sums
from pico_image.config.partitions import PartitionTable

COMPRESSED = (".zst", ".xz", ".gz")
CHUNK = 4 << 20


class Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True)
class ImageFile:
    """An image to write: ``size`` is None while only decompressing would tell it."""

    path: Path
    size: int | None
    bmap: Bmap | None
    variables: dict[str, str]
    table: PartitionTable

    @property
    def compressed(self) -> bool:
        return self.path.suffix in COMPRESSED

    @property
    def emulated(self) -> bool:
        """Whether it is made for QEMU: a Luckfox board calls its card mmcblk1."""
        arguments = self.variables.get("sys_bootargs", "").split()
        return "pico.emulated=1" in arguments or self.table.device not in (None, "mmcblk1")


def open_image(path: Path) -> ImageFile:
    """Look an image over before anything is done with it.

    ``path`` may be a folder that holds ``sdcard.img``. Raises UserError when it is no card
    image, is cut short, or does not fit its block map.
    """
    if path.is_dir():
        path = path / "sdcard.img"
    try:
        with reading(path) as stream:
            head = _read_up_to(stream, 1 << 18)
    except OSError as error:
        raise UserError(
            f"cannot read the card image {path}: {error.strerror or error}",
            hint="build one with: invoke build-image",
        ) from error
    try:
        variables, _ = find_env(head)
        table = layout_of(variables, str(path))
    except UserError as error:
        raise UserError(f"{path} is no card image: {error.message}", hint=error.hint) from error
    bmap = _find_bmap(path)
    size = bmap.image_size if bmap else None
    if path.suffix not in COMPRESSED:
        size = file_size(path)
        if bmap and bmap.image_size != size:
            raise UserError(
                f"{path} has {size} bytes and its block map is for {bmap.image_size}:"
                " the image is cut short, or the map belongs to another one",
                hint="copy or build the image again",
            )
        check_whole(path, table, size)
    return ImageFile(path, size, bmap, variables, table)


def check_whole(path: Path, table: PartitionTable, size: int) -> None:
    """Raise UserError when the image ends inside a file system, or before its last parts."""
    for part in table:
        region = Region(path, part.offset, part.size)
        length = region.length()
        if part.size is None or length == part.size:
            continue
        head = region.read(0, 2048)
        if length == 0 and not _may_be_absent(part.name, table):
            raise UserError(
                f"{path} is cut short: it ends at byte {size} and its partition {part.name}"
                f" begins at {part.offset}",
                hint="copy or build the image again",
            )
        if head:
            check_part(part, region, length, head)


def _may_be_absent(name: str, table: PartitionTable) -> bool:
    """Only what comes after the root file system may lie beyond an image's end."""
    names = [part.name for part in table]
    return "rootfs" in names and names.index(name) > names.index("rootfs")


def check_sums(console: Console, image: ImageFile) -> None:
    """Read the image once and compare it with its block map, or else with SHA256SUMS.

    Raises UserError when it is damaged, so that no damaged image gets onto a card.
    """
    bmap = image.bmap
    if bmap is not None and not image.compressed:
        with (
            image.path.open("rb") as stream,
            console.progress(f"check {image.path.name}", bmap.mapped_bytes, "B") as bar,
        ):
            for item, (start, end) in zip(bmap.ranges, bmap.spans, strict=True):
                digest = hashlib.sha256()
                stream.seek(start)
                while start < end and (data := stream.read(min(CHUNK, end - start))):
                    digest.update(data)
                    start += len(data)
                    bar.advance(len(data))
                if item.checksum and digest.hexdigest() != item.checksum:
                    raise damaged(image.path, item.span(bmap.block_size, bmap.image_size))
        return
    sums = image.path.with_name(SUMS)
    known = read_sums(sums).get(image.path.name) if sums.is_file() else None
    if known is None:
        console.warn(f"{image.path} has neither a block map nor a line in {SUMS} to check it by")
        return
    digest = hashlib.sha256()
    with (
        image.path.open("rb") as stream,
        console.progress(f"check {image.path.name}", file_size(image.path), "B") as bar,
    ):
        while data := stream.read(CHUNK):
            digest.update(data)
            bar.advance(len(data))
    if digest.hexdigest() != known:
        raise UserError(
            f"{image.path} is damaged: its SHA-256 is not the one in {sums}",
            hint="copy or build the image again",
        )


def damaged(path: Path, span: tuple[int, int]) -> UserError:
    return UserError(
        f"{path} is damaged: bytes {span[0]} to {span[1] - 1} do not have the checksum"
        " that its block map states",
        hint="copy or build the image again",
    )


def _find_bmap(path: Path) -> Bmap | None:
    names = [path.name + ".bmap", path.stem + ".bmap"]
    if path.suffix in COMPRESSED:
        names.append(Path(path.stem).stem + ".bmap")
    for name in names:
        if (candidate := path.with_name(name)).is_file():
            return read_bmap(candidate)
    return None


@contextmanager
def reading(path: Path) -> Iterator[Readable]:
    """The image's bytes in order, decompressed when its name says that it is compressed."""
    if path.suffix == ".zst":
        with _zstd(path) as stream:
            yield stream
    elif path.suffix == ".xz":
        with lzma.open(path) as packed:
            yield _Checked(packed, path)
    elif path.suffix == ".gz":
        with gzip.open(path) as packed:
            yield _Checked(packed, path)
    else:
        with path.open("rb", buffering=0) as raw:
            yield raw


@contextmanager
def _zstd(path: Path) -> Iterator[Readable]:
    path.open("rb").close()  # a missing file is reported as such, not as zstd's failure
    program = shutil.which("zstd")
    if program is None:
        raise UserError(
            f"could not find the program 'zstd', which is needed to read {path}",
            hint="install zstd, or use the uncompressed image",
        )
    child = subprocess.Popen(
        [program, "-dcq", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        yield _Child(child, path)
    finally:
        child.stdout.close()
        with suppress(ProcessLookupError):
            child.terminate()
        child.wait()
        child.stderr.close()


class _Child:
    """Reads a decompressor's output; its failure is an error here, never a short image."""

    def __init__(self, child: subprocess.Popen[bytes], path: Path) -> None:
        self.child = child
        self.path = path

    def readinto(self, buffer: memoryview, /) -> int:
        assert self.child.stdout is not None
        count = self.child.stdout.readinto(buffer)  # type: ignore[attr-defined]
        if not count and self.child.wait() != 0:
            assert self.child.stderr is not None
            said = self.child.stderr.read().decode("utf-8", "replace").strip()
            raise UserError(f"{self.path} cannot be decompressed: {said}", hint="copy it again")
        return int(count or 0)


class _Checked:
    """Turns what lzma and gzip say about damaged files into an error for people."""

    def __init__(self, stream: lzma.LZMAFile | gzip.GzipFile, path: Path) -> None:
        self.stream = stream
        self.path = path

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            return self.stream.readinto(buffer)
        except (lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise UserError(
                f"{self.path} cannot be decompressed: {error}", hint="copy it again"
            ) from error


def read_full(stream: Readable, buffer: memoryview) -> int:
    """Fill ``buffer`` as far as the stream goes; the number of bytes read."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


def _read_up_to(stream: Readable, count: int) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: read_full(stream, memoryview(buffer))])


def measure(console: Console, path: Path) -> int:
    """The size of a compressed image that came without a block map, by decompressing it."""
    total = 0
    buffer = memoryview(bytearray(CHUNK))
    with reading(path) as stream, console.progress(f"measure {path.name}", 0, "B") as bar:
        while count := read_full(stream, buffer):
            total += count
            bar.advance(count)
    return total
