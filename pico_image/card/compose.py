"""Make a card image of its parts and the partition string.

The image is a sparse file that ends after its last part; its block map and checksums are
computed in the pass that writes it. It appears whole or not at all.

A card writer may leave out a block only where nothing will ever read what the card held before.
A hole is not enough for that: mke2fs punches holes for inode tables and the journal and relies on
their being zero. So the map leaves out what no part has, and zeros that a file system calls free.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write
from pico_image.card.blocks import (
    BLOCK,
    Bmap,
    RangeRecorder,
    Slice,
    SpanSet,
    data_spans,
    zero_runs,
)
from pico_image.card.env import layout_of, read_env
from pico_image.card.filesystem import free_spans, read_superblock
from pico_image.config.partitions import Part, PartitionTable

#: Large, because the threads wait for each other after each chunk. One buffer is used again and
#: again: new ones cost more system time (1.0 s for 300 MB) than reading and writing (0.2 s).
CHUNK = 8 << 20
_ZEROS = bytes(CHUNK)
#: Linux 6.18 gives large aligned writes page cache in folios of their size. Finding so much
#: contiguous memory cost 1.1 s of CPU time for 300 MB, against 0.5 s in pieces of 256 KiB.
_WRITE = 256 << 10


@dataclass(frozen=True)
class Composed:
    """A composed image.

    ``sums`` maps file names, the image's among them, to SHA-256; ``sizes`` part names to bytes.
    """

    image: Path
    bmap_path: Path
    bmap: Bmap
    sums: dict[str, str]
    sizes: dict[str, int]


@dataclass
class _OpenPart:
    """An open part and its place in the image; spans count from the part's first byte."""

    part: Part
    content: Slice
    handle: int
    size: int
    data: SpanSet
    free: SpanSet
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def start(self) -> int:
        return self.part.offset

    @property
    def end(self) -> int:
        return self.part.offset + self.size


