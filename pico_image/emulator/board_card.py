"""A card for QEMU with a root file system that was built for a board.

The emulator gives kernel, initramfs and the slots that it does not read; the variant its layout and
the NPU's memory. The root file system is not changed: what this kernel needs beyond it comes with
the initramfs.
"""

from __future__ import annotations

import stat
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import archive, filesystem
from pico_image.card.blocks import Slice
from pico_image.card.compose import check_part, compose
from pico_image.card.env import env_image
from pico_image.card.filesystem import Volume
from pico_image.compile.toolchain import Toolchain
from pico_image.config.target import Target
from pico_image.emulator.assemble import make_boot, write_placeholder
from pico_image.emulator.system import kernel, userland

#: Programs of every root file system, one of which is no link and no script.
_PROGRAMS = ("/sbin/init", "/bin/busybox", "/bin/sh", "/bin/bash", "/usr/bin/busybox")
_FOLDERS = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/lib/")
#: Class, byte order and machine in the header of a program (System V ABI), and other machines.
_ARM = (1, 1, 40)
_MACHINES = {3: "32-bit x86", 8: "MIPS", 40: "big-endian ARM", 62: "x86-64", 183: "64-bit ARM"}


def make(console: Console, target: Target, rootfs: Path, folder: Path) -> Path:
    """Write ``folder``/sdcard.img: ``rootfs`` (a tar archive or an ext4 image) and all around it.

    ``oem.img`` and ``userdata.img`` beside ``rootfs`` are taken, else empty ones are made. Raises
    UserError for a file that is neither, is damaged, does not fit its slot, has no /sbin/init, or
    programs of another machine.
    """
    config = target.config
    board = config.board("emulator")
    target = replace(target, board=board, layout=target.layout.with_device(board.block_device))
    epoch = project.source_date_epoch(config.root)
    parts = {"rootfs": _rootfs(console, target, rootfs, folder, epoch)}
    with console.step("make a card for QEMU"):
        materials = {
            "kernel": kernel.kernel(console, config),
            "initramfs": userland.initramfs(console, config, Toolchain()),
        }
        parts["boot"] = folder / "boot.img"
        make_boot(console, epoch, materials, parts["boot"])
        parts["env"] = folder / "env.img"
        parts["env"].write_bytes(env_image(target.env(), target.layout["env"].size or 0x8000))
        for name in ("idblock", "uboot"):
            parts[name] = folder / f"{name}.img"
            write_placeholder(name, parts[name])
        for name in ("oem", "userdata"):
            parts[name] = rootfs.with_name(f"{name}.img")
            if not parts[name].is_file():
                parts[name] = folder / f"{name}.img"
                empty = folder / name
                empty.mkdir()
                volume = Volume(name, target.layout[name].size or 1 << 30)
                filesystem.make(console, empty, parts[name], volume, epoch)
        others = [part.name for part in target.layout if part.name not in parts]
        card = folder / "sdcard.img"
        return compose(console, parts, target.layout, card, empty=others).image


def _rootfs(console: Console, target: Target, rootfs: Path, folder: Path, epoch: int) -> Path:
    """The image of ``rootfs``: itself, or made of the archive."""
    if not rootfs.is_file():
        raise UserError(
            f"there is no file {rootfs}",
            hint="Buildroot writes rootfs.tar into its folder images; `invoke build-image` leaves "
            "rootfs.img in out/VARIANT/images",
        )
    slot = target.layout["rootfs"]
    image = rootfs
    if filesystem.read_superblock(Slice(rootfs)) is None:
        image = folder / "rootfs.img"
        try:
            tarfile.open(rootfs, "r:").close()
        except (tarfile.TarError, EOFError) as error:
            raise UserError(
                f"{rootfs} is neither a tar archive (without compression) nor an ext4 image",
                hint="Buildroot: BR2_TARGET_ROOTFS_TAR=y, in images/rootfs.tar; a whole card is "
                "booted with --image",
            ) from error
        with console.step(f"make a file system of {rootfs.name}"):
            tree = folder / "rootfs"
            tree.mkdir()
            entries = archive.unpack([archive.Archive(rootfs, devices=True)], tree)
            volume = Volume("rootfs", slot.size or 1 << 30)
            filesystem.make(console, tree, image, volume, epoch, entries)
    check_part(slot, Slice(image))
    _check_programs(rootfs, image)
    return image


def _check_programs(rootfs: Path, image: Path) -> None:
    """Raise UserError when nothing can start it, or its programs are for another machine."""
    entries = filesystem.list_files(Slice(image))
    paths = {entry.path for entry in entries}
    if not paths & {"/sbin/init", "/usr/sbin/init"}:
        raise UserError(
            f"{rootfs} has no /sbin/init, so nothing can start it",
            hint="it takes a whole root file system, not its overlay or a single package",
        )
    programs = [
        entry.path
        for entry in entries
        if stat.S_ISREG(entry.mode) and entry.mode & 0o111 and entry.path.startswith(_FOLDERS)
    ]
    for path in sorted(programs, key=lambda path: path not in _PROGRAMS):
        header = filesystem.read_file(Slice(image), path)[:20]
        if header[:4] != b"\x7fELF":  # a script
            continue
        order = ">" if header[5] == 2 else "<"
        (machine,) = struct.unpack_from(f"{order}H", header, 18)
        if (header[4], header[5], machine) != _ARM:
            name = _MACHINES.get(machine, f"machine {machine}")
            raise UserError(
                f"{rootfs} is for another processor: {path} is a program for {name}",
                hint="the emulator's machine is a 32-bit little-endian ARM, as the boards are",
            )
        return
