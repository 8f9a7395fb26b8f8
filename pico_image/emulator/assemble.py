"""The parts of an emulator image."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.files import atomic_write, sha256_tree
from pico_image.card import fit
from pico_image.card.making import Maker, identity, unchanged
from pico_image.card.parts import Contents
from pico_image.config.target import Target
from pico_image.emulator import rootfs

#: The content of the slots that QEMU never reads.
PLACEHOLDER = (
    "This is not a boot loader. QEMU has neither the BootROM nor the U-Boot of the board, and "
    "starts the kernel in the boot partition by itself. The slot `{name}` is filled so that the "
    "layout is the board's.\n"
)
PLACEHOLDER_SIZE = 4096


def make_parts(
    console: Console, target: Target, materials: Mapping[str, Path], contents: Contents
) -> Path:
    """Make the parts out of what was compiled and converted; the folder that they are in.

    Folders made by build_once are taken by their names, which are hashes of all that went in.
    """
    models = {f"model {name}": path for name, path in contents.models.items()}
    with unchanged({**materials, **models}, "the image") as check:
        maker = Maker(console, target, "pico_image.emulator", check)
        maker.file_system(
            "rootfs",
            {
                "materials": {name: identity(path) for name, path in materials.items()},
                "models": {name: identity(path) for name, path in contents.models.items()},
                "overlay": sha256_tree(rootfs.layers(target)),
                "packages": target.packages,
                "settings": rootfs.settings(target),
                "console": target.board.console,
                "keys": rootfs.authorized_keys(contents),
            },
            functools.partial(rootfs.fill, target=target, materials=materials, contents=contents),
        )
        maker.part(
            "boot",
            {"materials": [identity(materials[name]) for name in ("kernel", "initramfs")]},
            functools.partial(make_boot, console, maker.epoch, materials),
        )
        maker.oem()
        maker.userdata()
        maker.env()
        for name in ("idblock", "uboot"):
            maker.part(name, {}, functools.partial(write_placeholder, name))
        return maker.images


def make_boot(console: Console, epoch: int, materials: Mapping[str, Path], image: Path) -> None:
    """Write the boot part, a FIT of kernel and initramfs, as a board's U-Boot takes it."""
    release = (materials["kernel"] / "release").read_text(encoding="ascii").strip()
    files = fit.BootFiles(
        kernel=materials["kernel"] / "zImage",
        ramdisk=materials["initramfs"] / "initramfs.cpio.gz",
        description=f"emulator: Linux {release} for QEMU's virt machine",
        kernel_description=f"Linux {release} (Debian)",
    )
    fit.make(console, files, image, epoch)


def write_placeholder(name: str, image: Path) -> None:
    """Write the content of a slot that QEMU never reads."""
    text = PLACEHOLDER.format(name=name).encode()
    with atomic_write(image) as stream:
        stream.write(text.ljust(PLACEHOLDER_SIZE, b"\0"))
