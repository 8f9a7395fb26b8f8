"""Reading and writing cards: by mapped ranges, past the page cache, errors with their cause.

Without O_DIRECT the read-back would come from memory and prove nothing; where the system or
file system has no O_DIRECT, the cache is dropped before reading.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import queue
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pico_image.base.console import Progress
from pico_image.base.errors import UserError
from pico_image.card.bmap import Range
from pico_image.card.image_file import CHUNK, Readable, damaged, read_full

SECTOR = 512
#: ENOSPC too: the size was compared before, so a device that is full early is not what it was.
_GONE = (
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ENOSPC,
    getattr(errno, "ENOMEDIUM", errno.EIO),
)
_F_NOCACHE = 48  # macOS <sys/fcntl.h>


class Card:
    """An open device. All offsets are multiples of 512; the caller pads the last sector."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self.position = 0
        is_block = stat.S_ISBLK(path.stat().st_mode)
        flags = os.O_RDWR if write else os.O_RDONLY
        flags |= getattr(os, "O_CLOEXEC", 0)
        if write and is_block and sys.platform.startswith("linux"):
            flags |= os.O_EXCL  # the kernel refuses when something of it is mounted
        self.direct = hasattr(os, "O_DIRECT")
        try:
            self.handle = self._open(flags)
        except OSError as error:
            raise self._explain(error, "open") from error

    def _open(self, flags: int) -> int:
        if self.direct:
            try:
                return os.open(self.path, flags | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:  # tmpfs before Linux 6.6, and others
                    raise
                self.direct = False
        handle = os.open(self.path, flags)
        if sys.platform == "darwin":
            import fcntl

            with suppress(OSError):
                fcntl.fcntl(handle, _F_NOCACHE, 1)
        return handle

    def size(self) -> int:
        return os.lseek(self.handle, 0, os.SEEK_END)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of ``data``. Raises UserError when the device goes away or refuses."""
        while data:
            self.position = offset
            try:
                count = os.pwrite(self.handle, data, offset)
            except OSError as error:
                if error.errno == errno.EINVAL and self._without_direct():
                    continue
                raise self._explain(error, "write") from error
            data, offset = data[count:], offset + count

    def readinto(self, buffer: memoryview, offset: int) -> int:
        filled = 0
        while filled < len(buffer):
            self.position = offset + filled
            try:
                count = os.preadv(self.handle, [buffer[filled:]], offset + filled)
            except OSError as error:
                if error.errno == errno.EINVAL and self._without_direct():
                    continue
                raise self._explain(error, "read") from error
            if count == 0:
                break
            filled += count
        return filled

    def flush(self) -> None:
        """Wait until the card has everything, and forget what memory still holds of it."""
        try:
            os.fsync(self.handle)
        except OSError as error:
            raise self._explain(error, "finish writing") from error
        self.forget()

    def forget(self) -> None:
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self.handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        os.close(self.handle)

    def _without_direct(self) -> bool:
        """Some file systems take O_DIRECT at open and refuse it at the first transfer."""
        if not self.direct:
            return False
        import fcntl

        flags = fcntl.fcntl(self.handle, fcntl.F_GETFL)
        fcntl.fcntl(self.handle, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self.direct = False
        return True

    def _explain(self, error: OSError, doing: str) -> UserError:
        what = f"could not {doing} {self.path}"
        number = error.errno
        if number in _GONE:
            return UserError(
                f"{what}: the device failed or went away at byte {self.position}"
                f" ({error.strerror})",
                hint="what is on the card is not whole; put it in again and flash it again,"
                " with another reader or card if it fails at the same place",
            )
        if number in (errno.EROFS, errno.EPERM):
            return UserError(
                f"{what}: it is write-protected", hint="move the lock switch of the card's adapter"
            )
        if number == errno.EACCES:
            return UserError(f"{what}: permission denied", hint="run it with sudo")
        if number == errno.EBUSY:
            return UserError(
                f"{what}: it is in use", hint="unmount what is on it, and close other programs"
            )
        return UserError(f"{what}: {error.strerror}")


@contextmanager
def opened(path: Path, *, write: bool) -> Iterator[Card]:
    card = Card(path, write=write)
    try:
        yield card
    finally:
        card.close()


def write_ranges(
    card: Card,
    stream: Readable,
    image: Path,
    ranges: Sequence[tuple[Range, tuple[int, int]]],
    bar: Progress,
    *,
    checked: bool = False,
) -> list[Range]:
    """Copy the ranges from a stream that is at the image's start; their checksums come back.

    With ``checked`` the image has just been compared with the checksums that the ranges have,
    and is not hashed again: at 1.5 GB/s that is 3 % of the time of a 90 MB/s card. Reading
    (and decompressing) goes on in a thread while the card is written, with two buffers.

    Raises UserError when the image ends early or is not what its map says.
    """
    free: queue.Queue[mmap.mmap] = queue.Queue()
    for _ in range(2):
        free.put(mmap.mmap(-1, CHUNK))
    full: queue.Queue[tuple[mmap.mmap, int, int] | BaseException | None] = queue.Queue()
    written: list[Range] = []
    stop = threading.Event()

    def read() -> None:
        try:
            position = 0
            for item, (start, end) in ranges:
                skip(stream, start - position)
                digest = None if checked and item.checksum else hashlib.sha256()
                position = start
                while position < end and not stop.is_set():
                    buffer = free.get()
                    wanted = min(CHUNK, end - position)
                    view = memoryview(buffer)[:wanted]
                    if read_full(stream, view) != wanted:
                        raise UserError(
                            f"{image} ends before byte {end}: it is cut short",
                            hint="copy or build the image again",
                        )
                    if digest:
                        digest.update(view)
                    full.put((buffer, position, wanted))
                    position += wanted
                if stop.is_set():
                    return
                found = digest.hexdigest() if digest else item.checksum
                if item.checksum not in (None, found):
                    raise damaged(image, (start, end))
                written.append(Range(item.first, item.last, found))
            full.put(None)
        except BaseException as error:  # handed to the other thread, which raises it
            full.put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (job := full.get()) is not None:
            if isinstance(job, BaseException):
                raise job
            buffer, offset, length = job
            padded = -(-length // SECTOR) * SECTOR
            if padded > length:
                buffer[length:padded] = bytes(padded - length)
            card.write(memoryview(buffer)[:padded], offset)
            bar.advance(length)
            free.put(buffer)
    finally:
        stop.set()
        free.put(mmap.mmap(-1, CHUNK))  # the reader may wait for a buffer
        thread.join()
    return written


def hash_span(card: Card, start: int, end: int, buffer: mmap.mmap, bar: Progress) -> str:
    """SHA-256 of what the card holds from ``start`` to ``end``; short where the card ends."""
    digest = hashlib.sha256()
    while start < end:
        wanted = min(CHUNK, end - start)
        padded = -(-wanted // SECTOR) * SECTOR
        count = min(wanted, card.readinto(memoryview(buffer)[:padded], start))
        digest.update(memoryview(buffer)[:count])
        if count < wanted:
            break
        start += count
        bar.advance(count)
    return digest.hexdigest()


def skip(stream: Readable, count: int) -> None:
    """Go over a gap: by seeking where that works, else by reading."""
    seek = getattr(stream, "seek", None)
    if seek is not None:
        seek(count, os.SEEK_CUR)
        return
    buffer = memoryview(bytearray(min(count, CHUNK)))
    while count > 0:
        got = read_full(stream, buffer[: min(count, CHUNK)])
        if got == 0:
            return
        count -= got
