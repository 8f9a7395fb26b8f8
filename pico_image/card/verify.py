"""Compare an image and the files beside it with SHA256SUMS, block map and build-info.json.

``SHA256SUMS`` has the format of coreutils' sha256sum.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import sha256_file, write_text
from pico_image.card.blocks import Slice
from pico_image.card.image_file import (
    ImageFile,
    build_info_path,
    is_for_emmc,
    open_image,
    open_source,
)

SUMS = "SHA256SUMS"
#: A signature of the sums, see pico_image.image.signing.
SIGNATURE = f"{SUMS}.sig"


def write_sums(folder: Path, names: Iterable[str], known: Mapping[str, str] | None = None) -> Path:
    """Write the sums of ``names`` in ``folder``; those in ``known`` are not computed."""
    have = known or {}
    lines = [f"{have.get(name) or sha256_file(folder / name)}  {name}\n" for name in sorted(names)]
    path = folder / SUMS
    text = "".join(lines)
    if not path.is_file() or path.read_bytes() != text.encode():
        # A signature of other sums would look like a forgery.
        (folder / SIGNATURE).unlink(missing_ok=True)
    write_text(path, text)
    return path


def read_sums(path: Path) -> dict[str, str]:
    """File names to hex SHA-256. Raises UserError for a line that sha256sum did not write."""
    sums: dict[str, str] = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64})[ ][ *](.+)", line)
        if match is None:
            raise UserError(f"{path}:{number}: not a line of sha256sum: {line[:80]!r}")
        sums[match[2]] = match[1].lower()
    return sums


def update_sums(folder: Path, names: Iterable[str], known: Mapping[str, str]) -> None:
    """Like write_sums(), and keep the lines of other files that still exist."""
    path = folder / SUMS
    others = read_sums(path) if path.is_file() else {}
    changed = set(names)
    kept = {
        name: total
        for name, total in others.items()
        if name not in changed and (folder / name).is_file()
    }
    write_sums(folder, [*changed, *kept], {**kept, **known})


def check_sums(console: Console, image: ImageFile) -> None:
    """Compare an image with its block map, or with SHA256SUMS where it has no map.

    Raises UserError when it is damaged.
    """
    bmap = image.bmap
    if bmap is not None and not image.compressed:
        with console.progress(f"check {image.path.name}", bmap.mapped_bytes, "B") as bar:
            for item, (start, end) in zip(bmap.ranges, bmap.spans, strict=True):
                digest = Slice(image.path, start, end - start).sha256(bar)
                if item.checksum and digest != item.checksum:
                    raise damaged(image.path, (start, end))
        return
    sums = image.path.with_name(SUMS)
    known = read_sums(sums).get(image.path.name) if sums.is_file() else None
    if known is None:
        console.warn(f"{image.path} has neither a block map nor a line in {SUMS} to check it by")
        return
    whole = Slice(image.path)
    with console.progress(f"check {image.path.name}", whole.length(), "B") as bar:
        digest = whole.sha256(bar)
    if digest != known:
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


def verify(console: Console, path: Path) -> list[str]:
    """Check an image (or the folder that holds it) against SHA256SUMS, bmap and build-info.json.

    Returns what was compared. Raises CheckFailed naming everything that differs, UserError when
    there is nothing to check by or it cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    image = path / "sdcard.img" if path.is_dir() and not is_for_emmc(path) else path
    if not image.exists():
        raise UserError(
            f"there is no card image {image}", hint="build one with: invoke build-image"
        )
    checked: list[str] = []
    differences: list[str] = []
    sums = folder / SUMS
    if sums.is_file():
        known = read_sums(sums)
        names = known if path.is_dir() else [name for name in (image.name,) if name in known]
        with console.step(f"compare with {sums}"):
            for name in names:
                checked.append(f"{name} with {SUMS}")
                if not (folder / name).is_file():
                    differences.append(f"{name} is missing")
                elif sha256_file(folder / name) != known[name]:
                    differences.append(f"{name} does not have the SHA-256 that {SUMS} states")
    info = build_info_path(image)
    if info is not None:
        with console.step(f"compare with {info}"):
            _compare_parts(image, info, checked, differences)
    if differences:
        raise CheckFailed(
            f"{path} is not what was built:\n" + "\n".join(f"  {x}" for x in differences)
        )
    if not image.is_dir():
        opened = open_image(image)
        if opened.bmap is not None:
            checked.append(f"{image.name} with its block map")
            check_sums(console, opened)
    if not checked:
        raise UserError(
            f"there is nothing to check {path} by: no {SUMS}, block map or build-info.json"
            " beside it",
            hint="copy these files together with the image",
        )
    return checked


def _load(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        parts = info["parts"]
        for entry in parts.values():
            _ = (int(entry["bytes"]), str(entry["sha256"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    return dict(parts)


def _compare_parts(image: Path, info: Path, checked: list[str], differences: list[str]) -> None:
    """Compare the slots of an image, or a folder's parts, with those in its build-info.json."""
    if image.suffix != ".img" and not image.is_dir():
        return
    source = open_source(image)
    for name, entry in _load(info).items():
        checked.append(f"{name} in {image.name} with {info.name}")
        part = source.parts.get(name)
        size = int(entry["bytes"])
        if part is None or part.length() < size:
            differences.append(f"{name} is not in {image.name}, or not whole")
        elif replace(part, size=size).sha256() != entry["sha256"]:
            differences.append(f"{name} in {image.name} is not the one in {info.name}")
