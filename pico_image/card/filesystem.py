"""ext file systems in slices of files: make and read them without mounting and without root.

Some fields of the superblock are read here (layout: Linux
Documentation/filesystems/ext4/super.rst), everything else by e2fsprogs. Its programs run in a
folder where the file has a plain name: debugfs splits its commands at spaces, and libext2fs takes
a ``?`` in a file name for the start of its options.

``mke2fs -d`` copies owners and times of the files, so the build of an ordinary user would put
uid 1000 on the board, as the vendor's SDK does. debugfs therefore sets owners and times
afterwards, inode by inode.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.blocks import Slice, Span, merged

#: A complete list, because defaults differ between distributions and the boards' kernel 5.10 does
#: not support the newest (orphan_file). metadata_csum lets e2fsck find what a power cut damaged.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,"
    "large_file,dir_nlink,extra_isize,metadata_csum"
)
#: What mke2fs chooses below 512 MiB. With blocks of 4 KiB the smallest journal, 1024 blocks, would
#: take 4 of the 12 MiB of a rootfs, and a file system below 128 MiB, which is one group, would have
#: no second superblock for repairs.
BLOCK = 1024
JOURNAL_BLOCKS = 1024
INODE = 256
#: One inode per 64 KiB: the boards hold few and large files.
_INODES_PER_BYTE = 1 / 65536
_TIMES = ("atime", "mtime", "ctime", "crtime")
_NAMESPACE = uuid.UUID("6f1d3c1e-0d39-5a43-9a1c-3f0f7f0a51c0")

_SUPERBLOCK = 1024
_MAGIC = 0xEF53
_INCOMPAT_64BIT = 0x80
_INCOMPAT_RECOVER = 0x4
_INCOMPAT_EXTENTS = 0x40
_COMPAT_JOURNAL = 0x4
#: No file of a board is larger; of a damaged one no more is read.
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True)
class Superblock:
    """What ``dumpe2fs -h`` shows of a file system; sizes in bytes."""

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

    @property
    def size(self) -> int:
        return self.blocks * self.block_size

    @property
    def used(self) -> int:
        return (self.blocks - self.free_blocks) * self.block_size


@dataclass(frozen=True)
class Entry:
    """One name in a file system; ``size`` in bytes."""

    path: str
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def __str__(self) -> str:
        return f"{stat.filemode(self.mode)} {self.uid:>5} {self.gid:>5} {self.size:>10} {self.path}"


@dataclass(frozen=True)
class Volume:
    """A file system to make.

    ``slot_size`` is the size of its partition in bytes. With ``shrink`` the image is as large as
    its content needs; the board grows it to its slot. ``modes`` maps paths ("/etc/shadow") to
    permissions that are not the usual.
    """

    label: str
    slot_size: int
    shrink: bool = False
    modes: Mapping[str, int] = field(default_factory=dict)


def read_superblock(image: Slice) -> Superblock | None:
    """The superblock of the file system in ``image``; None if there is none."""
    raw = image.read(_SUPERBLOCK, 1024)
    if len(raw) < 1024:
        return None
    (magic,) = struct.unpack_from("<H", raw, 0x38)
    if magic != _MAGIC:
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
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def free_spans(image: Slice) -> list[Span]:
    """The spans of ``image`` that its file system marks as free; none when in doubt.

    Without dumpe2fs nothing counts as free, which makes flashing slower and is always right. The
    spans count from the slice's first byte.
    """
    if read_superblock(image) is None:
        return []
    try:
        with _linked(image) as folder:
            done = _run(["dumpe2fs", _name(image)], folder)
    except OSError:
        return []
    return _free_in(done.stdout) if done.returncode == 0 else []


def _free_in(report: str) -> list[Span]:
    size = re.search(r"^Block size:\s+(\d+)$", report, re.MULTILINE)
    # With bigalloc the bitmap counts clusters; the vendor does not use it and neither do we.
    if size is None or re.search(r"^Filesystem features:.*\bbigalloc\b", report, re.MULTILINE):
        return []
    block = int(size[1])
    spans: list[Span] = []
    for line in re.findall(r"^  Free blocks: (.+)$", report, re.MULTILINE):
        for piece in line.split(","):
            first, _, last = piece.strip().partition("-")
            if not first.isdigit() or not (last or "0").isdigit():
                return []
            spans.append((int(first) * block, (int(last or first) + 1) * block))
    return merged(spans)


def list_files(image: Slice) -> list[Entry]:
    """Every file and folder, sorted by path. Raises UserError when it cannot be read."""
    entries: list[Entry] = []
    level = [""]
    seen: set[int] = set()
    while level:
        # One debugfs for each depth of the tree, not one for each folder.
        with _linked(image) as scratch:
            answer = _debugfs(image, scratch, [f"ls -p {_quoted(path or '/')}" for path in level])
        deeper: list[str] = []
        for folder, block in zip(level, answer.split("debugfs: ls -p ")[1:], strict=False):
            for inode, entry in _rows(folder, block):
                entries.append(entry)
                if entry.is_folder and inode not in seen:  # a damaged tree may have circles
                    seen.add(inode)
                    deeper.append(entry.path)
        level = deeper
    return sorted(entries, key=lambda entry: entry.path)


def _rows(folder: str, block: str) -> Iterator[tuple[int, Entry]]:
    """Inode and entry of each row /INODE/MODE/UID/GID/NAME/SIZE/; deleted names have inode 0."""
    for line in block.splitlines()[1:]:
        words = line.split("/")
        if len(words) < 8 or not words[1].isdigit() or words[1] == "0" or words[5] in (".", ".."):
            continue
        size = int(words[6]) if words[6].isdigit() else 0
        path = f"{folder}/{words[5]}"
        yield int(words[1]), Entry(path, int(words[2], 8), int(words[3]), int(words[4]), size)


def read_file(image: Slice, path: str) -> bytes:
    """The content of one file.

    After a power cut this is the state before the journal is replayed; boot the card once more
    to get the state after it. Raises UserError when the file system cannot be read or has no
    such file.
    """
    with _linked(image) as folder:
        _debugfs(image, folder, [f"dump {_quoted(path)} file"])
        content = folder / "file"
        if not content.is_file():
            raise UserError(f"there is no file {path} in {image}")
        with content.open("rb") as stream:
            return stream.read(_LARGEST_FILE)


def extract(image: Slice, folder: Path) -> None:
    """Copy all files of the file system into ``folder`` (owners only when root does it)."""
    folder.mkdir(parents=True, exist_ok=True)
    with _linked(image) as scratch:
        (scratch / "out").symlink_to(folder.absolute())
        _debugfs(image, scratch, ["rdump / out"])


def _quoted(path: str) -> str:
    """A path as one word of a debugfs command. Raises UserError for a line break, which ends it."""
    if "\n" in path:
        raise UserError(f"debugfs does not take the name {path!r}: it has a line break")
    return '"' + path.replace('"', '""') + '"'


@contextmanager
def _linked(image: Slice) -> Iterator[Path]:
    """A folder with a link named ``image`` to the slice's file."""
    with tempfile.TemporaryDirectory(prefix="pico-filesystem-") as scratch:
        folder = Path(scratch)
        (folder / "image").symlink_to(image.path.absolute())
        yield folder


