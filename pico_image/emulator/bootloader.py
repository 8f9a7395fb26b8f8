"""A card image as the emulated board's slot sees it: working copies, what boots, what is on it.

QEMU has neither the chip's BootROM nor its U-Boot. What they do is done here, from the card's
own bytes: find the partitions by the string in ``env``, take kernel and initramfs out of
``boot``, hand the kernel the string and ``sys_bootargs``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import filesystem, fit
from pico_image.card.env import find_env, layout_of
from pico_image.config.partitions import PartitionTable

#: What the boards' device tree puts on the command line, for this machine. A panic ends QEMU
#: (-no-reboot). Without cma=0 Debian's kernel sets 16 MiB apart that no kernel allocation gets.
ARGUMENTS = "console=ttyAMA0 loglevel=4 rootwait panic=-1 cma=0 pico.emulated=1"


@dataclass(frozen=True)
class Loaded:
    """What a boot loader would have in memory."""

    kernel: Path
    ramdisk: Path
    command_line: str


def working_copy(image: Path, folder: Path) -> Path:
    """A card with the content of ``image``: a sparse copy as large as the card has to be.

    QEMU takes only powers of two as card sizes; the copy's size is the next one above the end
    of the layout. Raises UserError when ``image`` is no card image or the disk is full.
    """
    table = read_table(image)
    end = max([image.stat().st_size, *(part.end or 0 for part in table)])
    card = folder / "card.img"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.suppress(FileNotFoundError):
            card.unlink()
        # cp keeps holes, and shares the blocks where the file system can.
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", "--", str(image), str(card)],
            check=True,
            capture_output=True,
            text=True,
        )
        card.chmod(0o644)
        os.truncate(card, 1 << (end - 1).bit_length())
    except (subprocess.CalledProcessError, OSError) as error:
        reason = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise UserError(
            f"could not make a working copy of {image}: {reason.strip()}",
            hint=f"is there space in {folder}?",
        ) from error
    return card


def read_table(image: Path) -> PartitionTable:
    """The layout that an image's own ``env`` announces. Raises UserError when it has none."""
    return layout_of(_read_variables(image), image.name)


def _read_variables(image: Path) -> dict[str, str]:
    try:
        with image.open("rb") as stream:
            head = stream.read(0x40000)
    except OSError as error:
        raise UserError(f"could not read the image {image}: {error.strerror}") from error
    try:
        return find_env(head)[0]
    except UserError as error:
        raise UserError(f"{image} cannot be booted: {error.message}", hint=error.hint) from error


def read_partition_file(console: Console, image: Path, partition: str, path: str) -> bytes:
    """A file out of one partition of a card image, without root."""
    return filesystem.read_file(console, image, path, offset=read_table(image)[partition].offset)


def list_partition_folder(console: Console, image: Path, partition: str, path: str) -> list[str]:
    """Names in a folder of one partition of a card image, without root."""
    return filesystem.list_folder(console, image, path, offset=read_table(image)[partition].offset)


def load(console: Console, card: Path, folder: Path) -> Loaded:
    """Do the boot loader's work: kernel, initramfs and command line out of the card's bytes."""
    variables = _read_variables(card)
    boot = read_table(card)["boot"]
    image = folder / "boot.img"
    with card.open("rb") as stream:
        stream.seek(boot.offset)
        head = stream.read(8)
        # A FIT states its own length after the magic; the slot is larger than the image.
        length = min(int.from_bytes(head[4:8], "big"), boot.size or 0)
        stream.seek(boot.offset)
        image.write_bytes(stream.read(max(length, 8)))
    console.log(f"boot: {length} bytes at {boot.offset} of {card}")
    found = fit.extract(console, image, folder)
    for name in ("kernel", "ramdisk"):
        if name not in found:
            raise UserError(f"the boot image of {card} has no {name}")
    line = " ".join(
        [ARGUMENTS, f"blkdevparts={variables['blkdevparts']}", variables.get("sys_bootargs", "")]
    )
    return Loaded(found["kernel"], found["ramdisk"], " ".join(line.split()))
