"""Compose an image from its parts and write its papers: one code path for every backend.

From the parts and the layout: ``sdcard.img`` with its block map and its compressed forms (not for a
board that boots from eMMC), ``README.txt``, ``build-info.json``, ``sbom.cdx.json`` and
``SHA256SUMS`` of all of them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import scratch_folder, sha256_file, write_text
from pico_image.card.compose import check_parts, compose
from pico_image.card.parts import PARTS, Parts
from pico_image.card.verify import write_sums
from pico_image.config.target import Target
from pico_image.image import sbom
from pico_image.models.papers import ModelCard

CARD = "sdcard.img"
#: Of ``build-info.json``.
SCHEMA = "1.0"
#: The compressed form that is made where nothing else is asked for.
USUAL_FORM = "zst"
#: Levels chosen for card images: zstd's 12 takes five times as long as its 6 and gains 1 %.
PROGRAMS = {
    "zst": ("zstd", "-q", "-f", "-T0", "-6"),
    "xz": ("xz", "-q", "-f", "-k", "-T0", "-6"),
}
PACKAGES = {"zst": "zstd", "xz": "xz-utils"}


def check_forms(forms: Sequence[str] | None) -> tuple[str, ...]:
    """The compressed forms to make; ask before a long build.

    None stands for the usual one, if this machine can make it. Raises UserError for an unknown
    form, and for one whose program is missing.
    """
    if forms is None:
        return (USUAL_FORM,) if shutil.which(PROGRAMS[USUAL_FORM][0]) else ()
    for form in forms:
        if form not in PROGRAMS:
            raise UserError(
                f"images cannot be compressed as {form!r}", hint=f"known: {', '.join(PROGRAMS)}"
            )
        program = PROGRAMS[form][0]
        if shutil.which(program) is None:
            raise UserError(
                f"could not find the program {program}, which is needed to compress the image",
                hint=f"install {PACKAGES[form]}",
            )
    return tuple(forms)


def finish(
    console: Console,
    target: Target,
    parts: Parts,
    cards: Sequence[ModelCard],
    forms: Sequence[str] = (),
) -> None:
    """Write everything that belongs beside complete parts, unless it is there already.

    ``forms`` are checked compressed forms. Raises UserError for parts that do not fit.
    """
    images = parts.folder
    stamp = images.parent / ".stamps" / f"{CARD}.json"
    inputs = _inputs(target, parts, cards, forms)
    if _is_current(stamp, inputs, images):
        return
    stamp.unlink(missing_ok=True)
    files = {name: images / f"{name}.img" for name in PARTS}
    for form in PROGRAMS:
        (images / f"{CARD}.{form}").unlink(missing_ok=True)
    known: dict[str, str] = {}
    if target.on_card:
        with console.step("compose the card image"):
            composed = compose(console, files, target.layout, images / CARD)
        known = composed.sums
        names = [*known, composed.bmap_path.name]
        names += [compress(console, images / CARD, form).name for form in forms]
    else:
        check_parts(files, target.layout)
        for name in (CARD, f"{CARD}.bmap"):
            (images / name).unlink(missing_ok=True)  # of a variant that had another board
        names = [path.name for path in files.values()]
    write_text(images / "README.txt", readme(target))
    write_text(images / "build-info.json", _build_info(target, parts, files))
    names += ["README.txt", "build-info.json", ".env.txt", *parts.beside]
    if parts.components is not None:
        write_text(images / sbom.NAME, sbom.document(target, cards, parts.components))
        names.append(sbom.NAME)
    else:
        (images / sbom.NAME).unlink(missing_ok=True)
        console.warn(
            f"no {sbom.NAME}: Buildroot did not tell what it built; --from rootfs makes it tell"
        )
    sums = write_sums(images, names, known)
    outputs = {name: _mark(images / name) for name in [*names, sums.name]}
    write_text(stamp, json.dumps({"inputs": inputs, "outputs": outputs}, indent=1) + "\n")


def _mark(path: Path) -> list[int]:
    """Size and time: a file that someone changed by hand is made again."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _inputs(
    target: Target, parts: Parts, cards: Sequence[ModelCard], forms: Sequence[str]
) -> dict[str, Any]:
    root = target.config.root
    names = [*(f"{name}.img" for name in PARTS), *parts.beside]
    inputs = {
        "parts": {name: _mark(parts.folder / name) for name in names},
        "layout": str(target.layout),
        "provenance": parts.provenance,
        "cards": [{**card.plain(), "images": list(map(asdict, card.images))} for card in cards],
        "components": None if parts.components is None else list(map(asdict, parts.components)),
        "forms": forms,
        "variant": target.variant.model_dump(mode="json"),
        "board": target.board.model_dump(mode="json"),
        "sources": {name: source.version for name, source in target.config.sources.items()},
        "project": asdict(project.revision(root)),
        "epoch": project.source_date_epoch(root),
    }
    # As JSON returns it: tuples as lists, paths as text.
    plain: dict[str, Any] = json.loads(json.dumps(inputs, default=str, sort_keys=True))
    return plain


