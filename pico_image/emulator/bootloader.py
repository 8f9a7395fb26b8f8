"""Does the work of the boot loader for QEMU, on a working copy of a card image.

QEMU has neither the chip's BootROM nor its U-Boot. This module does what they do, from the bytes
of the card: find the partitions by the string in ``env``, take kernel and initramfs out of
``boot``, hand the kernel the string and ``sys_bootargs``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import filesystem, fit
from pico_image.card.blocks import Slice
from pico_image.card.image_file import Source, open_source

#: What the boards' device tree puts on the command line, for this machine. A panic ends QEMU
#: (-no-reboot). Without cma=0 Debian's kernel sets 16 MiB apart that no kernel allocation gets.
ARGUMENTS = "console=ttyAMA0 loglevel=4 rootwait panic=-1 cma=0 pico.emulated=1"


@dataclass(frozen=True)
class Loaded:
    """What a boot loader has in memory when it starts the kernel."""

    kernel: Path
    ramdisk: Path
    command_line: str


def working_copy(image: Path, folder: Path) -> Path:
    """A card with the content of ``image``: a sparse copy as large as the card has to be.

    QEMU takes only powers of two as card sizes; the copy's size is the next one above the end
    of the layout. Raises UserError when ``image`` is no card image or the disk is full.
    """
    table = read_card(image).table
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


def read_card(image: Path) -> Source:
    """The layout and parts that an image's own ``env`` announces. Raises UserError without one."""
    with _named(image):
        return open_source(image)


@contextlib.contextmanager
def _named(image: Path) -> Iterator[None]:
    """Name the image in errors of its readers."""
    try:
        yield
    except UserError as error:
        reason = error.message.removeprefix(f"{image}: ")
        raise UserError(f"{image} cannot be booted: {reason}", hint=error.hint) from error


def read_partition_file(image: Path, partition: str, path: str) -> bytes:
    """A file out of one partition of a card image, without root."""
    return filesystem.read_file(_part(read_card(image), partition), path)


def _part(source: Source, name: str) -> Slice:
    offset = source.table[name].offset
    if name not in source.parts:
        raise UserError(f"{source.path} is cut short: {name} begins at byte {offset}")
    return source.parts[name]


def load(console: Console, card: Path, folder: Path) -> Loaded:
    """Do the boot loader's work: kernel, initramfs and command line out of the card's bytes."""
    source = read_card(card)
    part = _part(source, "boot")
    boot = fit.read(part)
    if boot is None:
        raise UserError(
            f"the boot partition of {card} holds no FIT boot image",
            hint="the image is damaged, or its partition string does not belong to it",
        )
    console.log(f"boot: {boot.size} bytes of {part}")
    arguments = source.variables.get("sys_bootargs", "")
    line = f"{ARGUMENTS} blkdevparts={source.variables['blkdevparts']} {arguments}"
    loaded = Loaded(folder / "kernel", folder / "ramdisk", " ".join(line.split()))
    with _named(card):
        loaded.kernel.write_bytes(boot.content("kernel"))
        loaded.ramdisk.write_bytes(boot.content("ramdisk"))
    return loaded
