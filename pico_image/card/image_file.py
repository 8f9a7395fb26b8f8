"""Open images: one to write (raw or compressed), or an image, card or folder to look into."""

from __future__ import annotations

import gzip
import lzma
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.blocks import CHUNK, Bmap, Slice, file_size, read_bmap
from pico_image.card.compose import check_part
from pico_image.card.env import find_env, layout_of, read_env, read_env_text
from pico_image.config.partitions import PartitionTable

BUILD_INFO = "build-info.json"
_UNPACK = {".zst": "zstd -d", ".xz": "unxz -k", ".gz": "gunzip -k"}
COMPRESSED = tuple(_UNPACK)
#: The largest known environment has this size.
HEAD = 1 << 18


class Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


@dataclass(frozen=True)
class ImageFile:
    """An image to write; ``size`` is None where only decompressing would tell it."""

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
        """Whether it is made for QEMU."""
        return _emulated(self.variables)


def _emulated(variables: Mapping[str, str]) -> bool:
    return "pico.emulated=1" in variables.get("sys_bootargs", "").split()


def is_for_emmc(folder: Path) -> bool:
    """Whether a folder has the parts of an image for a board's eMMC, and so no card image.

    To the boards' kernel the eMMC is mmcblk0, a card mmcblk1.
    """
    if (folder / "sdcard.img").exists() or not (folder / "env.img").is_file():
        return False
    source = open_source(folder)
    return source.table.device == "mmcblk0" and not _emulated(source.variables)


def open_image(path: Path) -> ImageFile:
    """Open and check an image, or the ``sdcard.img`` in a folder.

    Raises UserError when it is not a card image, is cut short, or does not fit its block map.
    """
    if path.is_dir():
        if is_for_emmc(path):
            raise UserError(
                f"{path} is an image for the eMMC of a board, which no card reader can write",
                hint=f"it is written over USB: {path / 'README.txt'} says how",
            )
        path = path / "sdcard.img"
    try:
        with reading(path) as stream:
            buffer = memoryview(bytearray(HEAD))
            head = bytes(buffer[: read_full(stream, buffer)])
    except OSError as error:
        raise UserError(
            f"cannot read the card image {path}: {error.strerror or error}",
            hint="build one with: invoke build-image",
        ) from error
    try:
        variables = find_env(head)
        table = layout_of(variables, str(path))
    except UserError as error:
        raise UserError(f"{path} is not a card image: {error.message}", hint=error.hint) from error
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
        _check_whole(path, table, size)
    return ImageFile(path, size, bmap, variables, table)


def _check_whole(path: Path, table: PartitionTable, size: int) -> None:
    """Raise UserError when the image ends inside a part, or before a part that it must have."""
    for part in table:
        content = Slice(path, part.offset, part.size)
        length = content.length()
        if part.size is None or length == part.size:
            continue
        if length == 0 and not _may_be_absent(part.name, table):
            raise UserError(
                f"{path} is cut short: it ends at byte {size} and its partition {part.name}"
                f" begins at {part.offset}",
                hint="copy or build the image again",
            )
        if length:
            check_part(part, content)


def _may_be_absent(name: str, table: PartitionTable) -> bool:
    """Only what comes after the root file system may lie beyond an image's end."""
    names = [part.name for part in table]
    return "rootfs" in names and names.index(name) > names.index("rootfs")


@dataclass(frozen=True)
class Source:
    """An image, a card or a folder of parts, to look into.

    ``kind`` is image, device or folder; ``parts`` holds the parts that are there, by name.
    """

    path: Path
    kind: str
    size: int
    variables: dict[str, str]
    table: PartitionTable
    parts: dict[str, Slice]
    problems: tuple[str, ...] = ()


