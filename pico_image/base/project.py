"""The commit that the project is at, the date of its images, and what git says of a work tree."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import UserError

#: Name of the cache folder, and of all that we make in a container engine.
NAME = "luckfox-pico-npu"
#: The date of an image from a tree without git: the start of 2023.
NO_DATE = 1672531200


@dataclass(frozen=True)
class Revision:
    """The commit of a tree ("unknown" without git), and whether files differ from it."""

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit + ("-dirty" if self.dirty else "")


def revision(root: Path) -> Revision:
    commit = _git(root, "rev-parse", "HEAD").strip()
    dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return Revision(commit or "unknown", dirty)


@dataclass(frozen=True)
class WorkTree:
    """A folder with its own git: files that differ from the commit or are new, and what it ignores.

    ``commit`` is empty where git does not know the folder.
    """

    commit: str = ""
    changed: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()


def work_tree(root: Path) -> WorkTree:
    """What git says of ``root``; nothing is written there."""
    # A repository around the folder would answer, too.
    commit = _git(root, "rev-parse", "HEAD").strip() if (root / ".git").exists() else ""
    if not commit:
        return WorkTree()
    options = ("--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching")
    lines = _git(root, "status", *options).split("\0")[:-1]
    ignored = frozenset(line[3:].rstrip("/") for line in lines if line.startswith("!!"))
    return WorkTree(commit, frozenset(line[3:].rstrip("/") for line in lines) - ignored, ignored)


def version(root: Path) -> str:
    """The version of everything in the tree: host, board programs, packages."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    if match is None:
        raise LookupError(f"{root / 'pyproject.toml'} has no version")
    return match[1]


def source_date_epoch(root: Path) -> int:
    """``SOURCE_DATE_EPOCH`` if set, else the time of the last commit, else ``NO_DATE``; seconds.

    Raises UserError when the variable is not a whole number.
    """
    if value := os.environ.get("SOURCE_DATE_EPOCH"):
        if not re.fullmatch(r"[0-9]{1,10}", value):
            raise UserError(
                f"SOURCE_DATE_EPOCH is {value!r}, not a number of seconds since 1970",
                hint='export SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)", or unset it',
            )
        return int(value)
    return int(_git(root, "log", "-1", "--format=%ct").strip() or NO_DATE)


def source_date(root: Path) -> str:
    """The same date as text: ``2026-01-01T00:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(source_date_epoch(root)))


def _git(root: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", "-c", f"safe.directory={root}", "-C", str(root), *words],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except OSError:
        return ""
    return answer.stdout if answer.returncode == 0 else ""
