"""The commit that the project is at, and the date that its images carry."""

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
    commit = _git(root, "rev-parse", "HEAD")
    dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return Revision(commit or "unknown", dirty)


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
    return int(_git(root, "log", "-1", "--format=%ct") or NO_DATE)


def source_date(root: Path) -> str:
    """The same date as text: ``2026-01-01T00:00:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(source_date_epoch(root)))


def _git(root: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "-C", str(root), *words],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