def _name(image: Slice) -> str:
    return f"image?offset={image.offset}" if image.offset else "image"


def _run(command: list[str], folder: Path, commands: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=commands,
        cwd=folder,
        env={**os.environ, "PATH": path_with_sbin(), "LC_ALL": "C", "DEBUGFS_PAGER": "cat"},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )


def _debugfs(image: Slice, folder: Path, commands: list[str]) -> str:
    try:
        done = _run(["debugfs", "-f", "-", _name(image)], folder, "\n".join(commands) + "\n")
    except FileNotFoundError as error:
        raise UserError(
            "could not find the program 'debugfs', which is needed to look into file systems",
            hint="install e2fsprogs",
        ) from error
    if done.returncode != 0 or "Filesystem not open" in done.stderr + done.stdout:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"debugfs cannot read {image}: {reason[-1] if reason else 'unknown'}")
    return done.stdout


def path_with_sbin() -> str:
    """PATH with the folders of e2fsprogs: Debian's /sbin is not in an ordinary user's PATH."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/opt/homebrew/opt/e2fsprogs/sbin"


def make(console: Console, folder: Path, image: Path, volume: Volume, epoch: int) -> None:
    """Write ``image``, an ext4 file system with the content of ``folder``, owned by root.

    ``epoch`` becomes the time of every inode; the same input gives the same bytes.

    Raises UserError with both sizes, and leaves ``image`` as it was, when the content does not
    fit the slot.
    """
    label = volume.label
    paths = _tree(folder)
    content_size = _estimate(paths)
    if content_size > volume.slot_size:
        raise UserError(
            f"{label} needs about {megabytes(content_size)} and its partition has"
            f" {megabytes(volume.slot_size)}",
            hint=f"take models or programs out of the variant, or give {label} a larger slot "
            "in its partition string (configs/boards/, or `partitions:` in the variant)",
        )
    size = content_size if volume.shrink else volume.slot_size
    # Growing adds groups with as many inodes as the first ones.
    inodes = max(_INODES_PER_BYTE * size, 2 * len(paths))
    identity = str(uuid.uuid5(_NAMESPACE, label))
    env = {
        "E2FSPROGS_FAKE_TIME": str(epoch),
        "SOURCE_DATE_EPOCH": str(epoch),
        "MKE2FS_CONFIG": os.devnull,
        "LC_ALL": "C",
        "TZ": "UTC",
        "PATH": path_with_sbin(),
    }
    with tempfile.TemporaryDirectory(prefix=f".{label}.", dir=image.parent) as scratch:
        work = Path(scratch) / "image"
        commands = Path(scratch) / "commands"
        commands.write_text(_inode_script(folder, paths, epoch, volume.modes), encoding="utf-8")
        console.run(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-b", str(BLOCK)),
                *("-I", str(INODE), "-N", str(int(inodes)), "-m", "1", "-L", label),
                *("-J", f"size={JOURNAL_BLOCKS * BLOCK >> 20}", "-U", identity),
                *("-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0,nodiscard"),
                *("-d", folder.absolute(), work.name, f"{size // 1024}k"),
            ],
            what=f"make the file system of {label}",
            env=env,
            cwd=work.parent,
        )
        answer = console.run(
            ["debugfs", "-w", "-f", commands.name, work.name],
            what=f"set the owners in {label}",
            env=env,
            cwd=work.parent,
        )
        # debugfs reports a failed command on its output and still exits 0.
        if bad := [line for line in answer.splitlines() if not _expected(line)]:
            raise RuntimeError(f"debugfs could not set the inodes of {label}: {bad[:3]}")
        console.run(
            ["e2fsck", "-f", "-n", work.name],
            what=f"check the file system {label}",
            env=env,
            cwd=work.parent,
        )
        os.replace(work, image)


def megabytes(size: int) -> str:
    """``12.3 MiB``."""
    return f"{size / (1 << 20):.1f} MiB"


def _tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)


def _estimate(paths: list[Path]) -> int:
    """Bytes for the content, in whole KiB: whole blocks, journal, inodes, 3 % for the rest."""
    blocks = JOURNAL_BLOCKS
    for path in paths:
        if path.is_symlink():
            continue
        # The size of a folder itself depends on the file system of the build machine.
        size = 32 * sum(1 for _ in path.iterdir()) if path.is_dir() else path.stat().st_size
        blocks += max(1, math.ceil(size / BLOCK))
    content = blocks * BLOCK
    table = int(max(_INODES_PER_BYTE * content, 2 * len(paths))) * INODE
    # Superblocks, group descriptors and what resize_inode reserves for more of them: 512 KiB.
    return (int((content + table) * 1.03) + (1 << 19)) // 4096 * 4096


def _inode_script(folder: Path, paths: list[Path], epoch: int, modes: Mapping[str, int]) -> str:
    lines = []
    names = ["/", "/lost+found"]
    names += ["/" + path.relative_to(folder).as_posix() for path in paths]
    for name in names:
        target = _quoted(name)
        lines += [f"sif {target} uid 0", f"sif {target} gid 0"]
        lines += [f"sif {target} {time} @{epoch}" for time in _TIMES]
        lines += [f"sif {target} {time}_extra 0" for time in _TIMES]
        if name != "/lost+found":
            source = folder / name.lstrip("/")
            kind = stat.S_IFMT(source.lstat().st_mode)
            mode = modes.get(name, _default_mode(source))
            lines.append(f"sif {target} mode 0{kind | mode:o}")
    return "\n".join(lines) + "\n"


def _default_mode(path: Path) -> int:
    """0755 for folders and programs, 0644 for other files, whatever the umask of the build."""
    if path.is_symlink():
        return 0o777
    return 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644


def _expected(line: str) -> bool:
    return not line.strip() or line.startswith(("debugfs", "sif "))
