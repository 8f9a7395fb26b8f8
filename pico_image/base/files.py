"""Folders of the project, files that are whole or absent, locks, temporary folders, hashes.

A half-written file never has its final name: write to a temporary name, fsync, rename.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import filelock

from pico_image.base.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
#: Errors of writing to another user's folder or to a read-only disk.
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = (errno.ENOSPC, errno.EDQUOT)
#: A temporary folder is locked right after it is made; a younger one without a lock may be new.
GRACE_SECONDS = 60.0
#: Longest time for which ``remove_tree`` races a program that makes files in the same folder.
REMOVE_SECONDS = 30.0


def output_dir() -> Path:
    """Where results go, ``out/`` beside tasks.py unless ``PICO_OUTPUT_DIR`` says otherwise."""
    folder = os.environ.get("PICO_OUTPUT_DIR")
    return Path(folder).expanduser().absolute() if folder else ROOT / "out"


def unwritable_output(error: OSError) -> UserError | None:
    """The error to show when results cannot be written; None for any other OSError."""
    path, output = Path(str(error.filename)), output_dir()
    inside = path.is_relative_to(output)
    if inside and error.errno in FULL:
        return UserError(
            f"no space left while writing {path}",
            hint="free some space, or name another folder with PICO_OUTPUT_DIR",
        )
    # Not a directory: PICO_OUTPUT_DIR names a file.
    refused = inside and error.errno in (*UNWRITABLE, errno.ENOTDIR)
    if refused or output.is_relative_to(path):
        return UserError(
            f"cannot write results to {path}: {error.strerror}",
            hint="name another folder for results with PICO_OUTPUT_DIR",
        )
    return None


def remove_tree(path: Path) -> None:
    """Remove a file or a folder, also while another program makes or removes files in it.

    The tools of a killed build may still run: mkimage removed its temporary file between our
    listing of the folder and our removal of that file, and the next build ended with
    FileNotFoundError. Raises OSError for what cannot be removed, or not within REMOVE_SECONDS.
    """
    until = time.monotonic() + REMOVE_SECONDS
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
            time.sleep(0.01)  # the program that writes there ends, or fails without its folder
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
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(
                f"no space left while writing {path}", hint="free some space and run it again"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path, "w") as stream:
        stream.write(text)


@contextlib.contextmanager
def locked(
    path: Path, what: str, *, wait: bool = True, notify: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file ``path``; a second run waits and names the process that it waits for.

    The kernel releases the lock (flock) when its holder is killed.
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
        # Every writer takes a lock first, so a read-only disk shows here.
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


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder in ``parent`` (the system's temporary folder), removed at the end of the block.

    First removes folders of the same prefix that killed runs left: a killed ``emulate`` left its
    card, 100 MB and more. Every owner locks its folder, and the kernel releases that lock (flock)
    when the owner ends, also in a container.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_abandoned(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with _folder_lock(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(prefix: str, parent: Path) -> None:
    """Remove the scratch folders of that prefix whose owner has ended."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime < GRACE_SECONDS:
                continue
            with _folder_lock(folder):
                shutil.rmtree(folder)


@contextlib.contextmanager
def _folder_lock(path: Path) -> Iterator[None]:
    """Lock a folder. Raises OSError when another process has the lock, or it is no folder."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
    Byte-code folders are left out.
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