def _is_current(stamp: Path, inputs: Mapping[str, Any], images: Path) -> bool:
    try:
        known = json.loads(stamp.read_text(encoding="utf-8"))
        return bool(
            known["inputs"] == inputs
            and all(_mark(images / name) == mark for name, mark in known["outputs"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build_info(target: Target, parts: Parts, files: Mapping[str, Path]) -> str:
    """``build-info.json``: what the image is and what it was made from."""
    config, board = target.config, target.board
    info = {
        "schema": SCHEMA,
        "variant": target.name,
        "board": board.name,
        "backend": board.backend,
        "project": asdict(project.revision(config.root)),
        "source_date": project.source_date(config.root),
        "partitions": target.partitions,
        "block_device": board.block_device,
        "inputs": parts.provenance,
        "sources": {
            source.name: {
                "version": source.version,
                "licence": source.licence,
                "sha256": [file.sha256 for file in source.files],
            }
            for source in config.sources.values()
            if source.files
        },
        "parts": {
            name: {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for name, path in files.items()
        },
    }
    return json.dumps(info, indent=1, sort_keys=True) + "\n"


def compress(console: Console, image: Path, form: str) -> Path:
    """Write ``IMAGE.zst`` or ``IMAGE.xz`` beside an image; the block map serves for it too.

    ``bmaptool copy`` and our own flashing read it as it is. ``form`` is one of ``PROGRAMS``.
    """
    out = image.with_name(f"{image.name}.{form}")
    # Each run has its own folder: a program of a killed run may still write into its folder.
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
    return out


def readme(target: Target) -> str:
    """README.txt: how to get the folder onto a card or into eMMC, on every system, by clicks."""
    layout = target.layout
    rows = "\n".join(
        f"  {layout.number(part.name)}  {part.name + '.img':<14} byte {part.offset:>12}"
        f"  sector 0x{part.offset // 512:X}"
        for part in layout
    )
    writes = "\n".join(
        f"    sudo upgrade_tool wl 0x{part.offset // 512:X} {part.name}.img" for part in layout
    )
    text = _EMULATED if target.emulated else _CARD if target.on_card else _EMMC
    return text.format(variant=target.name, rows=rows, writes=writes)


_EMULATED = """\
{variant}: an image for QEMU

No Luckfox board boots this image. Start it with: invoke emulate
Its card is laid out as a board's:

{rows}
"""

_CARD = """\
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

#: What the tools of the SDK are called and take is read in its rkflash.sh and rkdownload.sh.
_EMMC = """\
{variant}: how to get it into the eMMC of the board
{rows}

There is no card image: this board boots from eMMC, memory that is soldered to it and written
over USB. All that is in it will be lost. Nobody of this project has the board, so none of these
steps was tried.

Bring the board into download mode
  Hold BOOT, plug the board into the computer's USB port, let go of BOOT. lsusb, or Windows'
  device manager, now has a device 2207:110C.
  U-Boot looks at the button. Where U-Boot itself no longer starts, Luckfox's forum says: short
  the CLK pin of the eMMC to ground while you plug the board in, at your own risk.

Linux, upgrade_tool (Rockchip's; in the SDK below tools/linux/Linux_Upgrade_Tool)
  Where this folder has update.img:
    sudo upgrade_tool uf update.img
  or part by part:
    sudo upgrade_tool db download.bin
{writes}
    sudo upgrade_tool rd

Windows and Linux, SocToolKit (Rockchip's; in the SDK below tools)
  The words on its buttons differ a little from version to version.
  1. Start SocToolKit (on Windows: right click, "Run as administrator"). Choose the chip RV1106.
  2. Bring the board into download mode. The list of USB devices has one entry, Maskrom.
  3. In the Download tab choose this folder (Search Path). The list fills from .env.txt. Tick
     download.bin, env, idblock, uboot, boot, oem, userdata, rootfs.
  4. Click Download and wait for the message that it is done. The board starts by itself.

You know that it started from eMMC when /proc/cmdline says storagemedia=emmc.

Check this folder with: sha256sum -c SHA256SUMS
"""
