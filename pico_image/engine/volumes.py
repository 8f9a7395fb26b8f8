"""Named volumes of a container engine: made with labels, filled and read as tar streams.

A volume for files that do not change is named after their content: it is filled once, gets the
mark WHOLE last, and is never altered. A run that is killed while it fills one leaves no mark.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker.errors
from docker.models.containers import Container

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.engine.client import Engine, Mount

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
        """Its target, for a symbolic link."""
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


def json_entry(data: object) -> Entry:
    """The bytes of ``data`` as JSON, the same for the same data."""
    return Entry(json.dumps(data, sort_keys=True).encode())


#: Relative path inside the container -> its file.
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
    """Make the volume unless it exists; True when it is new.

    Raises UserError when one of that name has other labels, so it belongs to something else.
    """
    expected = {engine.owner: "volume", **labels}
    with engine.guard(f"make the volume {name}"):
        try:
            volume = engine.client.volumes.get(name)
        except docker.errors.NotFound:
            engine.client.volumes.create(name, labels=expected)
            return True
    actual = dict(volume.attrs.get("Labels") or {})
    for key, value in expected.items():
        if actual.get(key) != value:
            raise UserError(
                f"the volume {name}, needed for {what}, is not what its name says: its label "
                f"{key} is {actual.get(key)!r} instead of {value!r}",
                hint=f"remove it with `{engine.program} volume rm {name}` (it is made again), or "
                "keep it under another name",
            )
    return False


@dataclass(frozen=True)
class Volume:
    """A named volume; containers of ``image`` take files in and out, and never start."""

    engine: Engine
    image: str
    name: str

    def put(
        self,
        tree: Mapping[str, Entry],
        folder: str = ".",
        *,
        last: Mapping[str, Entry] | None = None,
    ) -> None:
        """Write files, owned by root; ``last`` only when all others are written."""
        with (
            self.engine.holder(self.image, Mount(self.name, "/volume")) as container,
            self.engine.guard(f"write to the volume {self.name}"),
        ):
            for files in (tree, last or {}):
                if files:
                    container.put_archive(f"/volume/{folder}", _blocks(_tar(files)))

    def read(self, path: str) -> bytes | None:
        """One file, or None when it is not there."""
        return next(iter(self.read_all(path).values()), None)

    def read_all(self, path: str) -> dict[str, bytes]:
        """The regular files at a path (a file, or a folder of small ones), by name."""
        with self._reader() as container:
            try:
                stream, _ = container.get_archive(f"/volume/{path}", chunk_size=BLOCK)
            except docker.errors.NotFound:
                return {}
            return {name: file.read() for name, file in _members(stream)}

    def export(self, console: Console, path: str, folder: Path, *, total: int) -> list[Path]:
        """Copy the regular files of a folder to ``folder``; they belong to the caller.

        The files come as a stream and we create them, so a container can write nothing here.
        Each appears whole or not at all. ``total`` is their size in bytes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._reader() as container, console.progress("export", total, "B") as bar:
            stream, _ = container.get_archive(f"/volume/{path}", chunk_size=BLOCK)
            return [
                _write_sparse(folder / name, file, bar.advance) for name, file in _members(stream)
            ]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Container]:
        mount = Mount(self.name, "/volume", read_only=True)
        with (
            self.engine.holder(self.image, mount) as container,
            self.engine.guard(f"read from the volume {self.name}"),
        ):
            yield container


def content_volume(
    engine: Engine,
    console: Console,
    image: str,
    prefix: str,
    tree: Mapping[str, Entry],
    *,
    what: str,
) -> str:
    """Name of a volume with exactly the files of ``tree``, filled unless it was before."""
    digest = tree_hash(tree)
    name = f"{prefix}-{digest[:16]}"
    new = ensure(engine, name, {f"{engine.owner}.content": digest}, what=what)
    volume = Volume(engine, image, name)
    if not new and volume.read(WHOLE) == digest.encode():
        return name
    size = sum(_size(entry) for entry in tree.values())
    with console.step(f"Hand {what} to the engine ({len(tree)} files, {size / 1e6:.1f} MB)"):
        volume.put(tree, last={WHOLE: Entry(digest.encode())})
    return name


def remove_others(engine: Engine, console: Console, prefix: str, keep: str) -> None:
    """Remove content-named volumes of the same prefix, unless they are in use."""
    with engine.guard("list volumes"):
        for volume in engine.client.volumes.list(filters={"label": f"{engine.owner}.content"}):
            if str(volume.name).startswith(f"{prefix}-") and volume.name != keep:
                with contextlib.suppress(docker.errors.APIError):
                    volume.remove()
                    console.log(f"removed the volume {volume.name}")


def _members(stream: Iterable[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of the regular files in a tar stream."""
    with tarfile.open(fileobj=_Stream(stream), mode="r|") as bundle:
        for member in bundle:
            file = bundle.extractfile(member) if member.isfile() else None
            if file is not None:
                yield Path(member.name).name, file


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
    folders = {"."}
    for name in sorted(tree):
        entry = tree[name]
        for parent in reversed(Path(name).parents):
            if str(parent) not in folders:
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


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each is sent by itself, and 107,000 files have 400,000."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _file(member: tarfile.TarInfo, entry: Entry) -> Iterator[bytes]:
    if isinstance(entry.content, bytes):
        source: IO[bytes] = io.BytesIO(entry.content)
        member.size = len(entry.content)
    else:
        try:
            source = entry.content.open("rb")
        except OSError as error:
            raise UserError(f"could not read {entry.content}: {error.strerror}") from error
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