def open_source(path: Path, layout: str | None = None) -> Source:
    """Open any card image, card, or folder of partition images, ours or the vendor's.

    ``layout`` replaces the partition string of an environment that is damaged or has none.
    Raises UserError when it is none of the three, or names no layout.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        return _open_folder(path, layout)
    if path.suffix in COMPRESSED:
        raise UserError(
            f"{path} is compressed; only an unpacked image can be looked into",
            hint=f"unpack it first: {_UNPACK[path.suffix]} {shlex.quote(str(path))}",
        )
    size = file_size(path)
    try:
        variables, table, problems = _read_head(Slice(path).read(0, HEAD), path, layout)
    except UserError as error:
        raise UserError(f"{path}: {error.message}", hint=error.hint) from error
    parts = {part.name: Slice(path, part.offset, part.size) for part in table if part.offset < size}
    kind = "device" if stat.S_ISBLK(status.st_mode) else "image"
    return Source(path, kind, size, variables, table, parts, problems)


def _read_head(
    head: bytes, path: Path, layout: str | None
) -> tuple[dict[str, str], PartitionTable, tuple[str, ...]]:
    try:
        variables = find_env(head)
    except UserError as error:
        if layout is None:
            raise
        return {}, PartitionTable.parse(layout), (error.message,)
    table = PartitionTable.parse(layout) if layout else layout_of(variables, str(path))
    return variables, table, ()


def _open_folder(folder: Path, layout: str | None) -> Source:
    env, text = folder / "env.img", folder / ".env.txt"
    problems: list[str] = []
    variables: dict[str, str] = {}
    # The vendor's build.sh cuts .env.txt short on every call (facts: section 7), so env.img wins.
    if env.is_file():
        try:
            variables = read_env(env.read_bytes())
        except UserError as error:
            if layout is None:
                raise UserError(f"{env}: {error.message}", hint=error.hint) from error
            problems.append(f"env.img: {error.message}")
        if text.is_file() and read_env_text(text) != variables:
            problems.append(".env.txt does not say what env.img says; env.img is what boots")
    elif text.is_file():
        variables = read_env_text(text)
        problems.append("there is no env.img; the layout is taken from .env.txt")
    elif layout is None:
        raise UserError(
            f"{folder} holds neither env.img nor .env.txt, so it is not a folder of a card's parts",
            hint="name an image, or a folder such as out/VARIANT/images or the SDK's output/image",
        )
    table = PartitionTable.parse(layout) if layout else layout_of(variables, str(folder))
    parts = {}
    for part in table:
        if (path := folder / f"{part.name}.img").is_file():
            parts[part.name] = Slice(path)
        else:
            problems.append(f"there is no {part.name}.img")
    size = sum(part.length() for part in parts.values())
    return Source(folder, "folder", size, variables, table, parts, tuple(problems))


def build_info_path(image: Path) -> Path | None:
    """The build-info.json that belongs to an image (or a folder of parts), if there is one."""
    if image.is_dir():
        candidates = [image / BUILD_INFO]
    else:
        candidates = [image.with_name(f"{image.name}.{BUILD_INFO}"), image.with_name(BUILD_INFO)]
    return next((path for path in candidates if path.is_file()), None)


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
    """The image's bytes in order, decompressed where its name ends like a compressed file's."""
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
    path.open("rb").close()  # or a missing file would be an error of zstd
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
    """The output of a decompressor; when it fails, reading raises instead of ending early."""

    def __init__(self, child: subprocess.Popen[bytes], path: Path) -> None:
        self.child = child
        self.path = path

    def readinto(self, buffer: memoryview, /) -> int:
        assert self.child.stdout is not None
        count = self.child.stdout.readinto(buffer)  # type: ignore[attr-defined]
        if not count and self.child.wait() != 0:
            assert self.child.stderr is not None
            reason = self.child.stderr.read().decode("utf-8", "replace").strip()
            raise UserError(f"{self.path} cannot be decompressed: {reason}", hint="copy it again")
        return int(count or 0)


class _Checked:
    """Turns the errors of lzma and gzip on damaged files into UserError."""

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
    """Fill ``buffer`` up to the end of the stream and return the number of bytes read."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


def measure(console: Console, path: Path) -> int:
    """The size of a compressed image without a block map, by decompressing it."""
    total = 0
    buffer = memoryview(bytearray(CHUNK))
    with reading(path) as stream, console.progress(f"measure {path.name}", 0, "B") as bar:
        while count := read_full(stream, buffer):
            total += count
            bar.advance(count)
    return total
