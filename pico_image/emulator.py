"""The emulator backend: an SD image with the boards' layout, overlay and programs, for QEMU.

What is expensive (kernel, busybox, compiled programs, models) is made once and kept in the cache;
``emulator_image`` puts it together, ``qemu`` boots it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pico_image import emulator_base, emulator_kernel, native, remote_server, sources
from pico_image.config import Config
from pico_image.config_schema import Variant
from pico_image.console import Console
from pico_image.cross import Toolchain
from pico_image.emulator_card import list_partition_folder, read_partition_file, working_copy
from pico_image.emulator_image import build_from
from pico_image.image_files import PARTS
from pico_image.models import convert
from pico_image.qemu import Machine, MachineEnded, boot, interactive

__all__ = [
    "PARTS",
    "Machine",
    "MachineEnded",
    "boot",
    "build",
    "build_from",
    "fetch",
    "interactive",
    "list_partition_folder",
    "parts",
    "read_partition_file",
    "working_copy",
]


def parts(
    console: Console, config: Config, toolchain: Toolchain, *, offline: bool = False
) -> dict[str, Path]:
    """Folders of what every emulator image is made of besides our programs, each made once."""
    return {
        "kernel": emulator_kernel.kernel(console, config, offline=offline),
        "busybox": emulator_base.busybox(console, config, toolchain, offline=offline),
        "e2fsprogs": emulator_base.e2fsprogs(console, config, toolchain, offline=offline),
        "initramfs": emulator_base.initramfs(console, config, toolchain, offline=offline),
    }


def build(
    console: Console,
    config: Config,
    variant: Variant,
    *,
    offline: bool = False,
    authorized_keys: str = "",
    forms: Sequence[str] | None = None,
) -> Path:
    """Build the image of a variant with the emulator backend; its images folder.

    With ``authorized_keys`` (lines of public keys) the image gets an SSH server that takes them
    for root; ``forms`` are the compressed forms of the card image. A second build of the same
    variant waits for the first. Raises UserError when a part does not fit its slot, before that
    part is touched.
    """
    board = config.board(variant.board)
    toolchain = Toolchain()
    programs = native.app(console, config, toolchain)
    models = {name: convert.convert(console, config, name) for name in variant.models}
    base = parts(console, config, toolchain, offline=offline)
    if authorized_keys:
        base["dropbear"] = remote_server.dropbear(console, config, toolchain, offline=offline)
    return build_from(
        console,
        config,
        variant,
        board,
        base,
        programs / "bin",
        models,
        authorized_keys=authorized_keys,
        forms=forms,
    )


def fetch(console: Console, config: Config, variant: Variant) -> None:
    """Download everything that ``build`` downloads; models are converted on the way.

    What converts them comes from the Python registry into an environment of its own.
    """
    names = [*native.TFLITE_SOURCES, *native.IMAGE_SOURCES, *emulator_base.SOURCES]
    with console.step(f"download {len(names)} sources"):
        for name in names:
            sources.fetch(console, config.source(name))
    for name in variant.models:
        convert.convert(console, config, name)
