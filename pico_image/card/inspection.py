"""Read a card image, a card or a folder of parts back: what is in it, and what is wrong with it."""

from __future__ import annotations

import json
import lzma
import re
import zlib
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError
from pico_image.card import content
from pico_image.card.fit_reader import describe_fit, image_data
from pico_image.card.image_source import Media, open_media
from pico_image.card.region import Region
from pico_image.card.superblock import read_superblock
from pico_image.config.partitions import Part

SCHEMA = "1.0"
BUILD_INFO = "build-info.json"
_LOADER = re.compile(rb"U-Boot (?:SPL )?20\d\d\.\d\d[-\w.+ ()]*")
_KERNEL = re.compile(rb"Linux version (\d[-\w.+]*)")
_RUNTIME = re.compile(rb"librknnmrt version: ([^\0\n]+)")
_MODULE = re.compile(rb"vermagic=([^\0 ]+)")
_ALIGN = 512
_GUESS = 1 << 20
#: An ARM kernel unpacks to about 20 MB; more is not read.
_LARGEST = 64 << 20


def inspect_image(path: Path, *, layout: str | None = None, files: bool = False) -> dict[str, Any]:
    """Everything that an image says about itself, as data for JSON (sizes in bytes).

    ``path`` is an image, a card or a folder of parts. With ``files`` the file systems'
    content is listed. Raises UserError when it is none of these, or its environment is
    damaged and no ``layout`` is given in its place.
    """
    media = open_media(path, layout)
    problems = list(media.problems)
    partitions = [describe_part(media, part, files) for part in media.table]
    for entry in partitions:
        problems += [f"{entry['name']}: {text}" for text in entry["problems"]]
    info = _build_info(media)
    return {
        "schema": SCHEMA,
        "path": str(path),
        "kind": media.kind,
        "size": media.size,
        "environment": media.variables,
        "layout": str(media.table),
        "cma": _argument(media, "rk_dma_heap_cma"),
        "root": _argument(media, "root"),
        "partitions": partitions,
        "versions": versions(media),
        "build_info": info,
        "problems": problems,
    }


def describe_part(media: Media, part: Part, files: bool = False) -> dict[str, Any]:
    """One partition: its place, its slot, and what the content is."""
    entry: dict[str, Any] = {
        "name": part.name,
        "number": media.table.number(part.name),
        "offset": part.offset,
        "slot": part.size,
        "content": {"kind": "absent"},
        "problems": [],
    }
    region = media.parts.get(part.name)
    if region is None:
        return entry
    length = region.length()
    problems: list[str] = entry["problems"]
    if part.size is not None and length > part.size:
        problems.append(f"its {length} bytes do not fit its slot of {part.size}")
    head = region.read(0, 2048)
    if (superblock := read_superblock(head)) is not None:
        if superblock.size > length:
            problems.append(f"cut short: {length} of {superblock.size} bytes are there")
        if superblock.state != "clean" and not superblock.needs_recovery:
            problems.append(f"its file system is {superblock.state}")
        entry["content"] = {
            "kind": superblock.kind,
            "size": superblock.size,
            "used": superblock.used,
            "block_size": superblock.block_size,
            "inodes": superblock.inodes,
            "inodes_free": superblock.free_inodes,
            "label": superblock.label,
            "uuid": superblock.uuid,
            "state": superblock.state,
            "needs_recovery": superblock.needs_recovery,
            "last_mounted": superblock.last_mounted,
        }
        if files and superblock.size <= length:
            entry["content"]["files"] = [str(item) for item in content.list_files(region)]
    elif (fit := describe_fit(region)) is not None:
        problems += fit.pop("problems")
        entry["content"] = {"kind": "fit", **fit}
    else:
        entry["content"] = _other(part.name, region, head)
    return entry


def _other(name: str, region: Region, head: bytes) -> dict[str, Any]:
    if name == "env":
        return {"kind": "environment", "size": region.length()}
    size = used_size(region)
    if size == 0:
        return {"kind": "zeros", "size": 0}
    kind = "data"
    # Rockchip boot ROM header: "RKNS" on the newer chips (tools/rkcommon.c of U-Boot).
    if head[:4] == b"RKNS":
        kind = "rockchip loader"
    elif head[:4] == b"UBI#":
        kind = "ubi"
    elif head[:4] == b"hsqs":
        kind = "squashfs"
    return {"kind": kind, "size": size}


