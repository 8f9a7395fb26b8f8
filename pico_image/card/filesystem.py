"""ext file systems in slices of files: make and read them without mounting and without root.

Some fields of the superblock are read here (layout: Linux
Documentation/filesystems/ext4/super.rst), everything else by e2fsprogs. Its programs run in a
folder where the file has a plain name: debugfs splits its commands at spaces, and libext2fs takes
a ``?`` in a file name for the start of its options.

``mke2fs -d`` copies owners and times of the files, so the build of an ordinary user would put
uid 1000 on the board, as the vendor's SDK does. debugfs therefore sets owners, modes and times
afterwards and makes the device nodes, which only root may make in a folder. It is told numbers of
inodes, not names: a line break in a name would end its command.
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
#: Slots up to this size get blocks of 1 KiB: with 4 KiB the smallest journal, 1024 blocks, would
#: take 4 of the 12 MiB of the emulator's rootfs, and a file system below 128 MiB, which is one
#: group, would have no second superblock for repairs.
_SMALL = 512 << 20
#: A group of 8 MiB and the begin of the next, which has a second superblock.
_LEAST = 9 << 20
JOURNAL_BLOCKS = 1024
#: What a file system with blocks of 4 KiB can grow to while it is mounted: the limit of SDXC cards.
#: mke2fs reserves for 1024 times the size, 12 GiB for a rootfs of 12 MiB.
_LARGEST_CARD = 2 << 40
INODE = 256
#: The boards hold few and large files.
_BYTES_PER_INODE = 65536
_ROOT = 2
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
    """One name in a file system; ``size`` in bytes, 0 of what is neither file nor symbolic link."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    #: Major and minor number of a device; not known of one that was read from an image.
    device: tuple[int, int] = field(default=(0, 0), compare=False)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def __str__(self) -> str:
        return f"{stat.filemode(self.mode)} {self.uid:>5} {self.gid:>5} {self.size:>10} {self.path}"


@dataclass(frozen=True)
class Volume:
    """A file system to make; ``slot_size`` is the size of its partition in bytes."""

    label: str
    slot_size: int

    @property
    def block(self) -> int:
        """Bytes of a block, by the size to which the file system will grow.

        A group with blocks of 1 KiB has 8 MiB. On a card of 64 GB the kernel keeps 1 MiB in memory
        for them (measured; 70 KiB with blocks of 4 KiB), where a board has 33 MiB. It grew to that
        card in 16 s (1.5 s), because more descriptors than mke2fs can reserve, 256 blocks, make the
        kernel turn the mounted file system into one with meta_bg.
        """
        return 1024 if self.slot_size <= _SMALL else 4096


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
    return sorted((entry for _, entry in _inodes(image)), key=lambda entry: entry.path)


def _inodes(image: Slice) -> Iterator[tuple[int, Entry]]:
    """Inode and entry of every name."""
    level = {_ROOT: ""}
    seen: set[int] = set()
    while level:
        # One debugfs for each depth of the tree, not one for each folder.
        with _linked(image) as scratch:
            answer = _debugfs(image, scratch, [f"ls -p <{inode}>" for inode in level])
        blocks = re.split(r"^debugfs: ls -p <(\d+)>\n", answer, flags=re.MULTILINE)[1:]
        if blocks[::2] != [str(inode) for inode in level]:
            raise UserError(f"cannot list the files in {image}: one has the name of a command")
        deeper: dict[int, str] = {}
        for folder, block in zip(level.values(), blocks[1::2], strict=True):
            for inode, entry in _rows(folder, block):
                yield inode, entry
                if entry.is_folder and inode not in seen:  # a damaged tree may have circles
                    seen.add(inode)
                    deeper[inode] = entry.path
        level = deeper


