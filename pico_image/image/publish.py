"""What goes beside an image for other people: compressed forms and the SocToolKit manual."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import scratch_folder, write_text
from pico_image.config.partitions import PartitionTable

README = "README.txt"
#: Levels chosen for card images: zstd's 12 takes five times as long as its 6 and gains 1 %.
PROGRAMS = {
    "zst": ("zstd", "-q", "-f", "-T0", "-6"),
    "xz": ("xz", "-q", "-f", "-k", "-T0", "-6"),
}
PACKAGES = {"zst": "zstd", "xz": "xz-utils"}


def compress(console: Console, image: Path, forms: Sequence[str]) -> list[Path]:
    """Write ``IMAGE.zst`` and ``IMAGE.xz`` beside an image; the block map serves for all.

    ``bmaptool copy`` and our own flashing read them as they are. Raises UserError for an
    unknown form or when the program is missing.
    """
    made = []
    for form in forms:
        if form not in PROGRAMS:
            raise UserError(
                f"images cannot be compressed as {form!r}", hint=f"known: {', '.join(PROGRAMS)}"
            )
        out = image.with_name(f"{image.name}.{form}")
        # The folder is this run's own: a killed run's program may still be at work in its.
        beside = scratch_folder(f".{out.name}.", image.parent)
        with console.step(f"compress {image.name} as {form}"), beside as folder:
            packed = folder / out.name
            words: list[str | Path] = [image, "-o", packed]
            if form == "xz":  # takes no output name, so it works on a link
                words = [folder / image.name]
                os.link(image, words[0])
            console.run(
                [*PROGRAMS[form], *words],
                what=f"compress {image.name}",
                hint=f"install {PACKAGES[form]}",
            )
            os.replace(packed, out)
        made.append(out)
    return made


def write_readme(
    folder: Path, table: PartitionTable, variant: str, *, emulated: bool = False
) -> Path:
    """Write README.txt: how to get this folder onto a card, on every system, click by click."""
    path = folder / README
    rows = "\n".join(
        f"  {table.number(part.name)}  {part.name + '.img':<14} byte {part.offset:>12}"
        f"  sector 0x{part.offset // 512:X}"
        for part in table
    )
    write_text(path, (_EMULATED if emulated else _README).format(variant=variant, rows=rows))
    return path


_EMULATED = """\
{variant}: an image for QEMU

No Luckfox board boots this image. Start it with: invoke emulate
Its card is laid out as a board's:

{rows}
"""

_README = """\
{variant}: how to get it onto a microSD card
{rows}

All that is on the card will be lost. The card needs no format beforehand.

Linux and macOS
  invoke flash                        lists the cards that are there
  invoke flash --device /dev/sdX      writes one (macOS: /dev/diskN), reads it back, compares
  Without this project:
    sudo bmaptool copy sdcard.img /dev/sdX
  or
    sudo dd if=sdcard.img of=/dev/sdX bs=4M conv=fsync status=progress
  (macOS: diskutil unmountDisk /dev/diskN, then of=/dev/rdiskN bs=4m)

Windows, one image
  Write sdcard.img with Rufus (as DD image), balenaEtcher or Raspberry Pi Imager.
  When Windows offers to format the card: Cancel. The card has no partition table,
  so Windows takes it for empty.

Windows, SocToolKit (Rockchip's tool; takes the parts in this folder)
  The words on its buttons differ a little from version to version.
  1. Take the card reader out of the computer. Use a USB card reader, or a USB adapter:
     the tool does not see card slots that are built in.
  2. Start SocToolKit.exe: right click, "Run as administrator". Choose the chip:
     RV1103 (Pico, Mini, Plus) or RV1106 (Pro, Max).
  3. Plug in the reader with the card NOW, after the tool has started. A reader that was
     there before is not found.
  4. Open the SD card tab and choose the card in the list of USB disks. Check its size: it
     must be your card. If the list stays empty, pull the reader and plug it in again.
  5. Choose this folder (Search Path). The list fills from .env.txt: env, idblock, uboot,
     boot, oem, userdata, rootfs. Tick all of them. Do not choose update.img.
  6. Click Create SD (SD boot) and wait for the message that it is done.
  7. When Windows offers to format the card: Cancel.

update.img and download.bin, where present, are for flash memory over USB (NAND, eMMC).
They do not go onto a card.

A board with flash memory (Pico Mini B, Plus, Pro, Max) may start from that instead of the
card. If it does, hold BOOT while you plug it in, or erase the flash. You know that it
started from the card when /proc/cmdline says storagemedia=sd.

Check this folder with: sha256sum -c SHA256SUMS
"""
