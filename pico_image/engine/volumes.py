"""Named volumes of a container engine: made with labels, filled and read as tar streams.

A volume for files that do not change while in use is named after their content: it is filled
once, marked whole last, and never altered, so a run that is cut off while filling it leaves
nothing that could be taken for whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker.errors

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.engine.client import PROJECT, Engine, Mount

#: Written last into a content-named volume.
WHOLE = ".whole"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file for a container: from a path of this machine, or its bytes."""

    content: Path | bytes
    executable: bool = False

    @property
    def link(self) -> str | None:
        """Where it points, for a symbolic link."""
        if isinstance(self.content, Path) and self.content.is_symlink():
            return os.readlink(self.content)
        return None

    def fingerprint(self) -> str:
        if self.link is not None:
            return f"-> {self.link}"
        if isinstance(self.content, bytes):
            digest = hashlib.sha256(self.content).hexdigest()
        else:
            digest = sha256_file(self.content)
        return f"{digest}{' x' if self.executable else ''}"


#: Path inside the container, relative, -> what is there.
Tree = dict[str, Entry]


def tree_of(folder: Path, prefix: str = "") -> Tree:
    """All files below a folder, byte-code left out."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
            continue
        name = f"{prefix}{path.relative_to(folder).as_posix()}"
        tree[name] = Entry(path, not path.is_symlink() and os.access(path, os.X_OK))
    return tree


def tree_hash(tree: Mapping[str, Entry]) -> str:
    """Hex SHA-256 over names, modes and contents."""
    digest = hashlib.sha256()
    for name in sorted(tree):
        digest.update(f"{name}\0{tree[name].fingerprint()}\n".encode())
    return digest.hexdigest()


def ensure(engine: Engine, name: str, labels: Mapping[str, str], *, what: str) -> bool:
    """Make the volume unless it is there; True when it is new.

    Raises UserError when one of that name is there with other labels: someone else's.
    """
    wanted = {PROJECT: "volume", **labels}
    with engine.guard(f"make the volume {name}"):
        try:
            volume = engine.client.volumes.get(name)
        except docker.errors.NotFound:
            engine.client.volumes.create(name, labels=wanted)
            return True
    found = dict(volume.attrs.get("Labels") or {})
    for key, value in wanted.items():
        if found.get(key) != value:
            raise UserError(
                f"the volume {name}, needed for {what}, is not what its name says: its label "
                f"{key} is {found.get(key)!r} instead of {value!r}",
                hint=f"remove it with `{engine.program} volume rm {name}` (it is made again), or "
                "keep it under another name",
            )
    return False


def put(
    engine: Engine,
    image: str,
    volume: str,
    tree: Mapping[str, Entry],
    folder: str = ".",
    *,
    last: Mapping[str, Entry] | None = None,
) -> None:
    """Write files into a volume, owned by root; ``last`` only when all others are there."""
    with (
        engine.holder(image, [Mount(volume, "/volume")]) as container,
        engine.guard(f"write to the volume {volume}"),
    ):
        for files in (tree, last or {}):
            if files:
                container.put_archive(f"/volume/{folder}", _tar(files))


def read(engine: Engine, image: str, volume: str, path: str) -> bytes | None:
    """One file of a volume, or None when it is not there."""
    return next(iter(read_all(engine, image, volume, path).values()), None)


def read_all(engine: Engine, image: str, volume: str, path: str) -> dict[str, bytes]:
    """The regular files at a path of a volume (a file, or a folder of small ones), by name."""
    found: dict[str, bytes] = {}
    with (
        engine.holder(image, [Mount(volume, "/volume", read_only=True)]) as container,
        engine.guard(f"read from the volume {volume}"),
    ):
        try:
            stream, _ = container.get_archive(f"/volume/{path}")
        except docker.errors.NotFound:
            return {}
        with tarfile.open(fileobj=_Stream(stream), mode="r|") as bundle:
            for member in bundle:
                opened = bundle.extractfile(member) if member.isfile() else None
                if opened is not None:
                    found[Path(member.name).name] = opened.read()
    return found


def content_volume(
    engine: Engine,
    console: Console,
    image: str,
    prefix: str,
    tree: Mapping[str, Entry],
    *,
    what: str,
) -> str:
    """Name of a volume that holds exactly ``tree``, filled now unless it was before."""
    digest = tree_hash(tree)
    name = f"{prefix}-{digest[:16]}"
    new = ensure(engine, name, {f"{PROJECT}.content": digest}, what=what)
    if not new and read(engine, image, name, WHOLE) == digest.encode():
        return name
    size = sum(_size(entry) for entry in tree.values())
    with console.step(f"Hand {what} to the engine ({len(tree)} files, {size / 1e6:.1f} MB)"):
        put(engine, image, name, tree, last={WHOLE: Entry(digest.encode())})
    return name


def remove_others(engine: Engine, console: Console, prefix: str, keep: str) -> None:
    """Remove content-named volumes of the same prefix; those in use stay."""
    with engine.guard("list volumes"):
        for volume in engine.client.volumes.list(filters={"label": f"{PROJECT}.content"}):
            if str(volume.name).startswith(f"{prefix}-") and volume.name != keep:
                with contextlib.suppress(docker.errors.APIError):
                    volume.remove()
                    console.log(f"removed the volume {volume.name}")


def get_files(
    engine: Engine,
    console: Console,
    image: str,
    volume: str,
    path: str,
    folder: Path,
    *,
    total: int,
) -> list[Path]:
    """Copy the regular files of a volume's folder to ``folder``; they belong to the caller.

    Nothing in the engine can write here: the files come as a stream and are created by us.
    Each appears whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with (
        engine.holder(image, [Mount(volume, "/volume", read_only=True)]) as container,
        engine.guard(f"read from the volume {volume}"),
        console.progress("export", total, "B") as bar,
    ):
        stream, _ = container.get_archive(f"/volume/{path}", chunk_size=BLOCK)
        with tarfile.open(fileobj=_Stream(stream), mode="r|") as bundle:
            for member in bundle:
                name = Path(member.name).name
                if not member.isfile():
                    continue
                source = bundle.extractfile(member)
                assert source is not None
                made.append(_write_sparse(folder / name, source, bar.advance))
    return made


