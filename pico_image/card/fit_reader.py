"""Read a FIT (U-Boot's flattened image tree) where it lies, without external tools.

Structure: Devicetree Specification 0.4 chapter 5, "Flattened Devicetree (DTB) Format"; the
nodes of a FIT: U-Boot doc/usage/fit/source_file_format.rst. Cards are inspected on machines
that have neither dtc nor mkimage, so the walk is done here; tests compare it with fdtget.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from pico_image.base.errors import UserError
from pico_image.card.region import Region

MAGIC = 0xD00DFEED
_BEGIN, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
#: No FIT of a board comes near it; a larger one is a damaged header.
LARGEST = 256 << 20


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


def tree_size(head: bytes) -> int | None:
    """The size that a tree states in its header (its first 40 bytes); None if it is none."""
    if len(head) < 40:
        return None
    magic, size = struct.unpack_from(">2I", head)
    return size if magic == MAGIC else None


def read_tree(data: bytes) -> Node:
    """Parse a flattened tree. Raises UserError when it is cut short or malformed."""
    size = tree_size(data)
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


def describe_fit(region: Region) -> dict[str, Any] | None:
    """What a FIT holds, each image checked against the hashes beside it; None if it is none.

    ``size`` is all of it, data outside the tree (``data-position``, ``data-offset``) included.
    """
    stated = tree_size(region.read(0, 40))
    if stated is None:
        return None
    if stated > min(region.length(), LARGEST):
        return {"size": stated, "problems": [f"cut short: {region.length()} of {stated} bytes"]}
    try:
        root = read_tree(region.read(0, stated))
    except UserError as error:
        return {"size": stated, "problems": [error.message]}
    images, problems, end = [], [], stated
    for name, node in root.children.get("images", Node()).children.items():
        data, last = _data(region, node, stated)
        end = max(end, last)
        entry: dict[str, Any] = {
            "name": name,
            "description": node.text("description"),
            "type": node.text("type"),
            "arch": node.text("arch"),
            "os": node.text("os"),
            "compression": node.text("compression"),
            "load": node.number("load"),
            "entry": node.number("entry"),
            "size": len(data) if data is not None else None,
            "hashes": {},
        }
        if data is None:
            problems.append(f"{name}: its data lie beyond the end")
        for key, child in node.children.items():
            if data is not None and key.startswith("hash"):
                algorithm = child.text("algo")
                verdict = _check(algorithm, data, child.properties.get("value", b""))
                entry["hashes"][algorithm] = verdict
                if verdict == "wrong":
                    problems.append(f"{name}: its {algorithm} is wrong")
        images.append(entry)
    configurations = root.children.get("configurations", Node())
    return {
        "size": end,
        "description": root.text("description"),
        "timestamp": root.number("timestamp"),
        "default": configurations.text("default"),
        "configurations": list(configurations.children),
        "images": images,
        "problems": problems,
    }


def image_data(region: Region, name: str) -> bytes | None:
    """The bytes of one image of a FIT, None when it has none of that name."""
    stated = tree_size(region.read(0, 40))
    if stated is None or stated > min(region.length(), LARGEST):
        return None
    node = read_tree(region.read(0, stated)).children.get("images", Node()).children.get(name)
    return None if node is None else _data(region, node, stated)[0]


def _data(region: Region, node: Node, tree: int) -> tuple[bytes | None, int]:
    """An image's bytes (None when they are not all there) and where they end."""
    if "data" in node.properties:
        return node.properties["data"], tree
    size = node.number("data-size") or 0
    position = node.number("data-position")
    offset = node.number("data-offset")
    if position is None:
        if offset is None:
            return b"", tree
        position = ((tree + 3) & ~3) + offset
    if position + size > region.length():
        return None, tree
    return region.read(position, size), position + size


def _check(algorithm: str, data: bytes, stated: bytes) -> str:
    if algorithm == "crc32":
        return "good" if zlib.crc32(data) == int.from_bytes(stated, "big") else "wrong"
    if algorithm in ("sha256", "sha1", "md5", "sha384", "sha512"):
        digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
        return "good" if digest == stated else "wrong"
    return "not checked"
