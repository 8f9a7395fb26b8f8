"""What is in an image, a card or a folder of parts, what is wrong, and what differs.

The reports are data for JSON; describe() and describe_diff() make text of them.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import scratch_folder, sha256_tree
from pico_image.card import allowed, filesystem, fit
from pico_image.card.blocks import Slice
from pico_image.card.filesystem import read_superblock
from pico_image.card.image_file import Source, build_info_path, open_source
from pico_image.config.partitions import Part

SCHEMA = "1.0"
#: The whole line: "U-Boot SPL 2017.09-gf721bd0412-220330 #zzz (Mar 31 2022 - 09:34:07)".
_LOADER = re.compile(rb"U-Boot (?:SPL )?20\d\d\.\d\d[ -~]*")
#: Rockchip's program for the memory, before SPL: "DDR V1.10 ec2fae0c96 NAME 22/11/15-10:58:09".
_MEMORY = re.compile(rb"DDR V\d[ -~]*")
_KERNEL = re.compile(rb"Linux version (\d[-\w.+]*)")
_RUNTIME = re.compile(rb"librknnmrt version: ([^\0\n]+)")
_MODULE = re.compile(rb"vermagic=([^\0 ]+)")
#: "RKNS" is Rockchip's boot ROM header on the newer chips (tools/rkcommon.c of U-Boot).
_MAGICS = {b"RKNS": "rockchip loader", b"UBI#": "ubi", b"hsqs": "squashfs"}
_ALIGN = 512
_GUESS = 1 << 20
#: An ARM kernel unpacks to about 20 MB; more is not read.
_LARGEST = 64 << 20


def inspect_image(path: Path, *, layout: str | None = None, files: bool = False) -> dict[str, Any]:
    """A report on an image, a card or a folder of parts as data for JSON, sizes in bytes.

    ``files`` adds the content of the file systems. Raises UserError when ``path`` is none of the
    three, or when its environment is damaged and no ``layout`` is given in its place.
    """
    source = open_source(path, layout)
    problems = list(source.problems)
    partitions = [_inspect_part(source, part, files) for part in source.table]
    for entry in partitions:
        problems += [f"{entry['name']}: {text}" for text in entry["problems"]]
    info = _build_info(source)
    return {
        "schema": SCHEMA,
        "path": str(path),
        "kind": source.kind,
        "size": source.size,
        "environment": source.variables,
        "layout": str(source.table),
        "cma": _argument(source, "rk_dma_heap_cma"),
        "root": _argument(source, "root"),
        "partitions": partitions,
        "versions": _versions(source),
        "build_info": info,
        "problems": problems,
        "not_allowed": _not_allowed(source),
    }


def _not_allowed(source: Source) -> list[str] | None:
    """What the root file system should not have; None when it is not one of ours, or unreadable."""
    root = source.parts.get("rootfs")
    if root is None or read_superblock(root) is None:
        return None
    release = _settings(root, "/etc/pico-image-release")
    if not release:
        return None
    try:
        more = [allowed.permission(line) for line in release.get("ALLOWED", "").split("; ") if line]
        rules = allowed.rules_of(emulated=release.get("BACKEND") == "emulator", more=more)
        return allowed.problems(filesystem.list_files(root), rules, partial(_file, root))
    except (UserError, ValueError) as error:
        return [f"it could not be compared: {error}"]


def _inspect_part(source: Source, part: Part, files: bool) -> dict[str, Any]:
    """One partition: its place, its slot, and what the content is."""
    entry: dict[str, Any] = {
        "name": part.name,
        "number": source.table.number(part.name),
        "offset": part.offset,
        "slot": part.size,
        "content": {"kind": "absent"},
        "problems": [],
    }
    content = source.parts.get(part.name)
    if content is None:
        return entry
    length = content.length()
    problems: list[str] = entry["problems"]
    if part.size is not None and length > part.size:
        problems.append(f"its {length} bytes do not fit its slot of {part.size}")
    if (superblock := read_superblock(content)) is not None:
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
            entry["content"]["files"] = [str(item) for item in filesystem.list_files(content)]
    elif (boot := fit.read(content)) is not None:
        problems += boot.problems
        entry["content"] = {"kind": "fit", **boot.to_json()}
    elif part.name == "env":
        entry["content"] = {"kind": "environment", "size": length}
    else:
        size = _used_size(content)
        kind = _MAGICS.get(content.read(0, 4), "data") if size else "zeros"
        entry["content"] = {"kind": kind, "size": size}
    return entry


def _used_size(content: Slice) -> int:
    """Bytes up to the last one that is not zero, in whole sectors of 512."""
    step = 1 << 20
    at = content.length()
    while at > 0:
        start = max(0, at - step)
        block = content.read(start, at - start).rstrip(b"\0")
        if block:
            return min(-(-(start + len(block)) // _ALIGN) * _ALIGN, content.length())
        at = start
    return 0


def content_of(source: Source, name: str) -> Slice:
    """A part cut where its content ends, which a file system or FIT states.

    Other content ends at the last byte that is not zero, rounded up to 1 MiB: a loader may end
    in zeros that its checksum covers, and the slots of the loaders are smaller than 1 MiB.
    """
    part = source.parts[name]
    return replace(part, size=_content_size(source, name, part))


def _content_size(source: Source, name: str, part: Slice) -> int:
    length = part.length()
    superblock = read_superblock(part)
    if superblock is not None:
        return min(superblock.size, length)
    if source.kind == "folder" or name == "env":
        return length
    if (boot := fit.read(part)) is not None:
        return min(max(boot.size, _used_size(part)), length)
    return min(-(-_used_size(part) // _GUESS) * _GUESS, length)


def _versions(source: Source) -> dict[str, str]:
    """Versions found inside the parts: loaders, kernel, root file system, NPU runtime."""
    versions: dict[str, str] = {}
    for name, key, pattern in (
        ("idblock", "ddr", _MEMORY), ("idblock", "spl", _LOADER), ("uboot", "u-boot", _LOADER)
    ):  # fmt: skip
        loader = source.parts.get(name)
        for data in _programs(loader) if loader else ():
            if match := pattern.search(data):
                versions[key] = match[0].decode("ascii", "replace").strip()
                break
    boot = source.parts.get("boot")
    if container := fit.read(boot) if boot else None:
        for name in ("kernel", "linux", "kernel-1"):
            image = container.images.get(name)
            if image and image.data and (version := _kernel_version(image.data)):
                versions["kernel"] = version
                break
    root, oem = source.parts.get("rootfs"), source.parts.get("oem")
    if root and read_superblock(root):
        for key, value in _settings(root, "/etc/pico-image-release").items():
            versions[f"image {key.lower()}"] = value
        system = _settings(root, "/etc/os-release") or _settings(root, "/usr/lib/os-release")
        if title := system.get("PRETTY_NAME") or system.get("NAME"):
            versions["rootfs"] = title
    for part in (root, oem):
        if part and read_superblock(part):
            if match := _RUNTIME.search(_file(part, "/usr/lib/librknnmrt.so")):
                versions.setdefault("librknnmrt", match[1].decode("utf-8", "replace").strip())
            # The vendor's is /usr/ko/rknpu.ko in oem, ours /lib/modules/RELEASE/rknpu.ko.
            for path in (each.path for each in _listing(part)):
                if path.endswith("/rknpu.ko") and (match := _MODULE.search(_file(part, path))):
                    versions.setdefault("rknpu.ko for kernel", match[1].decode("ascii", "replace"))
    return versions


def _programs(loader: Slice) -> Iterator[bytes]:
    """A loader's bytes, and the unpacked programs of its FIT: the SDK packs U-Boot with LZMA."""
    yield loader.read(0, 4 << 20)
    container = fit.read(loader)
    for image in container.images.values() if container else ():
        unpack = {"lzma": _unxz, "gzip": _gunzip}.get(image.node.text("compression"))
        if unpack is not None and image.data:
            yield unpack(image.data)


