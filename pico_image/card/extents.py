"""Where a file has content: holes of sparse files, free blocks of ext4, runs of zeros.

Used to keep images sparse and to decide what a card writer may leave out. Leaving out is only
right where nothing will ever read what the card held before. A hole is not enough for that:
mke2fs punches holes for inode tables and the journal and relies on their being zero. So a
stretch may be skipped only if no part has it, or its file system calls it free.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from pico_image.card.region import Region

BLOCK = 4096
ZERO_BLOCK = bytes(BLOCK)

Span = tuple[int, int]  # first byte, first byte after


def data_spans(handle: int, offset: int, size: int) -> list[Span]:
    """What of ``size`` bytes from ``offset`` of an open file is no hole; all where not known.

    The spans count from ``offset``.
    """
    spans: list[Span] = []
    position = offset
    limit = offset + size
    while position < limit:
        try:
            start = os.lseek(handle, position, os.SEEK_DATA)
            end = os.lseek(handle, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            return [(0, size)]
        except AttributeError:  # no SEEK_DATA on this system
            return [(0, size)]
        if start >= limit:
            break
        spans.append((start - offset, min(end, limit) - offset))
        position = end
    return spans


def free_spans(region: Region) -> list[Span]:
    """The stretches that an ext file system in ``region`` calls free; none when in doubt.

    Read by dumpe2fs (e2fsprogs). Without it nothing is known to be free, which is slower on
    the card and always right. The spans count from the region's first byte.
    """
    if region.read(0x38 + 1024, 2) != b"\x53\xef":
        return []
    environment = {**os.environ, "LC_ALL": "C", "PATH": path_with_sbin()}
    try:
        done = subprocess.run(
            ["dumpe2fs", region.for_e2fsprogs()],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return []
    if done.returncode != 0:
        return []
    return _free_in(done.stdout)


def _free_in(report: str) -> list[Span]:
    size = re.search(r"^Block size:\s+(\d+)$", report, re.MULTILINE)
    # With bigalloc the bitmap counts clusters; the vendor does not use it and neither do we.
    if size is None or re.search(r"^Filesystem features:.*\bbigalloc\b", report, re.MULTILINE):
        return []
    block = int(size[1])
    spans: list[Span] = []
    for line in re.findall(r"^  Free blocks: (.+)$", report, re.MULTILINE):
        for piece in line.split(","):
            first, _, last = piece.strip().partition("-")
            if not first.isdigit() or not (last or "0").isdigit():
                return []
            spans.append((int(first) * block, (int(last or first) + 1) * block))
    return merged(spans)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, with touching and overlapping ones made one."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif end > start:
            result.append((start, end))
    return result


class SpanSet:
    """Answers quickly whether a stretch lies inside, or touches, a set of spans."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = merged(spans)
        self._starts = [start for start, _ in self.spans]

    def covers(self, start: int, end: int) -> bool:
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self.spans[index][1]

    def touches(self, start: int, end: int) -> bool:
        return next(self.within(start, end), None) is not None

    def within(self, start: int, end: int) -> Iterator[Span]:
        """The pieces of the set that lie between ``start`` and ``end``."""
        index = max(0, bisect_right(self._starts, start) - 1)
        for first, last in self.spans[index:]:
            if first >= end:
                return
            if last > start:
                yield max(first, start), min(last, end)


def zero_runs(chunk: bytes | memoryview) -> Iterator[tuple[int, int, bool]]:
    """Cut a chunk into (start, end, is zero) at BLOCK bounds, as few pieces as possible."""
    size = len(chunk)
    start = 0
    was_zero = False
    for at in range(0, size, BLOCK):
        block = bytes(chunk[at : at + BLOCK])
        is_zero = block == ZERO_BLOCK or (at + BLOCK > size and not any(block))
        if at and is_zero != was_zero:
            yield start, at, was_zero
            start = at
        was_zero = is_zero
    if size:
        yield start, size, was_zero


def path_with_sbin() -> str:
    # Debian keeps e2fsprogs in /sbin, which is not in an ordinary user's PATH.
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/opt/homebrew/opt/e2fsprogs/sbin"