def _write_sparse(path: Path, source: IO[bytes], advance: Any) -> Path:
    """Copy to a temporary name, zeros as holes, then rename."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as target:
            while block := source.read(BLOCK):
                if block.count(0) == len(block):
                    target.seek(len(block), os.SEEK_CUR)
                else:
                    target.write(block)
                advance(len(block))
            target.truncate()
            target.flush()
            os.fsync(target.fileno())
        part.chmod(0o644)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path


def _size(entry: Entry) -> int:
    if entry.link is not None:
        return 0
    return len(entry.content) if isinstance(entry.content, bytes) else entry.content.stat().st_size


def _tar(tree: Mapping[str, Entry]) -> Iterator[bytes]:
    """The tree as a tar stream, folders included, everything owned by root."""
    folders: set[str] = set()
    for name in sorted(tree):
        entry = tree[name]
        for parent in reversed(Path(name).parents):
            if str(parent) not in (".", *folders):
                folders.add(str(parent))
                member = tarfile.TarInfo(str(parent))
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                yield member.tobuf(tarfile.PAX_FORMAT)
        member = tarfile.TarInfo(name)
        if entry.link is not None:
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link, 0o777
            yield member.tobuf(tarfile.PAX_FORMAT)
            continue
        member.mode = 0o755 if entry.executable else 0o644
        yield from _file(member, entry)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(member: tarfile.TarInfo, entry: Entry) -> Iterator[bytes]:
    if isinstance(entry.content, bytes):
        source: IO[bytes] = io.BytesIO(entry.content)
        member.size = len(entry.content)
    else:
        source = entry.content.open("rb")
        status = os.fstat(source.fileno())
        member.size, member.mtime = status.st_size, int(status.st_mtime)
    with source:
        yield member.tobuf(tarfile.PAX_FORMAT)
        left = member.size
        while left > 0:
            block = source.read(min(BLOCK, left))
            if not block:
                raise UserError(f"{entry.content!r} became shorter while it was read")
            left -= len(block)
            yield block
    yield bytes(-member.size % tarfile.BLOCKSIZE)


class _Stream(io.RawIOBase):
    """An iterable of blocks as a file that tarfile can read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__()
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
