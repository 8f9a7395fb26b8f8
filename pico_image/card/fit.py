"""FIT images, U-Boot's container for a kernel and what goes with it: make and read them.

Format: Devicetree Specification 0.4, chapter 5, "Flattened Devicetree (DTB) Format"; nodes of a
FIT: doc/usage/fit/source_file_format.rst of U-Boot. mkimage makes them. They are read without
external tools, because cards are inspected on machines that have neither dtc nor mkimage; tests
compare the result with fdtget's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.blocks import Slice

_MAGIC = 0xD00DFEED
_BEGIN, _END_NODE, _PROPERTY, _NOP = 1, 2, 3, 4
_DIGESTS = ("sha256", "sha1", "md5", "sha384", "sha512")
#: Far above the size of any board's FIT; a header that states more is damaged.
_LARGEST = 256 << 20
_SOURCE = """/dts-v1/;
/ {{
    description = "{description}";
    #address-cells = <1>;
    images {{
        kernel {{
            description = "{kernel_description}";
            data = /incbin/("kernel");
            type = "kernel";
            arch = "arm";
            os = "linux";
            compression = "none";
            load = <0x40008000>;
            entry = <0x40008000>;
            hash {{ algo = "sha256"; }};
        }};
        ramdisk {{
            description = "makes the partitions, mounts the root file system";
            data = /incbin/("ramdisk");
            type = "ramdisk";
            arch = "arm";
            os = "linux";
            compression = "none";
            hash {{ algo = "sha256"; }};
        }};
    }};
    configurations {{
        default = "conf";
        conf {{ kernel = "kernel"; ramdisk = "ramdisk"; }};
    }};
}};
"""


@dataclass(frozen=True)
class BootFiles:
    """What goes into a FIT that is made here, with the texts that describe FIT and kernel."""

    kernel: Path
    ramdisk: Path
    description: str
    kernel_description: str


def make(console: Console, files: BootFiles, image: Path, epoch: int) -> None:
    """Write a FIT with one kernel and one ramdisk, the same bytes for the same input."""
    with tempfile.TemporaryDirectory(prefix=".fit.", dir=image.parent) as scratch:
        folder = Path(scratch)
        # Relative names: mkimage's output must not depend on where the build lies.
        (folder / "kernel").symlink_to(files.kernel.resolve())
        (folder / "ramdisk").symlink_to(files.ramdisk.resolve())
        source = _SOURCE.format(
            description=files.description, kernel_description=files.kernel_description
        )
        (folder / "image.its").write_text(source, encoding="utf-8")
        # mkimage keeps up to three copies of the image, and on a full disk it prints its usage
        # and "Can't write file", not the cause.
        needed = 3 * (files.kernel.stat().st_size + files.ramdisk.stat().st_size)
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(image))
        console.run(
            ["mkimage", "-f", "image.its", "image.itb"],
            what="make the FIT boot image",
            cwd=folder,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
        (folder / "image.itb").replace(image)


@dataclass
class Node:
    """A node of the tree: properties as bytes, children by name."""

    properties: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def text(self, name: str) -> str:
        raw = self.properties.get(name, b"")
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

    def number(self, name: str) -> int | None:
        """A property of one or two cells."""
        raw = self.properties.get(name, b"")
        return int.from_bytes(raw, "big") if len(raw) in (4, 8) else None


@dataclass(frozen=True)
class FitImage:
    """One image in a FIT; ``data`` is None when some of it is missing.

    ``hashes`` maps algorithms to "good", "wrong" or "not checked".
    """

    node: Node
    data: bytes | None
    hashes: dict[str, str]

    def to_json(self, name: str) -> dict[str, Any]:
        texts = ("description", "type", "arch", "os", "compression")
        return {
            "name": name,
            **{key: self.node.text(key) for key in texts},
            "load": self.node.number("load"),
            "entry": self.node.number("entry"),
            "size": None if self.data is None else len(self.data),
            "hashes": self.hashes,
        }


@dataclass(frozen=True)
class Fit:
    """A FIT; ``size`` in bytes includes data outside the tree."""

    size: int
    root: Node = field(default_factory=Node)
    images: dict[str, FitImage] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def content(self, name: str) -> bytes:
        """The bytes of one image. Raises UserError unless it is there and has its hash."""
        hint = "the image is damaged: build it again"
        image = self.images.get(name)
        if image is None:
            reason = "; ".join(self.problems) or f"it has no {name}"
            raise UserError(f"the FIT boot image cannot be read: {reason}", hint=hint)
        if image.data is None or set(image.hashes.values()) != {"good"}:
            raise UserError(
                f"{name} in the FIT boot image does not have the hash that the image states",
                hint=hint,
            )
        return image.data

    def to_json(self) -> dict[str, Any]:
        configurations = self.root.children.get("configurations", Node())
        return {
            "size": self.size,
            "description": self.root.text("description"),
            "timestamp": self.root.number("timestamp"),
            "default": configurations.text("default"),
            "configurations": list(configurations.children),
            "images": [image.to_json(name) for name, image in self.images.items()],
        }


def read(part: Slice) -> Fit | None:
    """The FIT in ``part``, with each image compared with its hashes; None if there is none.

    A FIT that is cut short or malformed has ``problems`` and no images.
    """
    stated = _tree_size(part.read(0, 40))
    if stated is None:
        return None
    if stated > min(part.length(), _LARGEST):
        return Fit(stated, problems=(f"cut short: {part.length()} of {stated} bytes",))
    try:
        root = read_tree(part.read(0, stated))
    except UserError as error:
        return Fit(stated, problems=(error.message,))
    images: dict[str, FitImage] = {}
    problems: list[str] = []
    end = stated
    for name, node in root.children.get("images", Node()).children.items():
        data, last = _data(part, node, stated)
        end = max(end, last)
        hashes: dict[str, str] = {}
        if data is None:
            problems.append(f"{name}: its data lie beyond the end")
        for key, child in node.children.items():
            if data is not None and key.startswith("hash"):
                algorithm = child.text("algo")
                verdict = _check(algorithm, data, child.properties.get("value", b""))
                hashes[algorithm] = verdict
                if verdict == "wrong":
                    problems.append(f"{name}: its {algorithm} is wrong")
        images[name] = FitImage(node, data, hashes)
    return Fit(end, root, images, tuple(problems))


def _tree_size(head: bytes) -> int | None:
    """The size that a tree states in its header (its first 40 bytes); None if it is none."""
    if len(head) < 40:
        return None
    magic, size = struct.unpack_from(">2I", head)
    return size if magic == _MAGIC else None


def read_tree(data: bytes) -> Node:
    """Parse a flattened tree. Raises UserError when it is cut short or malformed."""
    size = _tree_size(data)
    if size is None:
        raise UserError("this is no device tree or FIT image")
    if size > len(data):
        raise UserError(f"the FIT image is cut short: {len(data)} of {size} bytes are there")
    structure, strings = struct.unpack_from(">2I", data, 8)
    try:
        return _walk(data, structure, strings)
    except (struct.error, IndexError, ValueError) as error:
        raise UserError(f"the FIT image is damaged: {error}") from error


def _walk(data: bytes, at: int, strings: int) -> Node:
    root = Node()
    stack: list[Node] = []
    while True:
        (token,) = struct.unpack_from(">I", data, at)
        at += 4
        if token == _BEGIN:
            end = data.index(b"\0", at)
            node = Node() if stack else root
            if stack:
                stack[-1].children[data[at:end].decode("utf-8", "replace")] = node
            stack.append(node)
            at = (end + 4) & ~3
        elif token == _END_NODE:
            stack.pop()
            if not stack:
                return root
        elif token == _PROPERTY:
            length, name = struct.unpack_from(">2I", data, at)
            at += 8
            if at + length > len(data):
                raise ValueError("a property reaches beyond the end")
            end = data.index(b"\0", strings + name)
            key = data[strings + name : end].decode("utf-8", "replace")
            stack[-1].properties[key] = data[at : at + length]
            at = (at + length + 3) & ~3
        elif token != _NOP:
            raise ValueError(f"token {token} at byte {at - 4}")


def _data(part: Slice, node: Node, tree: int) -> tuple[bytes | None, int]:
    """An image's bytes, None when some are missing, and the position of their end.

    They are in the tree, or after it at ``data-position`` or ``data-offset``.
    """
    if "data" in node.properties:
        return node.properties["data"], tree
    size = node.number("data-size") or 0
    position = node.number("data-position")
    offset = node.number("data-offset")
    if position is None:
        if offset is None:
            return b"", tree
        position = ((tree + 3) & ~3) + offset
    if position + size > part.length():
        return None, tree
    return part.read(position, size), position + size


def _check(algorithm: str, data: bytes, stated: bytes) -> str:
    if algorithm == "crc32":
        return "good" if zlib.crc32(data) == int.from_bytes(stated, "big") else "wrong"
    if algorithm in _DIGESTS:
        digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
        return "good" if digest == stated else "wrong"
    return "not checked"
