"""ext4 images out of folders, without root: owned by root, the same bytes for the same input.

``mke2fs -d`` copies owner and times of the files that it finds, so an ordinary user's build would
put uid 1000 on the board (the vendor's SDK does just that). Owners and times are therefore set
afterwards, inode by inode, with debugfs.
"""

from __future__ import annotations

import math
import os
import stat
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.extents import path_with_sbin

#: Named one by one: defaults differ between distributions, and the boards' 5.10 kernel does not
#: know the newest (orphan_file). metadata_csum lets e2fsck see what a power cut left behind.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,"
    "large_file,dir_nlink,extra_isize,metadata_csum"
)
#: As mke2fs itself chooses below 512 MiB. A journal has 1024 blocks at least (4 MiB of a rootfs
#: of 12 with 4 KiB blocks), and a file system of one group (128 MiB with 4 KiB blocks) has no
#: second superblock to be repaired from.
BLOCK = 1024
JOURNAL_BLOCKS = 1024
INODE = 256
#: One inode per 64 KiB: the boards hold few and large files.
_INODES_PER_BYTE = 1 / 65536
#: Bytes that one block of bitmap describes.
_GROUP = 8 * BLOCK * BLOCK
_NAMESPACE = uuid.UUID("6f1d3c1e-0d39-5a43-9a1c-3f0f7f0a51c0")


def make(
    console: Console,
    folder: Path,
    image: Path,
    *,
    label: str,
    slot_size: int,
    epoch: int,
    shrink: bool = False,
    modes: Mapping[str, int] | None = None,
) -> None:
    """Write ``image``, a file system of ``slot_size`` bytes with the content of ``folder``.

    With ``shrink`` the image is as large as its content needs; the board grows it to its slot.
    ``epoch`` becomes the time of every inode. ``modes`` maps paths ("/etc/shadow") to
    permissions that are not the usual.

    Raises UserError with both sizes when the content does not fit the slot, before anything
    is written to ``image``.
    """
    check_fits(folder, label, slot_size)
    paths = _tree(folder)
    size = _estimate(paths) if shrink else slot_size
    # Growing adds groups with as many inodes each as the first ones have.
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
        console.run(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-O", FEATURES, "-b", str(BLOCK)),
                *("-I", str(INODE), "-N", str(int(inodes)), "-m", "1", "-L", label),
                *("-J", f"size={JOURNAL_BLOCKS * BLOCK >> 20}", "-U", identity),
                *("-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=0,nodiscard"),
                *("-d", folder, work, f"{size // 1024}k"),
            ],
            what=f"make the file system of {label}",
            env=env,
        )
        commands = Path(scratch) / "commands"
        commands.write_text(_inode_script(folder, paths, epoch, modes or {}), encoding="utf-8")
        answer = console.run(
            ["debugfs", "-w", "-f", commands, work], what=f"set the owners in {label}", env=env
        )
        # debugfs reports a failed command on its output and still exits 0.
        if bad := [line for line in answer.splitlines() if not _expected(line)]:
            raise RuntimeError(f"debugfs could not set the inodes of {label}: {bad[:3]}")
        console.run(["e2fsck", "-f", "-n", work], what=f"check the file system {label}", env=env)
        os.replace(work, image)


def check_fits(folder: Path, label: str, slot_size: int) -> None:
    """Raise UserError with both sizes when the content of ``folder`` is too large for its slot."""
    needed = _estimate(_tree(folder))
    if needed > slot_size:
        raise UserError(
            f"{label} needs about {megabytes(needed)} and its partition has {megabytes(slot_size)}",
            hint=f"take models or programs out of the variant, or give {label} a larger slot "
            "in its partition string (configs/boards.yml, or `partitions:` in the variant)",
        )


def read_file(console: Console, image: Path, path: str, *, offset: int = 0) -> bytes:
    """One file out of the file system at byte ``offset`` of ``image``, without mounting it.

    After a power cut this is the state before the journal is replayed: boot the card once more
    to see what its system sees. Raises UserError when the file system cannot be read or has no
    such file.
    """
    with tempfile.TemporaryDirectory(prefix="pico-ext4-") as scratch:
        out = Path(scratch) / "file"
        answer = console.run(
            ["debugfs", "-R", f'dump "{_plain(path)}" "{out}"', f"{image}?offset={offset}"],
            what=f"read {path} from {image}",
            env={"PATH": path_with_sbin()},
        )
        if not out.exists():
            reason = answer.strip().splitlines()[-1] if answer.strip() else "no such file"
            raise UserError(f"could not read {path} from {image} at byte {offset}: {reason}")
        return out.read_bytes()


def list_folder(console: Console, image: Path, path: str, *, offset: int = 0) -> list[str]:
    """Names in a folder of the file system at byte ``offset`` of ``image``, sorted."""
    answer = console.run(
        ["debugfs", "-R", f'ls -p "{_plain(path)}"', f"{image}?offset={offset}"],
        what=f"list {path} of {image}",
        env={"PATH": path_with_sbin()},
    )
    rows = [line.split("/") for line in answer.splitlines() if line.startswith("/")]
    return sorted(row[5] for row in rows if row[1] != "0" and row[5] not in (".", ".."))


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
        # A folder's own size differs between the file systems that a build may lie on.
        size = 32 * sum(1 for _ in path.iterdir()) if path.is_dir() else path.stat().st_size
        blocks += max(1, math.ceil(size / BLOCK))
    content = blocks * BLOCK
    table = int(max(_INODES_PER_BYTE * content, 2 * len(paths))) * INODE
    # Superblocks, group descriptors and what resize_inode keeps for more of them: 512 KiB.
    return (int((content + table) * 1.03) + (1 << 19)) // 4096 * 4096


def _inode_script(folder: Path, paths: list[Path], epoch: int, modes: Mapping[str, int]) -> str:
    lines = []
    names = ["/", "/lost+found"]
    names += ["/" + path.relative_to(folder).as_posix() for path in paths]
    for name in names:
        target = f'"{_plain(name)}"'
        lines += [f"sif {target} uid 0", f"sif {target} gid 0"]
        lines += [
            f"sif {target} {field} @{epoch}" for field in ("atime", "mtime", "ctime", "crtime")
        ]
        lines += [
            f"sif {target} {field}_extra 0" for field in ("atime", "mtime", "ctime", "crtime")
        ]
        if name != "/lost+found":
            source = folder / name.lstrip("/")
            kind = stat.S_IFMT(source.lstat().st_mode)
            mode = modes.get(name, _default_mode(source))
            lines.append(f"sif {target} mode 0{kind | mode:o}")
    return "\n".join(lines) + "\n"


def _default_mode(path: Path) -> int:
    """0755 for folders and programs, 0644 for other files: the build's umask has no say."""
    if path.is_symlink():
        return 0o777
    return 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644


def _expected(line: str) -> bool:
    return not line.strip() or line.startswith(("debugfs", "sif "))


def _plain(name: str) -> str:
    if '"' in name or "\n" in name:
        raise UserError(f"the file name {name!r} cannot go into an image (quote or newline)")
    return name