def compose(
    console: Console,
    parts: Mapping[str, Path | Slice],
    table: PartitionTable,
    out: Path,
    *,
    empty: Collection[str] = (),
) -> Composed:
    """Write the card image ``out`` and its ``.bmap`` from ``{"env": Path, ...}``.

    A part is a file or a slice of one, such as a slot of another image. Every slot of the table
    needs a part, except those named in ``empty`` and a last slot that takes the rest of the
    card. ``env`` must have a good CRC and announce ``table``.

    Raises UserError when a part is missing, does not fit its slot, is cut short, or the
    environment belongs to another layout; nothing is written then.
    """
    with ExitStack() as stack:
        opened = _open_parts(stack, parts, table, empty)
        last = max(opened, key=lambda item: item.end)
        size = -(-last.end // BLOCK) * BLOCK
        if last.part.end is not None:
            size = min(size, last.part.end)
        recorder = RangeRecorder()
        total = hashlib.sha256()
        with (
            console.progress(f"compose {out.name}", size, "B") as bar,
            ThreadPoolExecutor(3) as pool,
            atomic_write(out) as stream,
        ):
            target = stream.fileno()
            os.ftruncate(target, size)
            buffer = memoryview(mmap.mmap(-1, CHUNK))
            for start in range(0, size, CHUNK):
                length = min(CHUNK, size - start)
                inside = [item for item in opened if item.start < start + length > start < item.end]
                chunk = _assemble(buffer[:length], inside, start)
                # hashlib lets other threads run, so the three sums take the time of one.
                jobs = [pool.submit(total.update, chunk)]
                jobs += [pool.submit(_hash_part, item, chunk, start) for item in inside]
                if inside:
                    _store(target, recorder, inside, chunk, start)
                for job in jobs:
                    job.result()
                bar.advance(length)
    bmap = recorder.finish(size)
    bmap_path = out.with_name(out.name + ".bmap")  # the name that bmaptool looks for
    bmap.write(bmap_path)
    sums = {f"{item.part.name}.img": item.digest.hexdigest() for item in opened}
    sums[out.name] = total.hexdigest()
    sizes = {item.part.name: item.size for item in opened}
    return Composed(out, bmap_path, bmap, sums, sizes)


def check_parts(parts: Mapping[str, Path], table: PartitionTable) -> None:
    """Raise what ``compose`` would raise for these parts, and write nothing."""
    with ExitStack() as stack:
        _open_parts(stack, parts, table, ())


def _open_parts(
    stack: ExitStack,
    parts: Mapping[str, Path | Slice],
    table: PartitionTable,
    empty: Collection[str],
) -> list[_OpenPart]:
    known = ", ".join(part.name for part in table)
    for name in [*parts, *empty]:
        if name not in table:
            raise UserError(
                f"the part {name!r} has no partition in the layout",
                hint=f"its partitions are: {known}",
            )
    missing = [
        part.name
        for part in table
        if part.name not in parts and part.name not in empty and part.size is not None
    ]
    if missing:
        raise UserError(
            f"the card image needs these parts, which were not built: {', '.join(missing)}",
            hint="build the whole image: invoke build-image",
        )
    contents = {name: Slice.of(part) for name, part in parts.items()}
    opened = [
        _open_part(stack, part, contents[part.name]) for part in table if part.name in contents
    ]
    if not opened:
        raise UserError("a card image needs at least one part")
    if "env" in contents:
        _check_env(contents["env"], table)
    return opened


def _open_part(stack: ExitStack, part: Part, content: Slice) -> _OpenPart:
    try:
        handle = stack.enter_context(content.path.open("rb")).fileno()
        size = content.length()
    except OSError as error:
        raise UserError(
            f"cannot read {content.path}, the content of partition {part.name}: {error.strerror}"
        ) from error
    check_part(part, content)
    data = data_spans(handle, content.offset, size)
    return _OpenPart(part, content, handle, size, SpanSet(data), SpanSet(free_spans(content)))


def check_part(part: Part, content: Slice) -> None:
    """Raise UserError unless ``content`` is whole and fits the slot of ``part``."""
    size = content.length()
    if size == 0:
        raise UserError(f"{content}, the content of partition {part.name}, is empty")
    if part.size is not None and size > part.size:
        needed = -(-size // (1 << 20))
        raise UserError(
            f"{content} has {_bytes(size)} and its partition {part.name} only {_bytes(part.size)}",
            hint=f"make the partition larger: invoke repack --size {part.name}={needed}M",
        )
    superblock = read_superblock(content)
    if superblock is not None and superblock.size > size:
        raise UserError(
            f"{content} is cut short: its {superblock.kind} file system has"
            f" {_bytes(superblock.size)}, the file {_bytes(size)}",
            hint="build or fetch it again",
        )


def _check_env(env: Slice, table: PartitionTable) -> None:
    """Raise UserError unless ``env`` is an undamaged environment that announces ``table``."""
    try:
        announced = layout_of(read_env(env.read()), str(env))
    except UserError as error:
        raise UserError(f"{env}: {error.message}", hint=error.hint) from error
    if announced.parts != table.parts or (table.device and announced.device != table.device):
        raise UserError(
            f"{env} belongs to another image: it announces the layout\n    {announced}\n"
            f"  and the image is to have\n    {table}",
            hint="make env.img from the same layout as the image",
        )


def _assemble(buffer: memoryview, inside: list[_OpenPart], start: int) -> memoryview:
    """Fill ``buffer`` with the image's bytes from ``start``; zeros where no part has data."""
    end = start + len(buffer)
    done = start
    for item in sorted(inside, key=lambda item: item.start):
        for first, last in item.data.within(start - item.start, end - item.start):
            at = item.start + first
            buffer[done - start : at - start] = _ZEROS[: at - done]
            done = item.start + last
            _read(item, buffer[at - start : done - start], first)
    if done == start:  # a gap
        return memoryview(_ZEROS)[: len(buffer)]
    buffer[done - start :] = _ZEROS[: end - done]
    return buffer


def _read(item: _OpenPart, into: memoryview, offset: int) -> None:
    offset += item.content.offset
    while into:
        count = os.preadv(item.handle, [into], offset)
        if count == 0:
            raise UserError(f"{item.content.path} became shorter while it was read")
        into, offset = into[count:], offset + count


def _hash_part(item: _OpenPart, chunk: memoryview, start: int) -> None:
    first, last = max(item.start, start), min(item.end, start + len(chunk))
    item.digest.update(chunk[first - start : last - start])


def _store(
    target: int, recorder: RangeRecorder, inside: list[_OpenPart], view: memoryview, start: int
) -> None:
    """Write what is not zero, and record what a card must hold (zeros in use among it)."""
    for first, last, is_zero in zero_runs(view):
        if not is_zero:
            _write_all(target, view[first:last], start + first)
            recorder.add(start + first, view[first:last])
            continue
        for at in range(first, last, BLOCK):
            end = min(at + BLOCK, last)
            if any(_needed(item, start + at, start + end) for item in inside):
                recorder.add(start + at, view[at:end])


def _needed(item: _OpenPart, start: int, end: int) -> bool:
    first, last = max(item.start, start), min(item.end, end)
    return first < last and not item.free.covers(first - item.start, last - item.start)


def _write_all(target: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(target, data[:_WRITE], offset)
        data, offset = data[count:], offset + count


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB ({size} bytes)" if size >= 1e6 else f"{size} bytes"
