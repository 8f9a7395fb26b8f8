"""The few fields of an ext2/3/4 superblock that a card image is judged by.

Layout: Linux Documentation/filesystems/ext4/super.rst; the superblock lies at byte 1024.
Listing and extracting files is left to debugfs (see ``content.py``).
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

SUPERBLOCK = 1024
MAGIC = 0xEF53
_INCOMPAT_64BIT = 0x80
_INCOMPAT_RECOVER = 0x4
_INCOMPAT_EXTENTS = 0x40
_COMPAT_JOURNAL = 0x4


@dataclass(frozen=True)
class Superblock:
    """What ``dumpe2fs -h`` would show of one file system; sizes in bytes."""

    kind: str
    block_size: int
    blocks: int
    free_blocks: int
    inodes: int
    free_inodes: int
    label: str
    uuid: str
    last_mounted: str
    state: str
    needs_recovery: bool
    made: int

    @property
    def size(self) -> int:
        return self.blocks * self.block_size

    @property
    def used(self) -> int:
        return (self.blocks - self.free_blocks) * self.block_size


def read_superblock(data: bytes) -> Superblock | None:
    """The superblock of a file system whose first 2048 bytes are given; None if it has none."""
    if len(data) < SUPERBLOCK + 1024:
        return None
    raw = data[SUPERBLOCK : SUPERBLOCK + 1024]
    (magic,) = struct.unpack_from("<H", raw, 0x38)
    if magic != MAGIC:
        return None
    inodes, blocks, _, free, free_inodes = struct.unpack_from("<5I", raw, 0)
    (log_size,) = struct.unpack_from("<I", raw, 0x18)
    if log_size > 6:  # 64 KiB is the largest block size there is
        return None
    (state,) = struct.unpack_from("<H", raw, 0x3A)
    compat, incompat = struct.unpack_from("<2I", raw, 0x5C)
    if incompat & _INCOMPAT_64BIT:
        blocks += struct.unpack_from("<I", raw, 0x150)[0] << 32
        free += struct.unpack_from("<I", raw, 0x158)[0] << 32
    if incompat & _INCOMPAT_EXTENTS:
        kind = "ext4"
    else:
        kind = "ext3" if compat & _COMPAT_JOURNAL else "ext2"
    states = {0: "not clean", 1: "clean"}
    return Superblock(
        kind=kind,
        block_size=1024 << log_size,
        blocks=blocks,
        free_blocks=free,
        inodes=inodes,
        free_inodes=free_inodes,
        label=_text(raw[0x78:0x88]),
        uuid=str(uuid.UUID(bytes=raw[0x68:0x78])),
        last_mounted=_text(raw[0x88:0xC8]),
        state="with errors" if state & 2 else states.get(state & 1, "clean"),
        needs_recovery=bool(incompat & _INCOMPAT_RECOVER),
        made=struct.unpack_from("<I", raw, 0x108)[0],
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
