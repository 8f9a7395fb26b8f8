"""One build of app/ for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pico_image.base.console import Console
from pico_image.compile import libraries
from pico_image.config import configuration
from tests.app.build import TOOLCHAIN, kept_build, need
from tests.support import rknn_writer
from tests.support.arm import run_arm
from tests.support.model_cards import CLASSES, COLOURS, add_golden, model_folder
from tests.support.result_schema import validated
from tests.support.tflite_writer import SCORE_SCALE

#: Golden vectors of ``golden_model``. 20 pixels: rows are padded to 32.
GOLDEN_NAMES = ("000-cat", "001-dog", "held-out-002")
GOLDEN_SIZE = 20


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


@pytest.fixture(scope="session")
def golden_model(arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with golden vectors that the simulator answers to the byte.

    The answers come from ``--logits``: through the code that prepares pictures and reads scores.
    """
    folder = model_folder(tmp_path_factory.mktemp("models") / "colours", size=GOLDEN_SIZE, npu=True)
    noise = np.random.default_rng(1).integers(-9, 10, (GOLDEN_SIZE, GOLDEN_SIZE, 3))
    pixels = {}
    for name, colour in zip(GOLDEN_NAMES, COLOURS.values(), strict=True):
        pixels[name] = (np.array(colour) + noise).clip(0, 255).astype(np.uint8).tobytes()
        (folder / f"{name}.raw").write_bytes(pixels[name])
    images = [word for name in GOLDEN_NAMES for word in ("--image", folder / f"{name}.raw")]
    done = run_arm(
        [arm / "npu/npu-runner", "--model", folder / "model.rknn", *images, "--warmup-runs", "0",
         "--min-runs", "1", "--min-secs", "0", "--json", "-", "--logits"]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = {}
    zero_point = rknn_writer.sidecar(GOLDEN_SIZE, CLASSES)["output"]["zero_point"]
    for name, picture in zip(GOLDEN_NAMES, validated(done.stdout)["pictures"], strict=True):
        steps = np.rint(np.array(picture["logits"]) / SCORE_SCALE) + zero_point
        answers[name] = (pixels[name], steps.astype(np.int8).tobytes())
    assert len({answer for _, answer in answers.values()}) == len(GOLDEN_NAMES)
    add_golden(folder, answers)
    return folder
