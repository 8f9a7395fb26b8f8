"""One real image without models, and one machine booted from it, for all tests in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine, boot
from tests.support.emulated import Kit, make_kit, output_folder


@pytest.fixture(scope="package")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with output_folder(tmp_path_factory.mktemp("out")) as folder:
        yield folder


@pytest.fixture(scope="package")
def kit(output: Path) -> Kit:
    return make_kit()


@pytest.fixture(scope="package")
def images(kit: Kit, output: Path) -> Path:
    """The images folder of a built variant; tests that change it must build their own."""
    return kit.build()


@pytest.fixture(scope="package")
def card(images: Path, output: Path) -> Path:
    return working_copy(images / "sdcard.img", output / "session-card")


@pytest.fixture(scope="package")
def machine(kit: Kit, card: Path, output: Path) -> Iterator[Machine]:
    """A booted machine at its shell, shared: leave it as it was."""
    with boot(kit.console, card) as running:
        running.wait_for_shell()
        yield running


@pytest.fixture
def own_card(images: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes fresh cards that a test may ruin."""
    return lambda: working_copy(images / "sdcard.img", tmp_path)
