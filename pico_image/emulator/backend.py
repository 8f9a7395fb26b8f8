"""The emulator backend: an SD image with the boards' layout, overlay and programs, for QEMU.

What is expensive (kernel, busybox, compiled programs, models) is made once and kept in the cache;
``emulator_image`` puts it together, ``qemu`` boots it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pico_image import sources
from pico_image.base.console import Console
from pico_image.compile import libraries, programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.emulator.assemble import build_from
from pico_image.emulator.system import dropbear, kernel, userland
from pico_image.models import convert


def parts(console: Console, config: Config, toolchain: Toolchain) -> dict[str, Path]:
    """Folders of what every emulator image is made of besides our programs, each made once."""
    return {
        "kernel": kernel.kernel(console, config),
        "busybox": userland.busybox(console, config, toolchain),
        "e2fsprogs": userland.e2fsprogs(console, config, toolchain),
        "initramfs": userland.initramfs(console, config, toolchain),
    }


def build(
    console: Console,
    config: Config,
    variant: Variant,
    *,
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
    app = programs.app(console, config, toolchain)
    models = {name: convert.convert(console, config, name) for name in variant.models}
    base = parts(console, config, toolchain)
    if authorized_keys:
        base["dropbear"] = dropbear.dropbear(console, config, toolchain)
    return build_from(
        console,
        config,
        variant,
        board,
        base,
        app / "bin",
        models,
        authorized_keys=authorized_keys,
        forms=forms,
    )


def fetch(console: Console, config: Config, variant: Variant) -> None:
    """Download everything that ``build`` downloads; models are converted on the way.

    What converts them comes from the Python registry into an environment of its own.
    """
    names = [*libraries.TFLITE_SOURCES, *libraries.IMAGE_SOURCES, *userland.SOURCES]
    with console.step(f"download {len(names)} sources"):
        for name in names:
            sources.fetch(console, config.source(name))
    for name in variant.models:
        convert.convert(console, config, name)
