"""The partition string, the only source of where each part of the card begins.

The boards' cards have no partition table. U-Boot passes the kernel a string such as
``blkdevparts=mmcblk1:32K(env),512K@32K(idblock),...,6G(rootfs)``, and the kernel divides the card
by it (``block/partitions/cmdline.c``; syntax in Documentation/block/cmdline-partition.rst).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pico_image.base.errors import UserError

SECTOR = 512
#: The kernel refuses a smaller partition (it compares with PAGE_SIZE, 4 KiB on ARM).
SMALLEST = 4096
#: The kernel copies a name into ``char name[BDEVNAME_SIZE]`` (32 with the NUL).
LONGEST_NAME = 31
#: ``loff_t`` is signed: nothing on a block device can lie beyond it.
LIMIT = 1 << 63
SUFFIXES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)([A-Za-z]*)")
#: int() raises ValueError for 4300 digits and more.
_MOST_DIGITS = 32
_NAME = re.compile(r"[^(),:;@\s]+")


@dataclass(frozen=True)
class Part:
    """One slot of the card. ``size`` is None for the slot that takes the rest of the card.

    ``placed`` is set where the string names the offset, though it may follow from the sizes.
    """

    name: str
    offset: int
    size: int | None
    flags: str = ""
    placed: bool = field(default=False, compare=False)

    @property
    def end(self) -> int | None:
        """First byte after the slot; None if the slot takes the rest of the card."""
        return None if self.size is None else self.offset + self.size


@dataclass(frozen=True)
class PartitionTable:
    """The slots in the order of their numbers: ``parts[0]`` is ``mmcblkNp1``."""

    parts: tuple[Part, ...]
    device: str | None = None

    @classmethod
    def parse(cls, text: str) -> PartitionTable:
        """Read ``[DEVICE:]SIZE[@OFFSET](NAME)[ro][lk],...``; SIZE ``-`` takes the rest of the card.

        Sizes and offsets are bytes, decimal or 0x, with an optional suffix K, M, G or T
        (powers of 1024). Without ``@OFFSET`` a slot begins where the one before it ends.

        Raises UserError, with the position in the string, for what the kernel would ignore,
        clip or misread: bad syntax, overlaps, overflow, zero size, a name twice.
        """
        return _Parser(text).read_table()

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __getitem__(self, name: str) -> Part:
        for part in self.parts:
            if part.name == name:
                return part
        known = ", ".join(part.name for part in self.parts)
        raise UserError(
            f"there is no partition {name!r} in the layout", hint=f"its partitions are: {known}"
        )

    def get(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)

    def __contains__(self, name: object) -> bool:
        return any(part.name == name for part in self.parts)

    def number(self, name: str) -> int:
        """The kernel's number of a partition, counted from 1 (mmcblk1p1)."""
        return self.parts.index(self[name]) + 1

    def node(self, name: str) -> str:
        """The device node of a partition, as in ``/dev/mmcblk1p7``."""
        if self.device is None:
            raise UserError(
                f"cannot name the device node of partition {name!r}: the layout names no device",
                hint="put the device before the layout, as in mmcblk1:32K(env),...",
            )
        return f"/dev/{self.device}p{self.number(name)}"

    def with_device(self, device: str) -> PartitionTable:
        return replace(self, device=device)

    def resized(self, sizes: Mapping[str, str]) -> PartitionTable:
        """The same layout with other slot sizes (``{"oem": "64M"}``), read again as a string.

        A slot that followed its predecessor without an ``@OFFSET`` of its own still does.
        """
        for name in sizes:
            _ = self[name]
        return PartitionTable.parse(self._text(sizes))

    def __str__(self) -> str:
        """The string that parses to this table, with its device if it has one."""
        return self._text({})

    def _text(self, sizes: Mapping[str, str]) -> str:
        words: list[str] = []
        cursor: int | None = 0
        for part in self.parts:
            at = "" if part.offset == cursor and not part.placed else f"@{format_size(part.offset)}"
            size = sizes.get(part.name) or format_size(part.size)
            words.append(f"{size}{at}({part.name}){part.flags}")
            cursor = part.end
        return (f"{self.device}:" if self.device else "") + ",".join(words)


def format_size(size: int | None) -> str:
    """``33554432`` as ``32M``; exact, so the largest suffix that divides it."""
    if size is None:
        return "-"
    for suffix in ("T", "G", "M", "K"):
        unit = SUFFIXES[suffix]
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


