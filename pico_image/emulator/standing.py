"""Folders that something is made from and that may be removed meanwhile: a cache can be deleted.

A model whose files went while its folder was copied would be missing in the image, and the image
would be taken for whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pico_image.base.errors import UserError

Listing = dict[str, tuple[int, int]]


@contextlib.contextmanager
def standing(folders: Mapping[str, Path], what: str) -> Iterator[Callable[[], None]]:
    """Make ``what`` out of ``folders`` in the block; call what it gets whenever a piece is made.

    Raises UserError naming the folder that was removed or changed, also in place of what failed
    because of that.
    """
    before = {name: _listing(folder) for name, folder in folders.items()}

    def check() -> None:
        for name, folder in folders.items():
            now = _listing(folder)
            if now != before[name]:
                gone = sorted(before[name].keys() - now.keys())
                how = "was removed" if not now else f"was changed ({', '.join(gone[:3])} gone)"
                raise UserError(
                    f"the folder of {name}, {folder}, {how if gone else 'was changed'} while "
                    f"{what} was being made",
                    hint="run it again: what is missing is made anew; remove a cache only when "
                    "nothing uses it",
                )

    try:
        yield check
        check()
    except (OSError, UserError) as error:
        try:
            check()
        except UserError as told:
            raise told from error
        raise


def _listing(folder: Path) -> Listing:
    """Names, sizes and times; empty for a folder that is not there."""
    found: Listing = {}
    for place, _, names in os.walk(folder):  # passes over what goes while it walks
        for name in names:
            path = Path(place, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found
