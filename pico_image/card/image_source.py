"""An image, a card or a folder of parts, seen alike: its variables, layout and parts."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.card.env import find_env, layout_of, read_env
from pico_image.card.image_file import COMPRESSED
from pico_image.card.region import Region, file_size
from pico_image.config.partitions import PartitionTable


@dataclass(frozen=True)
class Media:
    """``parts`` holds what is there, by name; ``kind`` is image, device or folder."""

    path: Path
    kind: str
    size: int
    variables: dict[str, str]
    table: PartitionTable
    parts: dict[str, Region]
    problems: tuple[str, ...] = ()


def open_media(path: Path, layout: str | None = None) -> Media:
    """Open any card image, card, or folder of partition images (ours or the vendor's).

    ``layout`` replaces the partition string of an environment that is damaged or has none.
    Raises UserError when it is neither, or says nothing about its layout.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        return _folder(path, layout)
    if path.suffix in COMPRESSED:
        raise UserError(
            f"{path} is compressed, and reading back needs to go to and fro in it",
            hint=f"unpack it first: {'zstd -d' if path.suffix == '.zst' else 'unxz -k'} {path}",
        )
    size = file_size(path)
    region = Region(path)
    try:
        variables, table, problems = _announced(region.read(0, 1 << 18), path, layout)
    except UserError as error:
        raise UserError(f"{path}: {error.message}", hint=error.hint) from error
    parts = {
        part.name: Region(path, part.offset, part.size) for part in table if part.offset < size
    }
    kind = "device" if stat.S_ISBLK(status.st_mode) else "image"
    return Media(path, kind, size, variables, table, parts, problems)


def _announced(
    head: bytes, path: Path, layout: str | None
) -> tuple[dict[str, str], PartitionTable, tuple[str, ...]]:
    if layout is None:
        variables, _ = find_env(head)
        return variables, layout_of(variables, str(path)), ()
    try:
        variables, _ = find_env(head)
    except UserError as error:
        return {}, PartitionTable.parse(layout), (error.message,)
    return variables, PartitionTable.parse(layout), ()


def _folder(folder: Path, layout: str | None) -> Media:
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
        if text.is_file() and parse_env_text(text) != variables:
            problems.append(".env.txt does not say what env.img says; env.img is what boots")
    elif text.is_file():
        variables = parse_env_text(text)
        problems.append("there is no env.img; the layout is taken from .env.txt")
    elif layout is None:
        raise UserError(
            f"{folder} holds neither env.img nor .env.txt, so it is no folder of a card's parts",
            hint="name an image, or a folder such as out/VARIANT/images or the SDK's output/image",
        )
    table = PartitionTable.parse(layout) if layout else layout_of(variables, str(folder))
    parts = {}
    for part in table:
        if (path := folder / f"{part.name}.img").is_file():
            parts[part.name] = Region(path)
        else:
            problems.append(f"there is no {part.name}.img")
    size = sum(region.length() for region in parts.values())
    return Media(folder, "folder", size, variables, table, parts, tuple(problems))


def parse_env_text(path: Path) -> dict[str, str]:
    """The variables of a ``.env.txt``. Raises UserError with FILE:LINE for a line without =."""
    variables: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise UserError(f"{path}:{number}: {line!r} is not NAME=VALUE")
        variables[name] = value
    return variables
