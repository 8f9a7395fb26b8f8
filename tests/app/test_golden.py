"""The real network: answers on labelled photographs, and the toolkit's golden vectors.

The golden outputs are those of Rockchip's simulator, whose int8 weights are asymmetric; TensorFlow
Lite's are symmetric. So the simulated NPU agrees with them in direction and in the best class (or
one that it takes for equally good), not bit for bit: cosine at least 0.99.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pico_image.base.console import Console
from pico_image.config import configuration
from pico_image.models import convert
from tests.support.arm import run_arm
from tests.support.result_schema import validated

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

FEW = ("--warmup-runs", "0", "--min-runs", "1", "--min-secs", "0", "--json", "-")


@pytest.fixture(scope="module")
def model() -> Path:
    return convert.convert(Console(), configuration.load(), "efficientnet-lite0")


def test_golden_vectors(arm: Path, model: Path) -> None:
    """By --verify, and by numpy from the scores that --logits gives: both say the same."""
    sidecar = json.loads((model / "model.rknn.json").read_text())
    folder = model / "golden"
    vectors = json.loads((folder / "golden.json").read_text())["vectors"]
    images = [word for entry in vectors for word in ("--image", folder / entry["input"])]
    done = run_arm(
        [arm / "npu/npu-runner", "--model", model / "model.rknn", *images, *FEW, "--logits"]
    )
    assert done.returncode == 0, done.stderr
    pictures = validated(done.stdout)["pictures"]
    assert len(pictures) == len(vectors) >= 3
    scale, zero = sidecar["output"]["scale"], sidecar["output"]["zero_point"]
    done = run_arm(
        [arm / "npu/npu-runner", "--model", model / "model.rknn", "--verify", folder, "--json", "-"]
    )
    assert done.returncode == 0, done.stderr
    verification = validated(done.stdout)["verification"]
    assert verification["verdict"] == "within-tolerance" and verification["simulated"] is True
    differences = verification["vectors"]
    for picture, entry, difference in zip(pictures, vectors, differences, strict=True):
        assert picture["format"] == "RGB"
        codes = np.frombuffer((folder / entry["output"]).read_bytes(), np.int8).astype(float)
        golden, ours = (codes - zero) * scale, np.array(picture["logits"])
        cosine = golden @ ours / np.sqrt((golden @ golden) * (ours @ ours))
        assert cosine >= 0.99, (entry["name"], cosine)
        steps = np.rint(ours / scale) + zero
        assert difference["name"] == entry["name"]
        assert difference["cosine"] == pytest.approx(cosine, abs=1e-6)
        assert difference["exact_bytes"] == (steps == codes).sum()
        assert difference["largest_step"] == abs(steps - codes).max()
        assert difference["top1_equal"] == (steps.argmax() == entry["top1"])
        assert ours[entry["top1"]] >= ours.max() - 4 * scale, entry["name"]


def test_answers_on_the_photographs(arm: Path, model: Path) -> None:
    """neon-runner int8 and npu-runner: every labelled photograph is right (exit 0 says so)."""
    card = json.loads((model / "model.json").read_text())
    images = [word for entry in card["images"] for word in ("--image", model / entry["path"])]
    for program, file in (("neon-runner", "int8.tflite"), ("npu/npu-runner", "model.rknn")):
        done = run_arm([arm / program, "--model", model / file, *images, *FEW])
        assert done.returncode == 0, done.stderr
        pictures = validated(done.stdout)["pictures"]
        assert [picture["correct"] for picture in pictures] == [True] * len(card["images"])
        assert len(pictures) >= 3