def _listing(part: Slice) -> list[filesystem.Entry]:
    """Every file; none where there is no debugfs to list them, or the file system is damaged."""
    try:
        return filesystem.list_files(part)
    except UserError:
        return []


def _file(part: Slice, path: str) -> bytes:
    """A file's content; nothing where there is no such file, or no debugfs to read it with."""
    try:
        return filesystem.read_file(part, path)
    except UserError:
        return b""


def _settings(part: Slice, path: str) -> dict[str, str]:
    lines = _file(part, path).decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {key.strip(): value.strip().strip('"') for key, mark, value in pairs if mark}


def _kernel_version(data: bytes) -> str | None:
    """From the banner in the kernel: plain, in gzip or xz, or in a zImage with one of them.

    The unpacking code of a zImage contains the magic of its packer too, so each place is tried.
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


def _argument(source: Source, name: str) -> str | None:
    for word in source.variables.get("sys_bootargs", "").split():
        key, _, value = word.partition("=")
        if key == name:
            return value
    return None


def _build_info(source: Source) -> dict[str, Any] | None:
    path = build_info_path(source.path)
    if source.kind == "device" or path is None:
        return None
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    return info if isinstance(info, dict) else None


def diff_images(console: Console, a: Path, b: Path, *, files: bool = True) -> dict[str, Any]:
    """What differs between two images, cards or folders: variables, layout, content, files.

    Content is compared up to where it ends, so an image and the folder that it was made from
    are the same. ``files`` adds the names of changed files in ext file systems.
    """
    left, right = open_source(a), open_source(b)
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
    console: Console, left: Source, right: Source, name: str, files: bool
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    sides = (left, right)
    slots = [source.table.get(name) for source in sides]
    for key, values in (
        ("offset", [slot.offset if slot else None for slot in slots]),
        ("slot", [slot.size if slot else None for slot in slots]),
    ):
        if values[0] != values[1]:
            entry[key] = tuple(values)
    with console.step(f"compare {name}"):
        sums = [_content_sum(source, name) for source in sides]
        if sums[0] == sums[1]:
            return entry
        entry["content"] = tuple("absent" if total is None else total for total in sums)
        parts = [part for source in sides if (part := source.parts.get(name))]
        if files and len(parts) == 2 and all(map(read_superblock, parts)):
            entry["files"] = _diff_files(parts)
    return entry


def _content_sum(source: Source, name: str) -> str | None:
    """SHA-256 of a part's content without the zeros at its end; None when it is absent."""
    if name not in source.parts:
        return None
    digest = hashlib.sha256()
    zeros = 0
    for data in content_of(source, name).chunks():
        kept = data.rstrip(b"\0")
        if kept:
            digest.update(bytes(zeros))
            digest.update(kept)
            zeros = len(data) - len(kept)
        else:
            zeros += len(data)
    return digest.hexdigest()


