"""Looks for ways in that everybody knows: the vendor's password, accounts without one."""

from __future__ import annotations

import re
from pathlib import Path

from pico_image.image import access

#: root's password on the vendor's images (luckfox-sdk.md section 6).
VENDORS = "luckfox"
HASH = re.compile(rb"\$(1|5|6)\$([./0-9A-Za-z]{1,16})\$[./0-9A-Za-z]{22,86}")
OPTIONS = {b"1": "-1", b"5": "-5", b"6": "-6"}
SETTING = re.compile(rb'ROOT_PASSWD="?([^"\n]*)')
#: In passwd and shadow, an account that needs no password.
NO_PASSWORD = re.compile(rb"^([A-Za-z_][\w-]*):(?=:)", re.MULTILINE)


def known_ways_in(root: Path) -> list[str]:
    """What is wrong in the files below ``root``, empty when nothing is."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        name = str(path.relative_to(root))
        for match in HASH.finditer(data):
            salt = match[2].decode()
            if access.hash_password(VENDORS, OPTIONS[match[1]], salt).encode() == match[0]:
                found.append(f"{name}: the hash of {VENDORS!r}")
        found += [f"{name}: ROOT_PASSWD={m[1].decode()}" for m in SETTING.finditer(data) if m[1]]
        if path.name.removesuffix("-") in ("passwd", "shadow"):
            found += [
                f"{name}: {m[1].decode()} has no password" for m in NO_PASSWORD.finditer(data)
            ]
        if path.name == "users.txt" or name.endswith("users_table"):
            found += _users(name, data.decode())
    return found


def _users(name: str, text: str) -> list[str]:
    """Buildroot's table of users: the fifth field is a password, ``*`` for none that opens."""
    rows = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    return [f"{name}: {row[0]} has the password {row[4]}" for row in rows if row[4][0] not in "*!"]