def _rows(folder: str, block: str) -> Iterator[tuple[int, Entry]]:
    """Inode and entry of each row /INODE/MODE/UID/GID/NAME/SIZE/; deleted names have inode 0."""
    row = re.compile(r"^/(\d+)/(\d+)/(-?\d+)/(-?\d+)/([^/]+)/(\d*)/$", re.MULTILINE)
    for inode, mode, uid, gid, name, size in row.findall(block):
        if inode != "0" and name not in (".", ".."):
            # An owner above 2^31 is shown as a negative number.
            user, group = int(uid) % (1 << 32), int(gid) % (1 << 32)
            yield int(inode), Entry(f"{folder}/{name}", int(mode, 8), user, group, int(size or 0))


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
    if "\n" in path or "\r" in path:
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
    done = subprocess.run(
        command,
        input=os.fsencode(commands),
        cwd=folder,
        env={**os.environ, "PATH": path_with_sbin(), "LC_ALL": "C", "DEBUGFS_PAGER": "cat"},
        capture_output=True,
        check=False,
    )
    # Not text=True, which makes a line break of a carriage return in a name.
    output, errors = os.fsdecode(done.stdout), os.fsdecode(done.stderr)
    return subprocess.CompletedProcess(command, done.returncode, output, errors)


def _debugfs(image: Slice, folder: Path, commands: list[str]) -> str:
    try:
        done = _run(["debugfs", "-f", "-", _name(image)], folder, "\n".join(commands) + "\n")
    except FileNotFoundError as error:
        raise UserError(
            "could not find the program 'debugfs', which is needed to look into file systems",
            hint="install e2fsprogs",
        ) from error
    if done.returncode != 0 or "Filesystem not open" in done.stderr:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"debugfs cannot read {image}: {reason[-1] if reason else 'unknown'}")
    return done.stdout


