"""What is killed in tests: as the tasks do it, without a terminal, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.emulator import qemu
from pico_image.emulator.bench_at_boot import bench_at_boot


def told(work: Callable[[Console], object], answer: Path) -> None:
    """Do it; what its user would be told goes into the file."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        try:
            work(Console(stream=nothing))
            answer.write_text("done")
        except UserError as error:
            answer.write_text(str(error))


def benchmark(images: Path, answer: Path) -> None:
    told(lambda console: bench_at_boot(console, images), answer)


def emulate(images: Path, answer: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    told(lambda console: qemu.interactive(console, images / "sdcard.img"), answer)
