"""Write a card and read it back: what is refused, what is asked, what is promised.

Order of events: look the image over, look the device over, ask, check the image's sums, write
the mapped ranges, sync, read every one of them back and compare its SHA-256.
"""

from __future__ import annotations

import hashlib
import mmap
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.card import devices
from pico_image.card.bmap import Bmap, Range
from pico_image.card.device_io import SECTOR, Card, hash_span, opened, skip, write_ranges
from pico_image.card.devices import Device
from pico_image.card.image_file import (
    CHUNK,
    ImageFile,
    check_sums,
    measure,
    open_image,
    read_full,
    reading,
)
from pico_image.config.partitions import PartitionTable

#: What ``--allow`` takes: reasons for refusing that the user may overrule by name.
ALLOWABLE = ("mounted", "not-removable", "system", "emulator")


@dataclass(frozen=True)
class Flashed:
    """What was done; sizes in bytes, times in seconds, ``None`` for what was not done."""

    image: str
    device: str
    image_size: int
    mapped: int
    written: int
    verified: int
    write_seconds: float | None
    verify_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def flash(
    console: Console,
    image: Path,
    device: str | None,
    *,
    verify: bool = True,
    verify_only: bool = False,
    yes: bool = False,
    full: bool = False,
    allow: Collection[str] = (),
    confirm: Callable[[str], bool] | None = None,
) -> Flashed:
    """Write ``image`` (or the sdcard.img in a folder) to a card and read it back.

    Only what the block map names is written and compared; ``full`` writes and compares every
    byte up to the image's end, which also clears what the card held in the gaps. ``allow``
    names objections to overrule (ALLOWABLE). Without ``yes`` it asks; without a terminal to
    ask on, that is an error.

    Raises UserError when anything speaks against writing, before anything is written, or when
    the device fails; CheckFailed when the card does not hold the image.
    """
    if unknown := sorted(set(allow) - set(ALLOWABLE)):
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
    bmap = source.bmap if source.bmap and not full else Bmap.whole(size)
    if not verify_only:
        _refuse(source, target, size, allow)
        _ask(source, target, bmap, yes, confirm)
        check_sums(console, source)
        if target.mounts:
            devices.unmount(target)
    elif target.size < size:
        raise UserError(f"{target} is smaller than the image ({size} bytes): it cannot hold it")
    return _transfer(console, source, target, bmap, size, verify or verify_only, verify_only)


def _refuse(source: ImageFile, target: Device, size: int, allow: Collection[str]) -> None:
    found = target.objections(size)
    if source.emulated and target.kind not in ("file", "loop"):
        found["emulator"] = (
            "would get an image of the emulator, which no Luckfox board boots"
            f" (its card is {source.table.device})"
        )
    left = [reason for name, reason in found.items() if name not in allow]
    if not left:
        return
    names = [name for name in found if name not in allow and name in ALLOWABLE]
    advice = devices.candidate_hint()
    if len(names) == len(left):
        advice = f"if it must be: {' '.join(f'--allow {name}' for name in names)}. {advice}"
    if "mounted" in names:
        advice = f"unmount it first. {advice}"
    raise UserError(f"not writing to {target}: it {'; it '.join(left)}", hint=advice)


def _ask(
    source: ImageFile,
    target: Device,
    bmap: Bmap,
    yes: bool,
    confirm: Callable[[str], bool] | None,
) -> None:
    if yes:
        return
    question = (
        f"Write {source.path.name} ({bmap.mapped_bytes / 1e6:.0f} MB) to {target}?"
        " All that is on it will be lost."
    )
    if confirm is None:
        if not sys.stdin.isatty():
            raise UserError(
                f"{question}\n  There is no terminal to ask on", hint="add --yes to go ahead"
            )
        confirm = _confirm
    if not confirm(question):
        raise UserError("nothing was written: you did not say yes")


def _confirm(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _transfer(
    console: Console,
    source: ImageFile,
    target: Device,
    bmap: Bmap,
    size: int,
    verify: bool,
    verify_only: bool,
) -> Flashed:
    ranges = list(zip(bmap.ranges, bmap.spans, strict=True))
    total = bmap.mapped_bytes
    written = 0
    write_seconds = verify_seconds = None
    name = source.path.name
    with opened(devices.write_path(target), write=not verify_only) as card:
        if card.size() < size:
            raise UserError(
                f"{target} now has only {card.size()} bytes: was the card changed?",
                hint="look at the cards that are there: invoke flash",
            )
        if not verify_only:
            began = time.monotonic()
            with (
                reading(source.path) as stream,
                console.step(f"write {name} to {target}"),
                console.progress("write", total, "B") as bar,
            ):
                sums = write_ranges(
                    card, stream, source.path, ranges, bar, checked=not source.compressed
                )
                bar.note("wait until the card has everything")
                card.flush()
            write_seconds = time.monotonic() - began
            written = total
        elif all(item.checksum for item in bmap.ranges):
            sums = list(bmap.ranges)
        else:
            sums = _sums_of(console, source, bmap)
        if verify:
            began = time.monotonic()
            card.forget()
            with (
                console.step(f"read {target} back and compare"),
                console.progress("verify", total, "B") as bar,
            ):
                buffer = mmap.mmap(-1, CHUNK)
                bad = [
                    item.span(bmap.block_size, size)
                    for item in sums
                    if hash_span(card, *item.span(bmap.block_size, size), buffer, bar)
                    != item.checksum
                ]
                if bad:
                    raise CheckFailed(_describe(bad, source, target, card))
            verify_seconds = time.monotonic() - began
    gaps = size - total
    if verify and gaps:
        console.info(
            f"{total / 1e6:.1f} MB are on the card as in the image; {gaps / 1e6:.1f} MB of gaps"
            " that no file system uses were left as they were (--full writes them too)"
        )
    return Flashed(
        str(source.path),
        str(target.path),
        size,
        total,
        written,
        total if verify else 0,
        write_seconds,
        verify_seconds,
    )


def _sums_of(console: Console, source: ImageFile, bmap: Bmap) -> list[Range]:
    """Checksums of an image without a map, taken from the image itself."""
    sums: list[Range] = []
    buffer = memoryview(bytearray(CHUNK))
    position = 0
    with (
        reading(source.path) as stream,
        console.progress(f"read {source.path.name}", bmap.mapped_bytes, "B") as bar,
    ):
        for item, (start, end) in zip(bmap.ranges, bmap.spans, strict=True):
            skip(stream, start - position)
            position = end
            digest = hashlib.sha256()
            while start < end and (count := read_full(stream, buffer[: min(CHUNK, end - start)])):
                digest.update(buffer[:count])
                start += count
                bar.advance(count)
            sums.append(Range(item.first, item.last, digest.hexdigest()))
    return sums


def _describe(bad: list[tuple[int, int]], source: ImageFile, target: Device, card: Card) -> str:
    """Which partitions differ, and the first byte that does where the image can tell."""
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
        while start < end and (wanted := stream.read(min(CHUNK, end - start))):
            count = card.readinto(memoryview(buffer), start)
            held = bytes(buffer[: min(count, len(wanted))]).ljust(len(wanted), b"\0")
            for at in range(0, len(wanted) if held != wanted else 0, SECTOR):
                one, other = held[at : at + SECTOR], wanted[at : at + SECTOR]
                if one != other:
                    first = next(i for i in range(len(one)) if one[i] != other[i])
                    yield start + at, start + at + len(one), start + at + first
            start += len(wanted)
