"""Folders of the project, files that are whole or absent, locks, and the cache of built things.

Nothing half-written is ever taken for whole: write to a temporary name, fsync, rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import filelock

from pico_image.base.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
#: What writing to a folder of somebody else's, or on a read-only disk, fails with.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def output_dir() -> Path:
    """Where results go, ``out/`` beside tasks.py unless ``PICO_OUTPUT_DIR`` says otherwise."""
    folder = os.environ.get("PICO_OUTPUT_DIR")
    return Path(folder).expanduser().absolute() if folder else ROOT / "out"


def remove_tree(path: Path, seconds: float = 30) -> None:
    """Remove a file or a folder, also while somebody makes or removes files in it.

    A killed build's tools live on: mkimage took its temporary file away between our listing of the
    folder and our removal of that file, and the next build ended with FileNotFoundError.
    Raises OSError for what stays for another reason, or still after ``seconds``.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            if not path.is_symlink() and not path.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() > until:
                raise
            time.sleep(0.01)  # what writes there ends, or fails once its folder is gone
        else:
            return


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb", *, permissions: int = 0o644) -> Iterator[IO[Any]]:
    """Open a temporary file that becomes ``path`` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    encoding = None if "b" in mode else "utf-8"
    try:
        with os.fdopen(handle, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, permissions)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left while writing {path}", hint="free some space and run it again"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path, "w") as stream:
        stream.write(text)


@contextlib.contextmanager
def locked(path: Path, what: str, *, wait: bool = True, notify: Any = None) -> Iterator[None]:
    """Hold the lock file ``path``; a second run waits, and is told which process it waits for.

    The lock is the kernel's (flock), so a killed holder leaves nothing behind.
    """
    lock = filelock.FileLock(path)
    owner = path.with_suffix(".owner")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        holder = "another process"
        with contextlib.suppress(OSError):
            holder = f"process {owner.read_text(encoding='utf-8').strip()}"
        message = f"{what} is in use by {holder} (lock {path})"
        if not wait:
            raise UserError(message, hint="wait for it to end, then run this again") from None
        if notify is not None:
            notify(f"{message}; waiting")
        lock.acquire()
    except OSError as error:
        # Every writer begins here, and so meets a folder of somebody else's or on a read-only disk.
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"cannot write to {path.parent}, which is needed for {what}: {error.strerror}",
            hint="name another cache with PICO_CACHE_DIR, other results with PICO_OUTPUT_DIR",
        ) from error
    try:
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_tree(paths: Iterable[Path]) -> str:
    """Hex SHA-256 over names, modes and contents of files and folders (recursively, sorted).

    Names are relative to each given path, so a tree hashes alike wherever it lies.
    Byte-code folders are no input of anything and are left out.
    """
    digest = hashlib.sha256()
    for base in paths:
        if base.is_dir():
            files = [
                item
                for item in sorted(base.rglob("*"))
                if "__pycache__" not in item.parts and not (item.is_dir() and not item.is_symlink())
            ]
        else:
            files = [base]
        for item in files:
            name = item.relative_to(base).as_posix() if item != base else base.name
            if item.is_symlink():
                content, mode = "-> " + os.readlink(item), "l"
            else:
                content, mode = sha256_file(item), "x" if os.access(item, os.X_OK) else "-"
            digest.update(f"{name}\0{mode}\0{content}\n".encode())
    return digest.hexdigest()