def used_size(region: Region) -> int:
    """Bytes up to the last one that is not zero, in whole sectors of 512."""
    step = 1 << 20
    at = region.length()
    while at > 0:
        start = max(0, at - step)
        block = region.read(start, at - start).rstrip(b"\0")
        if block:
            return min(-(-(start + len(block)) // _ALIGN) * _ALIGN, region.length())
        at = start
    return 0


def content_size(media: Media, name: str) -> int:
    """How much of a slot is content: what the file system or FIT states, else a careful guess.

    The guess is the last byte that is not zero, rounded up to 1 MiB: a loader may end in zeros
    that its checksum covers, and the loaders' slots are smaller than that.
    """
    region = media.parts[name]
    length = region.length()
    superblock = read_superblock(region.read(0, 2048))
    if superblock is not None:
        return min(superblock.size, length)
    if media.kind == "folder" or name == "env":
        return length
    fit = describe_fit(region)
    if fit is not None:
        return min(max(int(fit["size"]), used_size(region)), length)
    return min(-(-used_size(region) // _GUESS) * _GUESS, length)


def versions(media: Media) -> dict[str, str]:
    """Versions found inside the parts: loaders, kernel, root file system, NPU runtime."""
    found: dict[str, str] = {}
    for name, key in (("idblock", "spl"), ("uboot", "u-boot")):
        region = media.parts.get(name)
        match = _LOADER.search(region.read(0, 4 << 20)) if region else None
        if match:
            found[key] = match[0].decode("ascii", "replace").strip()
    if boot := media.parts.get("boot"):
        for image in ("kernel", "linux", "kernel-1"):
            try:
                data = image_data(boot, image)
            except UserError:
                break
            if data and (version := _kernel_version(data)):
                found["kernel"] = version
                break
    root, oem = media.parts.get("rootfs"), media.parts.get("oem")
    if root and read_superblock(root.read(0, 2048)):
        release = _settings(root, "/etc/pico-image-release")
        for key, value in release.items():
            found[f"image {key.lower()}"] = value
        system = _settings(root, "/etc/os-release") or _settings(root, "/usr/lib/os-release")
        if title := system.get("PRETTY_NAME") or system.get("NAME"):
            found["rootfs"] = title
    for place in (root, oem):
        if place and read_superblock(place.read(0, 2048)):
            if match := _RUNTIME.search(_file(place, "/usr/lib/librknnmrt.so")):
                found.setdefault("librknnmrt", match[1].decode("utf-8", "replace").strip())
            if match := _MODULE.search(_file(place, "/usr/ko/rknpu.ko")):
                found["rknpu.ko for kernel"] = match[1].decode("ascii", "replace")
    return found


def _file(region: Region, path: str) -> bytes:
    try:
        return content.read_file(region, path) or b""
    except UserError:
        return b""


def _settings(region: Region, path: str) -> dict[str, str]:
    lines = _file(region, path).decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {key.strip(): value.strip().strip('"') for key, mark, value in pairs if mark}


def _kernel_version(data: bytes) -> str | None:
    """From the banner in the kernel, unpacked where it is gzip or xz or a zImage with one.

    A zImage holds the magic of its packer in the unpacking code too, so every place is tried.
    """
    if match := _KERNEL.search(data):
        return match[1].decode("ascii", "replace")
    for magic, unpack in ((b"\x1f\x8b\x08", _gunzip), (b"\xfd7zXZ\0", _unxz)):
        at = data.find(magic)
        while at >= 0:
            if match := _KERNEL.search(unpack(data[at:])):
                return match[1].decode("ascii", "replace")
            at = data.find(magic, at + 1)
    return None


def _gunzip(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _LARGEST)
    except zlib.error:
        return b""


def _unxz(data: bytes) -> bytes:
    try:
        return lzma.LZMADecompressor().decompress(data, _LARGEST)
    except lzma.LZMAError:
        return b""


def _argument(media: Media, name: str) -> str | None:
    for word in media.variables.get("sys_bootargs", "").split():
        key, _, value = word.partition("=")
        if key == name:
            return value
    return None


def _build_info(media: Media) -> dict[str, Any] | None:
    path = build_info_path(media.path)
    if media.kind == "device" or path is None:
        return None
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    return info if isinstance(info, dict) else None


def build_info_path(image: Path) -> Path | None:
    """The build-info.json that belongs to an image (or a folder of parts), if there is one."""
    if image.is_dir():
        candidates = [image / BUILD_INFO]
    else:
        candidates = [image.with_name(f"{image.name}.{BUILD_INFO}"), image.with_name(BUILD_INFO)]
    return next((path for path in candidates if path.is_file()), None)
