"""The recorded boards of ``tests/boards`` as roots of our programs, and traps in them."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

BOARDS = Path(__file__).parents[1] / "boards"
NAMES = tuple(sorted(path.name for path in BOARDS.iterdir() if path.is_dir()))
MAX, MINI = "pico-max-5.10.110", "pico-mini-5.10.160"

_IN_OPEN, _IN_NONBLOCK = 0x20, os.O_NONBLOCK
_EVENT = struct.Struct("iIII")


def board(
    folder: Path, name: str = MINI, files: Mapping[str, str | None] = MappingProxyType({})
) -> Path:
    """A copy of a recorded board at ``folder``.

    ``files`` changes some: their text, or None to leave one out.
    """
    shutil.copytree(BOARDS / name, folder)
    for key, text in files.items():
        path = folder / key
        path.unlink(missing_ok=True)
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


@contextmanager
def _opens(path: Path) -> Iterator[int]:
    """A descriptor from which inotify's events of opening ``path`` are read, without waiting."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(_IN_NONBLOCK)
    assert handle >= 0, os.strerror(ctypes.get_errno())
    try:
        watch = libc.inotify_add_watch(handle, os.fsencode(path), _IN_OPEN)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        yield handle
    finally:
        os.close(handle)


def _names(handle: int) -> list[str]:
    """The file of each event since the last call: "" for what is watched itself."""
    names = []
    with suppress(BlockingIOError):
        while events := os.read(handle, 1 << 16):
            while events:
                size = _EVENT.size + _EVENT.unpack_from(events)[3]
                names.append(events[_EVENT.size : size].rstrip(b"\0").decode())
                events = events[size:]
    return names


@contextmanager
def opened_below(folder: Path) -> Iterator[set[str]]:
    """Watch a folder: the names of its files that somebody opened, filled when the block ends."""
    names: set[str] = set()
    with _opens(folder) as handle:
        yield names
        names.update(_names(handle))


@contextmanager
def deadly(path: Path) -> Iterator[list[int]]:
    """Make a file of a recorded board kill each process that reads it, as a kernel oops does.

    The file is a FIFO that never has an end: its reader waits until SIGKILL comes. Yields the
    processes that were killed.
    """
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    killed: list[int] = []
    stop = threading.Event()
    writer = os.open(path, os.O_RDWR)

    def kill_readers(handle: int) -> None:
        opened = 0
        while not stop.is_set():
            select.select([handle], [], [], 0.1)
            opened += len(_names(handle))
            # One that has just opened it shows up in /proc a moment later.
            while len(killed) < opened and not stop.is_set():
                for process in set(_with_open(path)) - set(killed):
                    killed.append(process)
                    os.kill(process, signal.SIGKILL)

    with _opens(path) as handle:
        thread = threading.Thread(target=kill_readers, args=(handle,))
        thread.start()
        try:
            yield killed
        finally:
            stop.set()
            thread.join()
            os.close(writer)


def _with_open(path: Path) -> list[int]:
    """Other processes that have the file open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        process = int(folder.parent.name)
        with suppress(OSError):
            if process != os.getpid() and any(
                link.samefile(path) for link in folder.iterdir() if _is_pipe(link)
            ):
                found.append(process)
    return found


def _is_pipe(link: Path) -> bool:
    with suppress(OSError):
        return link.is_fifo()
    return False
