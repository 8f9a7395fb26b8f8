"""One real image without models, and one machine booted from it, for all tests in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.compile import programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.emulator import backend
from pico_image.emulator.assemble import build_from
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine, boot


@dataclass(frozen=True)
class Kit:
    """What images are put together from; compiled once and kept in the cache."""

    console: Console
    config: Config
    base: dict[str, Path]
    programs: Path
    variant: Variant

    def build(self, models: dict[str, Path] | None = None, **changes: object) -> Path:
        variant = self.variant.model_copy(update=changes)
        board = self.config.board(variant.board)
        return build_from(
            self.console, self.config, variant, board, self.base, self.programs, models or {}
        )


@pytest.fixture(scope="session")
def kit(output: Path) -> Kit:
    console = Console()
    config = configuration.load()
    toolchain = Toolchain()
    base = backend.parts(console, config, toolchain)
    variant = Variant(
        name="emulator-test",
        title="the emulator without models",
        board="emulator",
        packages=["npu-runner", "neon-runner", "npu-bench"],
        hostname="pico-test",
    )
    binaries = programs.app(console, config, toolchain) / "bin"
    return Kit(console, config, base, binaries, variant)


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An output folder of its own for the whole session, and a commit that stays the same.

    Someone may commit while the tests run, and commit and time are part of an image.
    """
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder))
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        patch.setattr(project, "revision", lambda root: project.Revision("c" * 40, False))
        yield folder


@pytest.fixture(scope="session")
def images(kit: Kit, output: Path) -> Path:
    """The images folder of a built variant; tests that change it must build their own."""
    return kit.build()


@pytest.fixture(scope="session")
def card(images: Path, output: Path) -> Path:
    return working_copy(images / "sdcard.img", output / "session-card")


@pytest.fixture(scope="session")
def machine(kit: Kit, card: Path, output: Path) -> Iterator[Machine]:
    """A booted machine at its shell, shared: leave it as it was."""
    with boot(kit.console, card) as running:
        running.wait_for_shell()
        yield running


@pytest.fixture
def own_card(images: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes fresh cards that a test may ruin."""
    return lambda: working_copy(images / "sdcard.img", tmp_path)