def path_with_sbin() -> str:
    """PATH with the folders of e2fsprogs: Debian's /sbin is not in an ordinary user's PATH."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/opt/homebrew/opt/e2fsprogs/sbin"


def make(
    console: Console,
    folder: Path,
    image: Path,
    volume: Volume,
    epoch: int,
    entries: Mapping[str, Entry] | None = None,
) -> None:
    """Write ``image``, an ext4 file system with the content of ``folder``.

    It is as large as its content needs; the board grows it to its slot. ``entries`` has by path
    ("/etc/shadow") what belongs to others than root or has other permissions than the usual (0755
    for folders and programs, 0644), and the device nodes, which are not in ``folder``. ``epoch``
    becomes the time of every inode; the same input gives the same bytes.

    Raises UserError with both sizes, and leaves ``image`` as it was, when the content does not
    fit the slot.
    """
    label, block = volume.label, volume.block
    tree = _tree(folder, entries or {})
    needed, inodes = _needs(tree, block)
    if needed > volume.slot_size:
        raise UserError(
            f"{label} needs about {megabytes(needed)} and its partition has"
            f" {megabytes(volume.slot_size)}",
            hint=f"take models or programs out of the variant, or give {label} a larger slot "
            "in its partition string (configs/boards/, or `partitions:` in the variant)",
        )
    size = max(needed, min(_LEAST, volume.slot_size))
    identity = str(uuid.uuid5(_NAMESPACE, label))
    # A label of the build machine (security.selinux) would be copied, too.
    options = f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0,nodiscard,no_copy_xattrs"
    if block > 1024:
        options += f",resize={_LARGEST_CARD // block}"
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
        console.run(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-b", str(block)),
                *("-I", str(INODE), "-N", str(inodes), "-m", "1", "-L", label),
                *("-J", f"size={JOURNAL_BLOCKS * block >> 20}", "-U", identity, "-E", options),
                *("-d", folder.absolute(), work.name, f"{size // 1024}k"),
            ],
            what=f"make the file system of {label}",
            env=env,
            cwd=work.parent,
        )
        made = {entry.path: inode for inode, entry in _inodes(Slice(work))} | {"/": _ROOT}
        commands.write_bytes(os.fsencode(_script(tree, made, epoch)))
        answer = console.run(
            ["debugfs", "-w", "-f", commands.name, work.name],
            what=f"set the owners in {label}",
            env=env,
            cwd=work.parent,
        )
        # debugfs reports a failed command on its output and still exits 0.
        if bad := [line for line in answer.split("\n") if not _expected(line)]:
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


def _tree(folder: Path, entries: Mapping[str, Entry]) -> dict[str, tuple[Entry, int]]:
    """What the image will have, by path: the entry, and its inode in ``folder`` (0: none)."""
    tree = {path: (entry, 0) for path, entry in entries.items() if _is_device(entry)}
    for place in [folder, *folder.rglob("*")]:
        path = "/" if place == folder else f"/{place.relative_to(folder).as_posix()}"
        status = place.lstat()
        kind = stat.S_IFMT(status.st_mode)
        known = entries.get(path, Entry(path, _usual_mode(status.st_mode)))
        # The size of a folder depends on the file system of the build machine.
        size = 0 if stat.S_ISDIR(kind) else status.st_size
        mode = kind | stat.S_IMODE(known.mode)
        tree[path] = Entry(path, mode, known.uid, known.gid, size), status.st_ino
    return dict(sorted(tree.items()))


def _is_device(entry: Entry) -> bool:
    return stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode)


def _usual_mode(mode: int) -> int:
    """0755 for folders and programs, 0644 for other files, whatever the umask of the build."""
    if stat.S_ISLNK(mode):
        return 0o777
    return 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644


def _needs(tree: Mapping[str, tuple[Entry, int]], block: int) -> tuple[int, int]:
    """Bytes for the content: whole blocks, journal, inodes, 3 % for the rest; number of inodes."""
    blocks = JOURNAL_BLOCKS
    seen = {0}
    names: dict[str, int] = {}
    for path, (entry, inode) in tree.items():
        folder, _, name = path.rpartition("/")
        names[folder] = names.get(folder, 0) + len(os.fsencode(name)) + 12
        if entry.is_folder:
            names.setdefault(path.rstrip("/"), 0)
        # A symbolic link of less than 60 bytes lies in its inode, a hard link is no further file.
        elif inode not in seen and not (stat.S_ISLNK(entry.mode) and entry.size < 60):
            blocks += math.ceil(entry.size / block)
        seen.add(inode)
    blocks += sum(math.ceil((length + 24) / (block - 280)) for length in names.values())
    content = blocks * block
    group = 8 * block * block
    groups = math.ceil(content / group)
    # Growing adds groups with as many inodes as the first ones.
    inodes = groups * max(group // _BYTES_PER_INODE, math.ceil(2 * len(tree) / groups))
    # What resize_inode reserves is copied with the superblock, into every second group at most;
    # other group descriptors: 512 KiB.
    reserved = (1 + groups // 2) * (1 << 19) if block > 1024 else 0
    size = int((content + inodes * INODE) * 1.03) + (1 << 19) + reserved
    return size // 4096 * 4096, inodes


def _script(tree: Mapping[str, tuple[Entry, int]], made: Mapping[str, int], epoch: int) -> str:
    """The commands for debugfs that make the devices and set every inode.

    ``made`` has the inodes in the image by path. Raises UserError for a device with a line break
    in its name, which would end the command.
    """
    lines: list[str] = []
    inodes = {inode: path for path, inode in made.items()}  # a hard link's once
    for inode, path in inodes.items():
        entry = tree[path][0] if path in tree else Entry(path, stat.S_IFDIR | 0o700)  # lost+found
        lines += _set_inode(f"<{inode}>", entry, epoch)
    for path, (entry, _) in tree.items():
        if path not in made:
            folder, _, name = path.rpartition("/")
            kind = "c" if stat.S_ISCHR(entry.mode) else "b"
            major, minor = entry.device
            lines += [
                f"cd <{made[folder or '/']}>",
                f"mknod {_quoted(name)} {kind} {major} {minor}",
                *_set_inode(_quoted(f"./{name}"), entry, epoch),
            ]
    return "\n".join(lines) + "\n"


def _set_inode(target: str, entry: Entry, epoch: int) -> Iterator[str]:
    yield f"sif {target} uid {entry.uid}"
    yield f"sif {target} gid {entry.gid}"
    yield f"sif {target} mode 0{entry.mode:o}"
    for time in _TIMES:
        yield f"sif {target} {time} @{epoch}"
        yield f"sif {target} {time}_extra 0"


def _expected(line: str) -> bool:
    return not line.strip() or line.startswith(("debugfs", "sif ", "Allocated inode: "))
