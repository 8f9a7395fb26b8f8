"""``SHA256SUMS`` beside the image, in the form of coreutils' sha256sum."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file, write_text

NAME = "SHA256SUMS"
#: A signature of the sums, see pico_image.image.signing.
SIGNATURE = f"{NAME}.sig"


def write_sums(folder: Path, names: Iterable[str], known: Mapping[str, str] | None = None) -> Path:
    """Write the sums of ``names`` in ``folder``; those in ``known`` are not computed again."""
    have = known or {}
    lines = [f"{have.get(name) or sha256_file(folder / name)}  {name}\n" for name in sorted(names)]
    path = folder / NAME
    text = "".join(lines)
    if not path.is_file() or path.read_bytes() != text.encode():
        # A signature of other sums would read as a forgery.
        (folder / SIGNATURE).unlink(missing_ok=True)
    write_text(path, text)
    return path


def read_sums(path: Path) -> dict[str, str]:
    """File name to hex SHA-256. Raises UserError for a line that is none of sha256sum's."""
    sums: dict[str, str] = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64})[ ][ *](.+)", line)
        if match is None:
            raise UserError(f"{path}:{number}: not a line of sha256sum: {line[:80]!r}")
        sums[match[2]] = match[1].lower()
    return sums


def update_sums(folder: Path, names: Iterable[str], known: Mapping[str, str]) -> Path:
    """Like write_sums(), keeping the lines of other files that are still there."""
    path = folder / NAME
    others = read_sums(path) if path.is_file() else {}
    changed = set(names)
    kept = {
        name: total
        for name, total in others.items()
        if name not in changed and (folder / name).is_file()
    }
    return write_sums(folder, [*changed, *kept], {**kept, **known})
