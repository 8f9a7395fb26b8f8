"""One quantisation, the toolkit's numbers: hybrid steps 1 and 2 against its own ``build``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pico_image.models import pipeline

Inside = Callable[..., Any]


@pytest.fixture(scope="module")
def small(
    inside: Inside, inside_rknn: Inside, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A small network and pictures of its size."""
    folder = tmp_path_factory.mktemp("small")
    pictures = folder / "pictures"
    pictures.mkdir()
    inside("graph_cases", "tiny_classifier", path=str(folder / "model.onnx"))
    inside_rknn("toolkit_cases", "photographs", folder=str(pictures), size=32, count=12)
    return folder / "model.onnx", pictures


@pytest.mark.parametrize("algorithm", ["normal", "kl_divergence", "mmse"])
def test_a_small_network_comes_out_as_build_makes_it(
    inside_rknn: Inside, small: tuple[Path, Path], algorithm: str
) -> None:
    found = inside_rknn(
        "toolkit_cases",
        "both_routes",
        model=str(small[0]),
        calibration=str(small[1]),
        count=10,
        algorithm=algorithm,
        asked=["ours", "build"],
    )
    compare(found)
    same = all(alike(found, side) for side in ("input", "output"))
    # mmse's ranges are not those that the toolkit wrote down.
    assert same == (algorithm != "mmse")


@pytest.mark.slow
def test_the_real_network_comes_out_as_build_makes_it(
    inside_rknn: Inside, stages: pipeline.Stages
) -> None:
    answer = inside_rknn(
        "toolkit_cases",
        "both_routes",
        model=str(stages.prepared / "model.onnx"),
        calibration=str(stages.prepared / "calibration"),
        count=10,
        algorithm="normal",
        asked=["ours", "build"],
    )
    compare(answer)
    assert alike(answer, "input") and alike(answer, "output")
    # (pixel - 127) / 128 in steps of 1/128.
    assert answer["quantities"]["input"]["scale"] == 1 / 128
    assert answer["quantities"]["input"]["zero_point"] == -1


def alike(found: dict[str, Any], side: str) -> bool:
    """What is seen of the simulator is what the toolkit says."""
    seen, told = found["measured"][side], found["quantities"][side]
    scales = seen["scale"] == pytest.approx(told["scale"], rel=1e-5)
    return (seen["name"], seen["zero_point"]) == (told["name"], told["zero_point"]) and bool(scales)


def compare(found: dict[str, Any]) -> None:
    assert found["ours"]["payload"] == found["build"]["payload"]
    assert found["ours"]["custom"] == found["build"]["custom"] == {"pico_image": 1}
    assert found["same answers"]
    # The scale is the model's: every answer of the simulator lies on its grid.
    assert found["off grid"] < 1e-3
    assert found["distinct"] > 3
