"""Take images apart and compare two of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, scratch_folder, sha256_tree, write_text
from pico_image.card import content
from pico_image.card.env import ENV_SIZE, env_image, env_text
from pico_image.card.extents import SpanSet, data_spans, zero_runs
from pico_image.card.image_source import Media, open_media
from pico_image.card.inspection import content_size
from pico_image.card.region import Region
from pico_image.card.superblock import read_superblock

CHUNK = 1 << 20


def extract(
    console: Console, path: Path, into: Path, *, files: bool = False, layout: str | None = None
) -> list[Path]:
    """Write the parts of an image or card as files, with ``.env.txt``: a SocToolkit folder.

    A part is cut where its content ends (file system, FIT, last byte that is not zero). With
    ``files`` the content of the file systems is copied out too, each into a folder of its name.
    Raises UserError rather than write into a folder that holds something.
    """
    media = open_media(path, layout)
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UserError(
            f"{into} is not an empty folder", hint="name a folder that does not exist yet"
        )
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for name, region in media.parts.items():
        size = content_size(media, name)
        if name == "env" and media.variables:
            size = max(size, ENV_SIZE)
        target = into / f"{name}.img"
        copy_region(console, Region(region.path, region.offset, size), target)
        made.append(target)
        if files and read_superblock(region.read(0, 2048)):
            with console.step(f"copy the files of {name}"):
                content.extract_tree(region, into / name)
    if media.variables:
        write_text(into / ".env.txt", env_text(media.variables))
        if "env" not in media.parts:
            with atomic_write(into / "env.img") as stream:
                stream.write(env_image(media.variables))
    return made


def copy_region(console: Console, region: Region, target: Path) -> None:
    """Copy a region into a sparse file, whole or not at all."""
    size = region.length()
    with (
        region.path.open("rb") as source,
        atomic_write(target) as stream,
        console.progress(f"copy {target.name}", size, "B") as bar,
    ):
        stream.truncate(size)
        spans = SpanSet(data_spans(source.fileno(), region.offset, size))
        for at in range(0, size, CHUNK):
            length = min(CHUNK, size - at)
            bar.advance(length)
            if not spans.touches(at, at + length):
                continue
            source.seek(region.offset + at)
            data = source.read(length)
            for first, last, is_zero in zero_runs(data):
                if not is_zero:
                    stream.seek(at + first)
                    stream.write(data[first:last])


def diff_images(console: Console, a: Path, b: Path, *, files: bool = True) -> dict[str, Any]:
    """What differs between two images, cards or folders: variables, places, content, files.

    Content is compared up to where it ends, so an image and the folder that it was made from
    are the same. With ``files`` the names of changed files in ext file systems are found.
    """
    left, right = open_media(a), open_media(b)
    environment = {
        name: (left.variables.get(name), right.variables.get(name))
        for name in sorted({*left.variables, *right.variables})
        if left.variables.get(name) != right.variables.get(name)
    }
    partitions: dict[str, Any] = {}
    names = [part.name for part in left.table]
    names += [part.name for part in right.table if part.name not in names]
    for name in names:
        entry = _diff_part(console, left, right, name, files)
        if entry:
            partitions[name] = entry
    return {
        "a": str(a),
        "b": str(b),
        "same": not environment and not partitions,
        "environment": environment,
        "partitions": partitions,
    }


def _diff_part(
    console: Console, left: Media, right: Media, name: str, files: bool
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    sides = (left, right)
    slots = [media.table.get(name) for media in sides]
    for key, values in (
        ("offset", [slot.offset if slot else None for slot in slots]),
        ("slot", [slot.size if slot else None for slot in slots]),
    ):
        if values[0] != values[1]:
            entry[key] = tuple(values)
    with console.step(f"compare {name}"):
        sums = [_content_sum(media, name) for media in sides]
        if sums[0] == sums[1]:
            return entry
        entry["content"] = tuple("absent" if total is None else total for total in sums)
        regions = [media.parts.get(name) for media in sides]
        if files and all(part and read_superblock(part.read(0, 2048)) for part in regions):
            entry["files"] = _diff_files([part for part in regions if part])
    return entry


def _content_sum(media: Media, name: str) -> str | None:
    """SHA-256 of a part's content without the zeros at its end; None when it is absent."""
    region = media.parts.get(name)
    if region is None:
        return None
    digest = hashlib.sha256()
    zeros = 0
    size = content_size(media, name)
    for at in range(0, size, CHUNK):
        data = region.read(at, min(CHUNK, size - at))
        kept = data.rstrip(b"\0")
        if kept:
            digest.update(bytes(zeros))
            digest.update(kept)
            zeros = len(data) - len(kept)
        else:
            zeros += len(data)
    return digest.hexdigest()


def _diff_files(regions: list[Region]) -> dict[str, list[str]]:
    with scratch_folder("pico-diff-") as place:
        seen: list[dict[str, tuple[object, ...]]] = []
        for number, region in enumerate(regions):
            folder = place / str(number)
            content.extract_tree(region, folder)
            listing: dict[str, tuple[object, ...]] = {}
            for entry in content.list_files(region):
                path = folder / entry.path.lstrip("/")
                total = sha256_tree([path]) if path.is_symlink() or path.is_file() else ""
                listing[entry.path] = (entry.mode, entry.uid, entry.gid, total)
            seen.append(listing)
    one, other = seen
    return {
        "added": sorted(other.keys() - one.keys()),
        "removed": sorted(one.keys() - other.keys()),
        "changed": sorted(path for path in one.keys() & other.keys() if one[path] != other[path]),
    }
