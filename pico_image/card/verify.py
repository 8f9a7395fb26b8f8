"""``verify IMAGE``: is everything beside an image, and in it, what its build wrote down?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import sha256_file
from pico_image.card.image_file import check_sums, open_image
from pico_image.card.image_source import open_media
from pico_image.card.inspection import build_info_path
from pico_image.card.region import Region
from pico_image.card.sums import NAME as SUMS
from pico_image.card.sums import read_sums

CHUNK = 1 << 20


def verify(console: Console, path: Path) -> dict[str, Any]:
    """Check an image (or the folder that holds it) against SHA256SUMS, bmap and build-info.json.

    Returns ``{"checked": [...]}``, what was compared. Raises CheckFailed naming everything
    that differs, UserError when there is nothing to check by or it cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    image = path / "sdcard.img" if path.is_dir() else path
    if not image.exists():
        raise UserError(
            f"there is no card image {image}", hint="build one with: invoke build-image"
        )
    checked: list[str] = []
    wrong: list[str] = []
    sums = folder / SUMS
    if sums.is_file():
        known = read_sums(sums)
        names = known if path.is_dir() else [name for name in (image.name,) if name in known]
        with console.step(f"compare with {sums}"):
            for name in names:
                checked.append(f"{name} with {SUMS}")
                if not (folder / name).is_file():
                    wrong.append(f"{name} is missing")
                elif sha256_file(folder / name) != known[name]:
                    wrong.append(f"{name} does not have the SHA-256 that {SUMS} states")
    info = build_info_path(image)
    if info is not None:
        with console.step(f"compare with {info}"):
            _parts(image, info, checked, wrong)
    source = open_image(image) if not wrong else None
    if source is not None and source.bmap is not None:
        checked.append(f"{image.name} with its block map")
        check_sums(console, source)
    if wrong:
        raise CheckFailed(f"{path} is not what was built:\n" + "\n".join(f"  {x}" for x in wrong))
    if not checked:
        raise UserError(
            f"there is nothing to check {path} by: no {SUMS}, block map or build-info.json"
            " beside it",
            hint="copy these files together with the image",
        )
    return {"path": str(path), "checked": checked}


def _load(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        parts = info["parts"]
        for entry in parts.values():
            _ = (int(entry["bytes"]), str(entry["sha256"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    return dict(parts)


def _parts(image: Path, info: Path, checked: list[str], wrong: list[str]) -> None:
    """The slots of the image against the parts that the build wrote down."""
    if image.suffix != ".img":
        return
    media = open_media(image)
    for name, entry in _load(info).items():
        checked.append(f"{name} in {image.name} with {info.name}")
        region = media.parts.get(name)
        size = int(entry["bytes"])
        if region is None or region.length() < size:
            wrong.append(f"{name} is not in {image.name}, or not whole")
        elif sha256_region(Region(region.path, region.offset, size)) != entry["sha256"]:
            wrong.append(f"{name} in {image.name} is not the one in {info.name}")


def sha256_region(region: Region) -> str:
    """Hex SHA-256 of a region's bytes."""
    digest = hashlib.sha256()
    left = region.length()
    with region.path.open("rb") as stream:
        stream.seek(region.offset)
        while left > 0 and (data := stream.read(min(CHUNK, left))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()
