"""One build of app/ for all tests of a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.compile import libraries
from pico_image.config import configuration
from tests.app.build import TOOLCHAIN, cmake, need


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs for this machine, under the sanitizers."""
    need("gcc")
    return cmake(tmp_path_factory.mktemp("app-host"), "-DPICO_TESTS=ON")


@pytest.fixture(scope="session")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs for the board and the tests' tools beside them, as CMake builds them.

    ``PICO_TEST_TFLITE`` may name a TensorFlow Lite prefix, so that work on app/ need not wait
    ten minutes for the library.
    """
    need("arm-linux-gnueabihf-gcc", "qemu-arm")
    console, settings = Console(), configuration.load()
    given = os.environ.get("PICO_TEST_TFLITE")
    tflite = Path(given) if given else libraries.tflite(console, settings)
    return cmake(
        tmp_path_factory.mktemp("app-arm"),
        f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
        f"-DTFLITE_PREFIX={tflite}",
        f"-DIMAGE_LIBS_PREFIX={libraries.image_libraries(console, settings)}",
        "-DPICO_TOOLS=ON",
    )
