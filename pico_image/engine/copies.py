"""Files of this machine as copies in a volume: what differs is sent again, and nothing else.

What a file is says its content, not its time. Reading 107,000 files (1.9 GB) takes 10 s, so those
whose size, times and inode are as they were are not read again, as git does it.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write
from pico_image.engine import run
from pico_image.engine.client import Container, Mount
from pico_image.engine.volumes import Entry, Volume, json_entry

#: A file that is newer than this when it is seen may change again and show the same time.
SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class Sources:
    """The files and links below a folder, by their names from there."""

    folder: Path
    #: In the cache: ``notes`` for what was read, ``notes.hashes`` for what came of it.
    notes: Path
    #: As ``lstat`` saw them.
    seen: Mapping[str, os.stat_result]
    #: What is neither file, folder nor link.
    special: Collection[str]
    #: What changed after this (ns) may change again and show the same time.
    settled: int

    def entry(self, name: str) -> Entry:
        executable = bool(self.seen[name].st_mode & 0o100)
        return Entry(self.folder / name, executable and not stat.S_ISLNK(self.seen[name].st_mode))

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Content, mode or target of each. Raises UserError for what cannot be read."""
        known = _loaded(self.notes)
        found, noted = {}, {}
        for name, status in self.seen.items():
            mark = _mark(status)
            before, _, found[name] = known.get(name, "").partition(" ")
            if before != mark:
                try:
                    found[name] = self.entry(name).fingerprint()
                except OSError as error:
                    raise _unusable(self.folder, [f"{name}: {error.strerror}"]) from error
            if status.st_ctime_ns < self.settled:
                noted[name] = f"{mark} {found[name]}"
        if noted != known:
            _save(self.notes, noted)
        return found

    def hashes(self, prefixes: Iterable[str]) -> dict[str, str]:
        """One hash for all files whose names begin so; ``""`` is every file.

        From the cache when no file changed: to read and hash 107,000 notes takes a second.
        """
        marks = "".join(f"{name}\0{_mark(status)}\n" for name, status in self.seen.items())
        mark = hashlib.sha256(marks.encode()).hexdigest()
        place = self.notes.with_suffix(".hashes")
        known = _loaded(place)
        wanted = list(prefixes)
        if known.get(" mark") != mark or not known.keys() >= set(wanted):
            known = {" mark": mark}
            names = list(self.seen)
            for prefix in wanted:
                ends = (bisect.bisect_left(names, each) for each in (prefix, f"{prefix}\U0010ffff"))
                text = "".join(f"{n}\0{self.fingerprints[n]}\n" for n in names[slice(*ends)])
                known[prefix] = hashlib.sha256(text.encode()).hexdigest()
            if all(status.st_ctime_ns < self.settled for status in self.seen.values()):
                _save(place, known)
        return {prefix: known[prefix] for prefix in wanted}

    def leaving(self, names: Iterable[str]) -> list[str]:
        """The links among these that lead out of the folder, with where to."""
        found = []
        for name in names:
            if name not in self.seen or not stat.S_ISLNK(self.seen[name].st_mode):
                continue
            link = os.readlink(self.folder / name)
            if os.path.normpath(Path(name).parent / link).startswith(("/", "..")):
                found.append(f"{name} -> {link}")
        return found

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those that are no longer as they were seen."""
        return [name for name in names if _mark(self.folder / name) != _mark(self.seen[name])]


def read(folder: Path, notes: Path, left_out: Set[str]) -> Sources:
    """The files below ``folder`` but those left out (names, whole folders too) and git's own.

    ``notes`` is a file of the cache. Raises UserError for folders that cannot be read, and names
    that are not UTF-8.
    """
    began = time.time_ns()
    seen, special = _scan(folder, left_out)
    return Sources(folder, notes, seen, special, began - SETTLED_NS)


def _loaded(place: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return {}
    return known


def _save(place: Path, data: Mapping[str, str]) -> None:
    with atomic_write(place) as stream:
        stream.write(json.dumps(data).encode())


def _scan(folder: Path, left_out: Set[str]) -> tuple[dict[str, os.stat_result], list[str]]:
    seen: dict[str, os.stat_result] = {}
    special, faulty, folders = [], [], [""]
    while folders:
        below = folders.pop()
        try:
            with os.scandir(folder / below) as items:
                for item in items:
                    name = below + item.name
                    status = item.stat(follow_symlinks=False)
                    if item.name == ".git" or name in left_out:
                        continue
                    if "\\udc" in ascii(name):
                        faulty.append(f"{os.fsencode(name)!r}: not UTF-8")
                    elif stat.S_ISDIR(status.st_mode):
                        folders.append(f"{name}/")
                    elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                        seen[name] = status
                    else:
                        special.append(name)
        except OSError as error:
            faulty.append(f"{below or '.'}: {error.strerror}")
    if faulty:
        raise _unusable(folder, faulty)
    return dict(sorted(seen.items())), special


def _unusable(folder: Path, faulty: Collection[str]) -> UserError:
    return UserError(
        f"what is below {folder} cannot be taken into the container: {few(faulty)}",
        hint="mend rights or names, or let git ignore what does not belong there "
        "(.git/info/exclude)",
    )


def few(names: Collection[str]) -> str:
    """The first three, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more


