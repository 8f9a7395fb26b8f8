"""Tar archives that become file systems, unpacked without root.

The archives come out of a container, so they are data from outside. All names are checked before
the first file is written: each lies in a folder of the archives themselves, never behind a link.
Files are made anew and without their permissions; owners, permissions and devices go only into the
image (`filesystem.make`). Of extended attributes, those that give rights are refused, because no
list of what an image may have would see them; others describe the machine that built
(security.selinux) and are left out.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pico_image.base.errors import UserError
from pico_image.card.filesystem import Entry

_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}
#: Keys of pax headers for file capabilities and access control lists.
_RIGHTS = re.compile(
    r"(SCHILY|LIBARCHIVE)\.(xattr\.(security\.capability|system\.posix_acl)|acl\.)"
)
#: Bytes of a name (ext4), of a path (the folders of a build come before it; Linux takes 4,095) and
#: of the target of a symbolic link (a block of 1 KiB holds it).
_NAME, _PATH, _TARGET = 255, 2048, 1023
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """An archive, not compressed; ``prefix`` ("usr/ko") is the folder into which it goes."""

    path: Path
    prefix: str = ""
    #: Whether it may have device nodes.
    devices: bool = False


@dataclass(frozen=True)
class _Member:
    entry: Entry
    archive: Archive
    #: Where the content of a regular file begins.
    offset: int = 0
    #: The target of a symbolic link as it is written, the path of a hard link's file.
    target: str = ""
    hard: bool = False


def entries_of(archive: Path) -> list[Entry]:
    """What is in an archive, as `filesystem.list_files` tells it of the image made from it.

    Raises UserError, with the name, for everything that `unpack` refuses.
    """
    members = _read([Archive(archive, devices=True)])
    members.pop("/", None)
    return [members[path].entry for path in sorted(members)]


def unpack(archives: Iterable[Archive], folder: Path) -> dict[str, Entry]:
    """Put the content of ``archives`` into the empty ``folder``; all entries by path.

    Raises UserError with a name and writes nothing, for a damaged archive, a name that is absolute,
    has ``..`` or occurs twice (but a folder may be in several archives), a link out of the tree, a
    device where none is allowed, a sparse file, a file capability or an access control list.
    """
    members = _read(archives)
    places = {path: folder / path.lstrip("/") for path in members}
    later: list[str] = []
    for path in sorted(members, key=lambda path: path.split("/")):  # folders before their content
        member, place = members[path], places[path]
        kind = stat.S_IFMT(member.entry.mode)
        try:
            if member.hard:
                later.append(path)
            elif kind == stat.S_IFDIR and path != "/":
                place.mkdir(0o700)
            elif kind == stat.S_IFREG:
                _copy(member, place)
            elif kind == stat.S_IFLNK:
                place.symlink_to(member.target)
            elif kind == stat.S_IFIFO:
                os.mkfifo(place, 0o600)
        except FileExistsError as error:
            raise UserError(
                f"{member.archive.path} has {path!r} and a name that differs in case or spelling "
                f"only; the file system of {folder} keeps one of them",
                hint="name a folder on another file system with PICO_OUTPUT_DIR",
            ) from error
    for path in later:
        places[path].hardlink_to(places[members[path].target])
    return {path: member.entry for path, member in members.items()}


def _copy(member: _Member, place: Path) -> None:
    with member.archive.path.open("rb") as source, place.open("xb") as target:
        source.seek(member.offset)
        left = member.entry.size
        while left > 0:
            data = source.read(min(left, _CHUNK))
            if not data:
                _refuse(member.archive, f"ends within {member.entry.path!r}")
            target.write(data)
            left -= len(data)


def _read(archives: Iterable[Archive]) -> dict[str, _Member]:
    """All members by path, checked, and the folders that no archive has but their names need."""
    members: dict[str, _Member] = {}
    for archive in archives:
        for member in _members(archive):
            path = member.entry.path
            known = members.setdefault(path, member)
            if known is member:
                continue
            if not (member.entry.is_folder and member.entry == known.entry):
                other = "" if known.archive is archive else f", first in {known.archive.path}"
                _refuse(archive, f"has {path!r} twice{other}")
    for path, member in list(members.items()):
        parent = path
        while parent != "/":
            parent = parent.rpartition("/")[0] or "/"
            implied = _Member(Entry(parent, stat.S_IFDIR | 0o755), member.archive)
            if not members.setdefault(parent, implied).entry.is_folder:
                _refuse(member.archive, f"has {path!r} inside {parent!r}, which is no folder")
    for path, member in members.items():
        if member.hard:
            file = members.get(member.target)
            if file is None or file.hard or not stat.S_ISREG(file.entry.mode):
                _refuse(
                    member.archive,
                    f"has the hard link {path!r} to {member.target!r}, which is no file in it",
                )
            linked = Entry(path, file.entry.mode, file.entry.uid, file.entry.gid, file.entry.size)
            members[path] = _Member(linked, member.archive, 0, member.target, hard=True)
    return members


def _members(archive: Archive) -> Iterator[_Member]:
    try:
        with tarfile.open(archive.path, "r:", encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                yield _member(archive, info)
            # tarfile takes a damaged header for the end, which is a block of zeros.
            end = tar.offset
        with archive.path.open("rb") as stream:
            stream.seek(end)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                _refuse(archive, f"is damaged or cut short at byte {end}")
    except FileNotFoundError as error:
        raise UserError(f"there is no archive {archive.path}") from error
    except (tarfile.TarError, ValueError, OverflowError) as error:
        _refuse(archive, f"cannot be read: {error}")


def _member(archive: Archive, info: tarfile.TarInfo) -> _Member:
    path = _path(archive, info.name, "a name")
    kind = _KINDS.get(info.type)
    if path == "/" and not info.isdir():
        _refuse(archive, "has something else than a folder as its root")
    if kind is None:
        what = "a sparse file" if info.type == tarfile.GNUTYPE_SPARSE else f"type {info.type!r}"
        _refuse(archive, f"has {path!r}, which is {what}; files, folders and links are understood")
    if info.issparse():
        _refuse(archive, f"has {path!r}, which is a sparse file; write it without --sparse")
    for key in info.pax_headers:
        if _RIGHTS.match(key):
            _refuse(
                archive,
                f"gives rights to {path!r} by {key}, which no image may have",
                "BR2_ROOTFS_DEVICE_TABLE_SUPPORTS_EXTENDED_ATTRIBUTES is the setting of Buildroot",
            )
    if not 0 <= info.uid < 0xFFFFFFFF or not 0 <= info.gid < 0xFFFFFFFF or info.size < 0:
        _refuse(archive, f"has {path!r} with owner {info.uid}:{info.gid}, size {info.size}")
    mode, uid, gid = kind | stat.S_IMODE(info.mode), info.uid, info.gid
    if info.issym():
        target = info.linkname
        _check_link(archive, path, target)
        entry = Entry(path, stat.S_IFLNK | 0o777, uid, gid, len(os.fsencode(target)))
        return _Member(entry, archive, target=target)
    if info.islnk():
        file = _path(archive, info.linkname, f"the hard link {path!r}, whose target")
        return _Member(Entry(path, mode, uid, gid), archive, target=file, hard=True)
    if info.isreg():
        return _Member(Entry(path, mode, uid, gid, info.size), archive, info.offset_data)
    if info.ischr() or info.isblk():
        device = info.devmajor, info.devminor
        if not archive.devices:
            _refuse(archive, f"has the device {path!r}; only a root file system may have one")
        name = path.rpartition("/")[2]
        if "\n" in name or "\r" in name or not all(0 <= number < 256 for number in device):
            _refuse(archive, f"has the device {path!r} {device}, which debugfs cannot make")
        return _Member(Entry(path, mode, uid, gid, device=device), archive)
    return _Member(Entry(path, mode, uid, gid), archive)


def _path(archive: Archive, name: str, what: str) -> str:
    """The path of a member in the file system: "/etc/passwd", "/" for ``./``."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        _refuse(archive, f"has {what} that leads out of it: {name!r}")
    path = "/" + "/".join([*filter(None, archive.prefix.split("/")), *parts])
    if any(len(os.fsencode(part)) > _NAME for part in parts) or len(os.fsencode(path)) > _PATH:
        _refuse(archive, f"has {what} that is too long: {name[:80]!r}...")
    return path


def _check_link(archive: Archive, path: str, target: str) -> None:
    """Absolute targets are the board's own; a relative one may not climb over the root."""
    depth = path.count("/") - 1
    for part in [] if target.startswith("/") else target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            _refuse(archive, f"has the link {path!r} that leads out of it: {target!r}")
    if not 0 < len(os.fsencode(target)) <= _TARGET or "\0" in target:
        _refuse(archive, f"has the link {path!r} with a target that no file system takes")


def _refuse(archive: Archive, problem: str, hint: str = "") -> NoReturn:
    raise UserError(
        f"{archive.path} {problem}", hint=hint or "the stage that wrote it has to write it anew"
    )
