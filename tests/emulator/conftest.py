"""One real image without models, and one machine booted from it, for all tests in here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine, boot
from tests.support.emulated import REVISION, Kit, make_kit


@pytest.fixture(scope="session")
def kit(output: Path) -> Kit:
    return make_kit(Console())


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An output folder of its own for the whole session, with one commit and time."""
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder))
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        patch.setattr(project, "revision", lambda root: REVISION)
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