def parse_size(text: str, what: str = "size") -> int:
    """``32M`` in bytes. Raises UserError for anything but digits and a known suffix."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2].upper() not in SUFFIXES or len(match[1]) > _MOST_DIGITS:
        raise UserError(
            f"{what} {text[:40]!r} is not a number of bytes",
            hint="write it as 8M, 512K, 0x8000 or 4194304",
        )
    return _value(match[1], match[2])


def _value(digits: str, suffix: str) -> int:
    return int(digits, 16 if digits[:2].lower() == "0x" else 10) * SUFFIXES[suffix.upper()]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, message: str, at: int | None = None) -> UserError:
        at = self.at if at is None else at
        shown = "".join(char if char.isprintable() else "?" for char in self.text)
        start = max(0, at - 40)
        return UserError(
            f"partition string, character {at + 1}: {message}\n"
            f"    {shown[start : at + 40]}\n    {' ' * (at - start)}^",
            hint="the form is SIZE[@OFFSET](NAME),... as in 32K(env),512K@32K(idblock),6G(rootfs)",
        )

    def read_table(self) -> PartitionTable:
        device = None
        match = re.match(r"([A-Za-z][A-Za-z0-9._/-]*):", self.text)
        if match:
            device, self.at = match[1], match.end()
        if self.at == len(self.text):
            raise self.fail("no partition")
        parts: list[Part] = []
        starts: list[int] = []
        cursor: int | None = 0
        while True:
            begin = self.at
            part = self.read_part(cursor, {known.name for known in parts})
            parts.append(part)
            starts.append(begin)
            cursor = part.end
            if self.at == len(self.text):
                break
            self.expect(",", "a comma")
        self.check_overlaps(parts, starts)
        return PartitionTable(tuple(parts), device)

    def read_part(self, cursor: int | None, names: set[str]) -> Part:
        begin = self.at
        size = None
        if self.text.startswith("-", self.at):
            self.at += 1
        else:
            size = self.read_number("size")
            if size < SMALLEST:
                raise self.fail(f"a partition of {size} bytes; {SMALLEST} is the least", begin)
        offset_at = self.at
        placed = self.text.startswith("@", self.at)
        if placed:
            self.at += 1
            offset_at = self.at
            offset = self.read_number("offset")
        elif cursor is None:
            raise self.fail("nothing is left after the partition that takes the rest", begin)
        else:
            offset = cursor
        for value, what, at in ((size, "size", begin), (offset, "offset", offset_at)):
            if value is not None and value % SECTOR:
                raise self.fail(f"{what} {value} is no multiple of the sector size {SECTOR}", at)
        if offset + (size or SMALLEST) > LIMIT:
            raise self.fail("the partition ends beyond 2^63 bytes", begin)
        self.expect("(", "the name in parentheses")
        name_at = self.at
        match = _NAME.match(self.text, self.at)
        if match is None or not match[0].isprintable():
            raise self.fail("a name is missing")
        name, self.at = match[0], match.end()
        if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
            raise self.fail(f"a name longer than {LONGEST_NAME} bytes", name_at)
        if name in names:
            raise self.fail(f"a second partition {name!r}", name_at)
        self.expect(")", "a closing parenthesis")
        flags = ""
        for flag in ("ro", "lk"):
            if self.text.startswith(flag, self.at):
                flags += flag
                self.at += len(flag)
        return Part(name, offset, size, flags, placed)

    def read_number(self, what: str) -> int:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.fail(f"a {what} is missing")
        digits, suffix = match[1], match[2]
        if suffix.upper() not in SUFFIXES:
            raise self.fail(f"unknown suffix {suffix!r}; K, M, G and T exist", match.start(2))
        # The kernel's memparse() takes a leading 0 for octal: 010K would be 8 KiB there.
        if len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX":
            raise self.fail(f"{what} {digits!r} has a leading zero, octal to the kernel")
        if len(digits) > _MOST_DIGITS or (value := _value(digits, suffix)) >= LIMIT:
            raise self.fail(f"{what} beyond 2^63 bytes")
        self.at = match.end()
        return value

    def expect(self, char: str, what: str) -> None:
        if not self.text.startswith(char, self.at):
            next_one = repr(self.text[self.at]) if self.at < len(self.text) else "the end"
            raise self.fail(f"{what} was expected, not {next_one}")
        self.at += 1

    def check_overlaps(self, parts: list[Part], starts: list[int]) -> None:
        order = sorted(range(len(parts)), key=lambda index: parts[index].offset)
        for before, after in itertools.pairwise(order):
            end = parts[before].end
            if end is None or end > parts[after].offset:
                shown = "the end of the card" if end is None else str(end)
                raise self.fail(
                    f"{parts[before].name} ({parts[before].offset} to {shown}) and"
                    f" {parts[after].name} (from {parts[after].offset}) overlap",
                    starts[max(before, after)],
                )