def _mark(of: os.stat_result | Path) -> str:
    """Nobody can set the last of the times: it tells content that changed under the same mtime."""
    try:
        now = of.lstat() if isinstance(of, Path) else of
    except OSError:
        return ""
    return f"{now.st_ino}:{now.st_size}:{now.st_mtime_ns}:{now.st_ctime_ns}"


def send(
    console: Console, volume: Volume, target: str, sources: Sources, *, force: bool = False
) -> None:
    """Make the volume's folder ``target`` have these files; with ``force`` all anew.

    What else is in the folder stays. Raises UserError when files change meanwhile; an interrupted
    copy goes on with what is not there yet.
    """
    digest = sources.hashes([""])[""].encode()
    if not force and volume.read(f"{target}.digest") == digest:
        return
    text = volume.read(f"{target}.files")
    known: dict[str, str] = json.loads(text) if text else {}
    changed = [n for n, is_now in sources.fingerprints.items() if force or known.get(n) != is_now]
    gone = known.keys() - sources.fingerprints.keys()
    with console.step(f"Copy {len(changed)} files of {sources.folder} into the volume"):
        there = known | dict.fromkeys(changed, "")
        volume.put({f"{target}.digest": Entry(b""), f"{target}.files": json_entry(there)})
        _with_files(console, volume, target, "rm -f --", gone)
        volume.put({f"{target}/{name}": sources.entry(name) for name in changed})
        if moved := sources.changed(changed):
            raise UserError(
                f"{sources.folder} changed while it was copied: {few(moved)}",
                hint="run the same command again when nothing writes there",
            )
        # make compares times by the container's clock. With its own time a new file can be older
        # than the object that was made of its predecessor, which would then stay.
        _with_files(console, volume, target, "touch -hc --", changed)
        volume.put(
            {f"{target}.files": json_entry(sources.fingerprints)},
            last={f"{target}.digest": Entry(digest)},
        )


def _with_files(
    console: Console, volume: Volume, target: str, command: str, names: Collection[str]
) -> None:
    if names:
        volume.put({f"{target}.names": Entry("\0".join(names).encode())})
        script = f"cd /volume/{target} && xargs -0 {command} <../{target}.names"
        mounts = [Mount(volume.name, "/volume")]
        container = Container(volume.image, ["bash", "-c", script], mounts)
        run.output_of(volume.engine, console, container, what=f"update the copy: {command}")


def add_missing(
    console: Console, volume: Volume, hashes: Mapping[str, str], get: Callable[[str], Path]
) -> None:
    """Bring files with these SHA-256 into a volume that others use at the same time.

    ``get`` is asked for what is not there, or damaged. Each file appears whole or not at all.
    """

    def inside(script: str, *words: str) -> list[str]:
        command = ["bash", "-ec", f"cd /volume; {script}", *words]
        container = Container(volume.image, command, [Mount(volume.name, "/volume")])
        return run.output_of(volume.engine, console, container, what="look for downloads")

    sums = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    lines = inside('sha256sum --check <<<"$0" 2>/dev/null || true', sums)
    missing = [name for name in hashes if f"{name}: OK" not in lines]
    if not missing:
        return
    files = {name: Entry(get(name)) for name in missing}
    folder = f".new-{socket.gethostname()}-{os.getpid()}"
    with console.step(f"Hand {len(files)} downloads to the engine"):
        volume.put({f"{folder}/{name}": entry for name, entry in files.items()})
        move = 'mkdir -p "${name%/*}"; mv -f "$0/$name" "$name"'
        # And what killed runs left.
        inside(f'for name; do {move}; done; rm -rf "$0"; '
               "find . -maxdepth 1 -name '.new-*' -mmin +1440 -exec rm -rf {} +",
               folder, *missing)  # fmt: skip
