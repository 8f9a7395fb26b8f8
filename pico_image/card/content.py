"""Files inside an ext file system of an image, read by debugfs (e2fsprogs) without mounting."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.card.extents import path_with_sbin
from pico_image.card.region import Region


@dataclass(frozen=True)
class Entry:
    """One name in a file system; ``size`` in bytes, ``target`` of a symbolic link."""

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


def available() -> bool:
    return shutil.which("debugfs", path=path_with_sbin()) is not None


def list_files(region: Region, top: str = "/") -> list[Entry]:
    """Everything below ``top``, sorted by path. Raises UserError without debugfs."""
    found: list[Entry] = []
    level = [top.rstrip("/")]
    seen: set[int] = set()
    while level:
        # One debugfs for each depth of the tree, not one for each folder.
        answer = _debugfs(region, [f"ls -p {_quoted(folder or '/')}" for folder in level])
        blocks = answer.split("debugfs: ls -p ")[1:]
        deeper: list[str] = []
        for folder, block in zip(level, blocks, strict=False):
            for line in block.splitlines()[1:]:
                entry = _entry(folder, line)
                if entry is None:
                    continue
                inode, item = entry
                found.append(item)
                if item.is_folder and inode not in seen:  # a damaged tree may go in circles
                    seen.add(inode)
                    deeper.append(item.path)
        level = deeper
    return sorted(found, key=lambda item: item.path)


def _entry(folder: str, line: str) -> tuple[int, Entry] | None:
    # /INODE/MODE/UID/GID/NAME/SIZE/ ; deleted names have inode 0
    words = line.split("/")
    if len(words) < 8 or not words[1].isdigit() or words[1] == "0" or words[5] in (".", ".."):
        return None
    size = int(words[6]) if words[6].isdigit() else 0
    return int(words[1]), Entry(
        f"{folder}/{words[5]}", int(words[2], 8), int(words[3]), int(words[4]), size
    )


def read_file(region: Region, path: str, limit: int = 64 << 20) -> bytes | None:
    """A file's content, None when there is none of that name (or no debugfs)."""
    if not available():
        return None
    with tempfile.TemporaryDirectory(prefix="pico-content-") as scratch:
        out = Path(scratch) / "file"
        _debugfs(region, [f"dump {_quoted(path)} {out}"])
        if not out.is_file():
            return None
        with out.open("rb") as stream:
            return stream.read(limit)


def extract_tree(region: Region, folder: Path) -> None:
    """Copy all files of the file system into ``folder`` (owners only when root does it)."""
    folder.mkdir(parents=True, exist_ok=True)
    _debugfs(region, [f"rdump / {_quoted(os.fspath(folder))}"])


def _quoted(path: str) -> str:
    if '"' in path or "\n" in path:
        raise UserError(f"debugfs cannot be asked for the name {path!r}")
    return f'"{path}"'


def _debugfs(region: Region, commands: list[str]) -> str:
    environment = {**os.environ, "PATH": path_with_sbin(), "LC_ALL": "C", "DEBUGFS_PAGER": "cat"}
    try:
        done = subprocess.run(
            ["debugfs", "-f", "-", region.for_e2fsprogs()],
            input="\n".join(commands) + "\n",
            env=environment,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError(
            "could not find the program 'debugfs', which is needed to look into file systems",
            hint="install e2fsprogs",
        ) from error
    if done.returncode != 0 or "Filesystem not open" in done.stderr + done.stdout:
        reason = done.stderr.strip().splitlines()
        raise UserError(f"debugfs cannot read {region}: {reason[-1] if reason else 'unknown'}")
    return done.stdout
