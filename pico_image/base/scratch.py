"""Temporary folders that are gone afterwards, those of a killed run included.

A killed ``emulate`` left its card, 100 MB and more, in the temporary folder for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: A folder is locked right after it was made; only one this much older is taken for forgotten.
GRACE_SECONDS = 60.0


@contextlib.contextmanager
def folder(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """A new folder in ``place`` (the system's temporary folder), removed at the end of the block.

    Removes those of the same prefix that killed runs left: the kernel's lock (flock) that every
    owner holds on its folder ends with the owner, on whatever side of a container.
    """
    place = place or Path(tempfile.gettempdir())
    sweep(prefix, place)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with _lock(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sweep(prefix: str, place: Path) -> None:
    """Remove folders of that prefix whose owner is gone."""
    for left in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime < GRACE_SECONDS:
                continue
            with _lock(left):
                shutil.rmtree(left)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of a folder. Raises OSError when another has it, or it is no folder."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
