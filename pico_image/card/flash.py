"""Write an image to a card and read it back.

The order: check the image's layout, check the device, ask, check the image's sums, write the
mapped ranges, sync, read every range back and compare its SHA-256.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import queue
import sys
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console, Progress
from pico_image.base.errors import CheckFailed, UserError
from pico_image.card import devices
from pico_image.card.blocks import CHUNK, Bmap, Range
from pico_image.card.devices import SECTOR, Card, Device, open_card
from pico_image.card.image_file import ImageFile, Readable, measure, open_image, read_full, reading
from pico_image.card.verify import check_sums, damaged
from pico_image.config.partitions import PartitionTable

#: What ``--allow`` takes: reasons for refusing that the user may overrule by name.
ALLOWABLE = ("mounted", "not-removable", "system", "emulator", "emmc")


@dataclass(frozen=True)
class Flashed:
    """A device and how many bytes of it were written and compared."""

    device: str
    written: int
    verified: int


@dataclass(frozen=True)
class Options:
    """How to flash.

    By default only the blocks in the block map are written and compared; ``full`` writes and
    compares every byte up to the image's end, which also clears what the card held in the gaps.
    ``allow`` names objections to overrule (ALLOWABLE). Without ``yes`` flash() asks, and raises
    UserError where there is no terminal to ask on.
    """

    verify: bool = True
    verify_only: bool = False
    yes: bool = False
    full: bool = False
    allow: Collection[str] = ()


def flash(
    console: Console, image: Path, device: str | None, options: Options | None = None
) -> Flashed:
    """Write ``image`` (or the sdcard.img in a folder) to a card and read it back.

    Raises UserError before anything is written when there is an objection to image or device,
    and when the device fails; CheckFailed when the card does not hold the image.
    """
    options = options or Options()
    if unknown := sorted(set(options.allow) - set(ALLOWABLE)):
        raise UserError(
            f"there is no objection called {', '.join(unknown)}",
            hint=f"those that can be overruled are: {', '.join(ALLOWABLE)}",
        )
    if device is None:
        raise UserError("no device is named to write to", hint=devices.candidate_hint())
    source = open_image(image)
    size = source.size if source.size is not None else measure(console, source.path)
    target = devices.find_device(device)
    if target.path == source.path.resolve():
        raise UserError(f"{device} is the image itself")
    bmap = source.bmap if source.bmap and not options.full else Bmap.whole(size)
    if not options.verify_only:
        _refuse(source, target, size, options.allow)
        if not options.yes:
            _ask(source, target, bmap)
        check_sums(console, source)
        if target.mounts:
            devices.unmount(target)
    elif target.size < size:
        raise UserError(f"{target} is smaller than the image ({size} bytes): it cannot hold it")
    return _transfer(console, source, target, bmap, options)


def _refuse(source: ImageFile, target: Device, size: int, allow: Collection[str]) -> None:
    objections = target.objections(size)
    if target.kind not in ("file", "loop"):
        if source.emulated:
            objections["emulator"] = (
                "would get an image of the emulator, which no Luckfox board boots"
            )
        elif source.table.device not in (None, "mmcblk1"):
            objections["emmc"] = (
                f"would get an image for {source.table.device}, a board's eMMC or the card of an"
                " older emulator: no Luckfox board boots it from a card, which is mmcblk1"
            )
    reasons = [reason for name, reason in objections.items() if name not in allow]
    if not reasons:
        return
    names = [name for name in objections if name not in allow and name in ALLOWABLE]
    advice = devices.candidate_hint()
    if len(names) == len(reasons):
        advice = f"if it must be: {' '.join(f'--allow {name}' for name in names)}. {advice}"
    if "mounted" in names:
        advice = f"unmount it first. {advice}"
    raise UserError(f"not writing to {target}: it {'; it '.join(reasons)}", hint=advice)


def _ask(source: ImageFile, target: Device, bmap: Bmap) -> None:
    question = (
        f"Write {source.path.name} ({bmap.mapped_bytes / 1e6:.0f} MB) to {target}?"
        " All that is on it will be lost."
    )
    if not sys.stdin.isatty():
        raise UserError(
            f"{question}\n  There is no terminal to ask on", hint="add --yes to go ahead"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("nothing was written: you did not say yes")


def _transfer(
    console: Console, source: ImageFile, target: Device, bmap: Bmap, options: Options
) -> Flashed:
    size, total = bmap.image_size, bmap.mapped_bytes
    verify = options.verify or options.verify_only
    with open_card(devices.write_path(target), write=not options.verify_only) as card:
        if card.size() < size:
            raise UserError(
                f"{target} now has only {card.size()} bytes: was the card changed?",
                hint="look at the cards that are there: invoke flash",
            )
        if not options.verify_only:
            with (
                console.step(f"write {source.path.name} to {target}"),
                console.progress("write", total, "B") as bar,
            ):
                ranges = _write(card, source, bmap, bar)
                bar.note("wait until the card has everything")
                card.flush()
        elif all(item.checksum for item in bmap.ranges):
            ranges = list(bmap.ranges)
        else:
            ranges = _sums_of(console, source, bmap)
        if verify:
            card.forget()
            with (
                console.step(f"read {target} back and compare"),
                console.progress("verify", total, "B") as bar,
            ):
                buffer = mmap.mmap(-1, CHUNK)
                spans = [(item, item.span(bmap.block_size, size)) for item in ranges]
                bad = [
                    span
                    for item, span in spans
                    if _hash_span(card, *span, buffer, bar) != item.checksum
                ]
                if bad:
                    raise CheckFailed(_describe(bad, source, target, card))
    gaps = size - total
    if verify and gaps:
        console.info(
            f"{total / 1e6:.1f} MB are on the card as in the image; {gaps / 1e6:.1f} MB of gaps"
            " that no file system uses were left as they were (--full writes them too)"
        )
    written = 0 if options.verify_only else total
    return Flashed(str(target.path), written, total if verify else 0)


def _write(card: Card, source: ImageFile, bmap: Bmap, bar: Progress) -> list[Range]:
    """Copy the mapped ranges to the card and return them with their checksums.

    check_sums() has just compared an uncompressed image with the checksums of its map, so it is
    not hashed again: at 1.5 GB/s that would be 3 % of the time of a 90 MB/s card. A thread reads
    and decompresses while this one writes, with two buffers.

    Raises UserError when the image ends early or does not have the checksums of its map.
    """
    image = source.path
    free: queue.Queue[mmap.mmap] = queue.Queue()
    for _ in range(2):
        free.put(mmap.mmap(-1, CHUNK))
    full: queue.Queue[tuple[mmap.mmap, int, int] | BaseException | None] = queue.Queue()
    written: list[Range] = []
    stop = threading.Event()

    def read(stream: Readable) -> None:
        position = 0
        for item, (start, end) in zip(bmap.ranges, bmap.spans, strict=True):
            _skip(stream, start - position)
            digest = None if item.checksum and not source.compressed else hashlib.sha256()
            position = start
            while position < end and not stop.is_set():
                buffer = free.get()
                length = min(CHUNK, end - position)
                view = memoryview(buffer)[:length]
                if read_full(stream, view) != length:
                    raise UserError(
                        f"{image} ends before byte {end}: it is cut short",
                        hint="copy or build the image again",
                    )
                if digest:
                    digest.update(view)
                full.put((buffer, position, length))
                position += length
            if stop.is_set():
                return
            checksum = digest.hexdigest() if digest else item.checksum
            if item.checksum not in (None, checksum):
                raise damaged(image, (start, end))
            written.append(Range(item.first, item.last, checksum))

    def read_all() -> None:
        try:
            with reading(image) as stream:
                read(stream)
            full.put(None)
        except BaseException as error:  # the other thread raises it
            full.put(error)

    thread = threading.Thread(target=read_all, daemon=True)
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


def _hash_span(card: Card, start: int, end: int, buffer: mmap.mmap, bar: Progress) -> str:
    """SHA-256 of the card's bytes from ``start`` to ``end``, or to its end if that is sooner."""
    digest = hashlib.sha256()
    while start < end:
        length = min(CHUNK, end - start)
        padded = -(-length // SECTOR) * SECTOR
        count = min(length, card.readinto(memoryview(buffer)[:padded], start))
        digest.update(memoryview(buffer)[:count])
        if count < length:
            break
        start += count
        bar.advance(count)
    return digest.hexdigest()


def _skip(stream: Readable, count: int) -> None:
    """Skip a gap by seeking, or by reading where the stream cannot seek."""
    seek = getattr(stream, "seek", None)
    if seek is not None:
        seek(count, os.SEEK_CUR)
        return
    buffer = memoryview(bytearray(min(count, CHUNK)))
    while count > 0:
        length = read_full(stream, buffer[: min(count, CHUNK)])
        if length == 0:
            return
        count -= length


def _sums_of(console: Console, source: ImageFile, bmap: Bmap) -> list[Range]:
    """The ranges of an image without a map, with checksums of the image itself."""
    sums: list[Range] = []
    buffer = memoryview(bytearray(CHUNK))
    position = 0
    with (
        reading(source.path) as stream,
        console.progress(f"read {source.path.name}", bmap.mapped_bytes, "B") as bar,
    ):
        for item, (start, end) in zip(bmap.ranges, bmap.spans, strict=True):
            _skip(stream, start - position)
            position = end
            digest = hashlib.sha256()
            while start < end and (count := read_full(stream, buffer[: min(CHUNK, end - start)])):
                digest.update(buffer[:count])
                start += count
                bar.advance(count)
            sums.append(Range(item.first, item.last, digest.hexdigest()))
    return sums


def _describe(bad: list[tuple[int, int]], source: ImageFile, target: Device, card: Card) -> str:
    """Which partitions differ and, for an uncompressed image, the first byte that does."""
    place = None
    if source.compressed:
        names = {name for span in bad for name in _names(source.table, *span)}
    else:
        names = set()
        for span in bad:
            for start, end, first in _differences(span, source.path, card):
                names.update(_names(source.table, start, end))
                place = first if place is None else place
    known = ", ".join(part.name for part in source.table if part.name in names)
    text = f"{target} does not hold {source.path.name}: it differs in {known or 'the gaps'}"
    if place is not None:
        text += f"; the first wrong byte is at {place}"
    return text + (
        "\n  flash it again; if it fails again, try another reader, then another card"
        " (counterfeit cards lose what is written beyond their true size)"
    )


def _names(table: PartitionTable, start: int, end: int) -> list[str]:
    return [
        part.name for part in table if part.offset < end and (part.end is None or start < part.end)
    ]


def _differences(span: tuple[int, int], image: Path, card: Card) -> Iterator[tuple[int, int, int]]:
    """Sectors that differ: start, end and the first wrong byte of each."""
    start, end = span
    buffer = mmap.mmap(-1, CHUNK)
    with image.open("rb") as stream:
        stream.seek(start)
        while start < end and (data := stream.read(min(CHUNK, end - start))):
            count = card.readinto(memoryview(buffer), start)
            held = bytes(buffer[: min(count, len(data))]).ljust(len(data), b"\0")
            for at in range(0, len(data) if held != data else 0, SECTOR):
                one, other = held[at : at + SECTOR], data[at : at + SECTOR]
                if one != other:
                    first = next(i for i in range(len(one)) if one[i] != other[i])
                    yield start + at, start + at + len(one), start + at + first
            start += len(data)
