"""``env.img``, the variables that U-Boot hands to the kernel, and ``.env.txt``, its source.

Format (U-Boot ``env/common.c``, not redundant): CRC32 of all that follows, little endian; then
``name=value`` strings, each ended by NUL, the last by two; zeros to the end. Rockchip's U-Boot
takes only blkdevparts, mtdparts, sys_bootargs and a few more from it (CONFIG_ENVF_LIST).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.config.partitions import PartitionTable

ENV_SIZE = 0x8000
#: Sizes that occur: 32 KiB on cards and eMMC, 256 KiB on SPI NAND, others in people's forks.
KNOWN_SIZES = (0x8000, 0x40000, 0x1000, 0x2000, 0x4000, 0x10000, 0x20000)


def env_image(variables: Mapping[str, str], size: int = ENV_SIZE) -> bytes:
    """The bytes of ``env.img``, the same as ``mkenvimage -s SIZE -p 0x0`` makes.

    Raises UserError for a name or value that the format cannot hold, or too many of them.
    """
    data = b"".join(_entry(name, value) + b"\0" for name, value in variables.items()) + b"\0"
    room = size - 4
    if len(data) > room:
        raise UserError(
            f"the boot environment takes {len(data) + 4} bytes and its image has {size}",
            hint="shorten the boot arguments",
        )
    data = data.ljust(room, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data


def read_env(data: bytes) -> dict[str, str]:
    """The variables of an ``env.img`` (all of it and nothing else), its CRC checked.

    Bytes that are not UTF-8 come as surrogate escapes, so that env_image() restores them.
    Raises UserError for a bad CRC or an entry without ``=``.
    """
    if len(data) < 6:
        raise UserError(f"a boot environment of {len(data)} bytes is too short to be one")
    (stored,) = struct.unpack_from("<I", data)
    actual = zlib.crc32(data[4:])
    if stored != actual:
        raise UserError(
            f"the boot environment is damaged: its CRC is {stored:08x}, its content's {actual:08x}",
            hint="write the image again, or make a new env.img with: invoke repack",
        )
    end = 4 if data[4] == 0 else data.find(b"\0\0", 4)
    if end < 0:
        end = len(data)
    variables: dict[str, str] = {}
    for entry in data[4:end].split(b"\0") if end > 4 else ():
        name, separator, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if not separator or not name:
            raise UserError(f"the boot environment holds {entry!r}, which is not NAME=VALUE")
        variables[name] = value
    return variables


def find_env(data: bytes) -> dict[str, str]:
    """The variables of the environment at the start of ``data`` (an image or a card).

    Nothing states the size: it is the one for which the CRC holds. Raises UserError when it
    holds for none, with a guess of what the data are instead.
    """
    for size in KNOWN_SIZES:
        if len(data) >= size and zlib.crc32(data[4:size]) == struct.unpack_from("<I", data)[0]:
            return read_env(data[:size])
    raise UserError(f"there is no valid boot environment at its start{_guess_content(data)}")


def _guess_content(data: bytes) -> str:
    if not data:
        return ": it is empty"
    if data[:4] in (b"RKFW", b"RKAF"):
        return ": it is a Rockchip update.img, which is a container and not a card image"
    if data[512:520] == b"EFI PART":
        return ": it has a GPT, which the Luckfox layout does not use"
    if data[510:512] == b"\x55\xaa":
        return ": it has an MBR, which the Luckfox layout does not use"
    if not any(data[:ENV_SIZE]):
        return ": its first 32 KiB are all zero"
    if any(name in data[:ENV_SIZE] for name in (b"blkdevparts=", b"mtdparts=", b"sys_bootargs=")):
        return ": variables are there but their CRC is wrong, so it is damaged or truncated"
    return ""


def env_text(variables: Mapping[str, str]) -> str:
    """``.env.txt``, the text that mkenvimage and SocToolKit read: one ``name=value`` a line.

    Raises UserError for what that text cannot express: mkenvimage takes ``#`` for a comment and
    a backslash for a continuation, and loses some newlines even when they are escaped.
    """
    lines = []
    for name, value in variables.items():
        _entry(name, value)
        if name.startswith("#") or "\n" in name + value or value.endswith("\\"):
            raise UserError(f"the boot variable {name!r} cannot be written as a line of .env.txt")
        lines.append(f"{name}={value}\n")
    return "".join(lines)


def read_env_text(path: Path) -> dict[str, str]:
    """The variables of a ``.env.txt``. Raises UserError with FILE:LINE for a line without =."""
    variables: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise UserError(f"{path}:{number}: {line!r} is not NAME=VALUE")
        variables[name] = value
    return variables


def layout_of(variables: Mapping[str, str], source: str) -> PartitionTable:
    """The partition table that an environment announces. Raises UserError when it has none."""
    text = variables.get("blkdevparts")
    if text is None:
        medium = " (it has mtdparts: it is made for SPI NAND)" if "mtdparts" in variables else ""
        raise UserError(
            f"the boot environment of {source} has no blkdevparts{medium}, "
            "so nothing says where its partitions are",
            hint="name the layout with --layout, or use an image made for SD cards",
        )
    return PartitionTable.parse(text)


def _entry(name: str, value: str) -> bytes:
    if not name or "=" in name or "\0" in name + value:
        raise UserError(f"{name!r}={value!r} cannot be a boot variable (empty name, = or NUL)")
    return f"{name}={value}".encode("utf-8", "surrogateescape")
