"""The sizes in an image: by package and by kind of file, and the difference of two images."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pico_image.base.errors import UserError
from pico_image.base.files import output_dir
from pico_image.card import filesystem
from pico_image.card.blocks import Slice
from pico_image.config.target import Target
from pico_image.sdk.backend import FILE_LIST

#: The owner of files in no package's list: the skeleton, the overlay, what post-build.sh writes.
UNOWNED = "(overlay and skeleton)"
UNKNOWN = "(not known: no list of packages' files)"

_MODELS = ("usr/share/npu-models/",)
_SUFFIXES = {
    ".ko": "kernel modules",
    ".tflite": "models",
    ".rknn": "models",
    ".jpg": "pictures",
    ".jpeg": "pictures",
    ".png": "pictures",
    ".a": "libraries",
    ".conf": "settings",
    ".sh": "scripts",
    ".txt": "text",
    ".json": "text",
}


@dataclass
class Sizes:
    """Bytes of the regular files of a root file system; links count once."""

    by_package: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    largest: list[tuple[int, str]] = field(default_factory=list)
    total: int = 0
    files: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "total": self.total,
            "files": self.files,
            "by_package": dict(self.by_package.most_common()),
            "by_kind": dict(self.by_kind.most_common()),
            "largest": [{"path": path, "bytes": size} for size, path in self.largest],
        }


def measure(rootfs: Path, file_list: Path | None = None) -> Sizes:
    """Sizes of a root file system: a folder, a tar archive or an ext4 image.

    ``file_list`` is Buildroot's ``build/packages-file-list.txt`` (lines ``package,./path``).
    Raises UserError for what is none of the three.
    """
    owners = read_file_list(file_list) if file_list else {}
    nobody = UNOWNED if owners else UNKNOWN
    sizes = Sizes()
    for name, size, head, executable in _files(rootfs):
        sizes.total += size
        sizes.files += 1
        sizes.by_package[owners.get(name, nobody)] += size
        sizes.by_kind[kind(name, head, executable)] += size
        sizes.largest.append((size, name))
    sizes.largest = sorted(sizes.largest, key=lambda item: (-item[0], item[1]))[:10]
    if not sizes.files:
        raise UserError(f"{rootfs} has no files, so there is nothing to report")
    return sizes


def of_target(target: Target) -> Sizes:
    """Sizes of a built image. Raises UserError when there is none."""
    path = output_dir() / target.name / "images/rootfs.img"
    if not path.is_file():
        raise UserError(
            f"there is no root file system of variant {target.name} at {path}",
            hint=f"invoke build-image --variant {target.name}",
        )
    owners = output_dir() / target.name / ".sdk" / FILE_LIST
    return measure(path, owners if owners.is_file() else None)


def read_file_list(path: Path) -> dict[str, str]:
    """Which package installed each file, from Buildroot's list; the last one counts."""
    owners = {}
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(
            f"could not read {path}: {error.strerror}", hint="Buildroot writes it with each build"
        ) from error
    for line in text.splitlines():
        package, comma, name = line.partition(",")
        if comma:
            owners[name.removeprefix("./")] = package
    return owners


def kind(name: str, head: bytes = b"", executable: bool = False) -> str:
    """The kind of a file by its place, name and first bytes."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if ".so" in path.name and head.startswith(b"\x7fELF"):
        return "libraries"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if name.startswith(_MODELS):
        return "models"
    if head.startswith(b"\x7fELF"):
        return "programs"
    if head.startswith(b"#!") or name.startswith("etc/init.d/"):
        return "scripts"
    if name.startswith("etc/"):
        return "settings"
    return "programs" if executable else "other"


def compare(before: Mapping[str, int], after: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Rows (name, bytes before, bytes after) that differ, the largest difference first."""
    rows = [
        (name, before.get(name, 0), after.get(name, 0))
        for name in set(before) | set(after)
        if before.get(name, 0) != after.get(name, 0)
    ]
    return sorted(rows, key=lambda row: (-abs(row[2] - row[1]), row[0]))


def table(sizes: Sizes) -> str:
    """The report as text."""
    lines = [f"{sizes.files} files, {sizes.total / 1e6:.2f} MB"]
    groups = (("package", sizes.by_package), ("kind of file", sizes.by_kind))
    for title, counter in groups:
        lines.append(f"\nby {title}")
        for name, size in counter.most_common():
            lines.append(f"{size / 1e6:10.2f} MB {100 * size / (sizes.total or 1):5.1f} %  {name}")
    lines.append("\nlargest files")
    lines += [f"{size / 1e6:10.2f} MB           {path}" for size, path in sizes.largest]
    return "\n".join(lines)


def difference(before: Sizes, after: Sizes) -> str:
    """Two images compared, as text."""
    change = (after.total - before.total) / 1e6
    lines = [f"{before.total / 1e6:.2f} MB -> {after.total / 1e6:.2f} MB ({change:+.2f} MB)"]
    for title, old, new in (
        ("package", before.by_package, after.by_package),
        ("kind of file", before.by_kind, after.by_kind),
    ):
        lines.append(f"\nby {title}")
        lines += [
            f"{(now - was) / 1e6:+10.2f} MB  {name} ({was / 1e6:.2f} -> {now / 1e6:.2f})"
            for name, was, now in compare(old, new)
        ] or ["          no difference"]
    return "\n".join(lines)


def _files(rootfs: Path) -> Iterator[tuple[str, int, bytes, bool]]:
    """Name, size, first bytes and executable bit of every regular file."""
    if rootfs.is_dir():
        yield from _walk(rootfs)
    elif not rootfs.is_file():
        raise UserError(f"there is no root file system at {rootfs}", hint="build the image first")
    # Before the archive: an image begins with zeros, which tarfile takes for an empty one.
    elif filesystem.read_superblock(image := Slice(rootfs)):
        with tempfile.TemporaryDirectory() as folder:
            filesystem.extract(image, Path(folder))
            yield from _walk(Path(folder))
    elif tarfile.is_tarfile(rootfs):
        with tarfile.open(rootfs) as archive:
            for member in archive:
                if member.isfile():
                    stream = archive.extractfile(member)
                    head = stream.read(4) if stream else b""
                    name = member.name.removeprefix("./")
                    yield name, member.size, head, bool(member.mode & 0o111)
    else:
        raise UserError(
            f"{rootfs} is neither a folder, nor a tar archive, nor an ext4 image",
            hint="give rootfs.img, rootfs.tar or a folder",
        )


def _walk(folder: Path) -> Iterator[tuple[str, int, bytes, bool]]:
    seen: set[tuple[int, int]] = set()
    for base, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(base) / name
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) in seen:
                continue
            if status.st_nlink > 1:
                seen.add((status.st_dev, status.st_ino))
            try:
                with path.open("rb") as stream:
                    head = stream.read(4)
            except PermissionError:
                head = b""
            relative = path.relative_to(folder).as_posix()
            yield relative, status.st_size, head, bool(status.st_mode & 0o111)
