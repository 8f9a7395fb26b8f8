"""One build of app/ for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.compile import libraries
from pico_image.config import configuration
from tests.app.build import TOOLCHAIN, kept_build, need


@pytest.fixture(scope="session")
def host() -> Path:
    """npu-bench, the unit tests and picture-tool for this machine, under ASan and UBSan."""
    return kept_build("app-host", "-DPICO_TESTS=ON")


@pytest.fixture(scope="session")
def arm() -> Path:
    """Programs for the board and the tests' tools beside them, as CMake builds them."""
    need("qemu-arm")
    console, settings = Console(), configuration.load()
    return kept_build(
        "app-arm",
        f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
        f"-DTFLITE_PREFIX={libraries.tflite(console, settings)}",
        f"-DIMAGE_LIBS_PREFIX={libraries.image_libraries(console, settings)}",
        "-DPICO_TOOLS=ON",
        needs="arm-linux-gnueabihf-gcc",
    )