def _diff_files(parts: list[Slice]) -> dict[str, list[str]]:
    with scratch_folder("pico-diff-") as place:
        listings: list[dict[str, tuple[object, ...]]] = []
        for number, part in enumerate(parts):
            folder = place / str(number)
            filesystem.extract(part, folder)
            listing: dict[str, tuple[object, ...]] = {}
            for entry in filesystem.list_files(part):
                path = folder / entry.path.lstrip("/")
                total = sha256_tree([path]) if path.is_symlink() or path.is_file() else ""
                listing[entry.path] = (entry.mode, entry.uid, entry.gid, total)
            listings.append(listing)
    one, other = listings
    return {
        "added": sorted(other.keys() - one.keys()),
        "removed": sorted(one.keys() - other.keys()),
        "changed": sorted(path for path in one.keys() & other.keys() if one[path] != other[path]),
    }


def describe(report: dict[str, Any]) -> str:
    """The report of inspect_image() as text."""
    lines = [f"{report['path']}: {report['kind']}, {_size(report['size'])}"]
    lines += [f"layout  {report['layout']}"]
    lines += [
        f"  {name} = {value.strip()}"
        for name, value in report["environment"].items()
        if name != "blkdevparts"
    ]
    lines.append("")
    lines.append(f"{'#':>2} {'partition':<10} {'offset':>12} {'slot':>10}  content")
    for part in report["partitions"]:
        slot = "rest" if part["slot"] is None else _size(part["slot"])
        lines.append(
            f"{part['number']:>2} {part['name']:<10} {part['offset']:>12} {slot:>10}  "
            f"{_content(part['content'])}"
        )
        for image in part["content"].get("images", ()):
            hashes = ", ".join(f"{name} {state}" for name, state in image["hashes"].items())
            bulk = "?" if image["size"] is None else _size(image["size"])
            lines.append(
                f"{'':39}{image['name']}: {image['description']}, {bulk}"
                + (f", {hashes}" if hashes else ", no hash")
            )
        lines += [f"{'':39}{entry}" for entry in part["content"].get("files", ())]
    if report["versions"]:
        lines.append("")
        lines += [f"{name}: {value}" for name, value in report["versions"].items()]
    if info := report["build_info"]:
        project = info.get("project", {})
        lines.append(
            f"build-info.json: variant {info.get('variant')}, backend {info.get('backend')},"
            f" commit {str(project.get('commit', 'unknown'))[:12]}"
            + (" with local changes" if project.get("dirty") else "")
        )
    lines += [f"problem: {text}" for text in report["problems"]]
    lines += [f"not allowed: {text}" for text in report["not_allowed"] or ()]
    return "\n".join(lines)


def describe_diff(report: dict[str, Any]) -> str:
    """The report of diff_images() as text."""
    if report["same"]:
        return f"{report['a']} and {report['b']} have the same content"
    lines = [f"a: {report['a']}", f"b: {report['b']}"]
    for name, (left, right) in report["environment"].items():
        lines += [f"environment {name}", f"  a {left}", f"  b {right}"]
    for name, part in report["partitions"].items():
        lines.append(f"partition {name}")
        for key in ("offset", "slot", "content"):
            if key in part:
                left, right = part[key]
                lines.append(f"  {key}: a {left}, b {right}")
        for kind in ("added", "removed", "changed"):
            lines += [f"  {kind} {path}" for path in part.get("files", {}).get(kind, ())]
    return "\n".join(lines)


def _size(count: int) -> str:
    """``12.3 MiB``; exact bytes below 10 KiB."""
    if count < 10 << 10:
        return f"{count} B"
    for unit, factor in (("KiB", 10), ("MiB", 20)):
        if count < 1000 << factor:
            return f"{count / (1 << factor):.4g} {unit}"
    return f"{count / (1 << 30):.4g} GiB"


def _content(content: dict[str, Any]) -> str:
    kind = content["kind"]
    if kind.startswith("ext"):
        label = f" {content['label']!r}" if content["label"] else ""
        extra = ", needs recovery" if content["needs_recovery"] else ""
        return (
            f"{kind}{label}, {_size(content['used'])} used of {_size(content['size'])},"
            f" {content['state']}{extra}"
        )
    if kind == "fit":
        return f"FIT {content.get('description', '')!r}, {_size(content['size'])}"
    if "size" in content:
        return f"{kind}, {_size(content['size'])}"
    return str(kind)
