"""A network cut after each of its layers: where, and is a prefix the beginning of the network?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pico_image.base.console import Console
from pico_image.models import papers, prefixes
from pico_image.models.worker.jobs import Cut, Step
from tests.support import small_network

Inside = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("layered", small_network.LAYERS),
        # The second branch needs nothing of the first: no prefix ends before they are joined.
        (
            "branches",
            [
                ["Conv", "Relu"],
                ["Conv", "Relu"],
                ["Conv", "Relu", "Concat"],
                ["GlobalAveragePool"],
                ["Flatten", "Gemm"],
            ],
        ),
        (
            "two readers",
            [["Conv"], ["Sigmoid"], ["Add"], ["GlobalAveragePool"], ["Flatten", "Gemm"]],
        ),
    ],
)
def test_layers_end_where_the_compiler_fuses_no_further(
    inside: Inside, name: str, layers: list[list[str]]
) -> None:
    assert inside("cutting_cases", "ends", name=name) == layers


@pytest.mark.parametrize("name", ["layered", "branches"])
def test_a_prefix_holds_every_layer_before_its_end(inside: Inside, name: str) -> None:
    """A wrong layer is in all prefixes from its own on, which a binary search relies on."""
    counts = inside("cutting_cases", "nested", name=name)
    ends = inside("cutting_cases", "ends", name=name)
    assert counts == [sum(map(len, ends[: number + 1])) for number in range(len(ends))]


def test_a_layer_is_named_with_operators_and_shapes() -> None:
    cut = Cut(
        tensor="block0.relu6",
        steps=[
            Step("block0", "Conv", [[1, 3, 32, 32]], [1, 8, 16, 16]),
            Step("block0.relu6", "Clip", [[1, 8, 16, 16]], [1, 8, 16, 16]),
        ],
    )
    assert prefixes.layer(cut) == "block0.relu6: Conv + Clip, 1x3x32x32 to 1x8x16x16"


def test_prefixes_have_the_scales_of_the_whole(
    console: Console, inside: Inside, own_cache: Path, tmp_path: Path
) -> None:
    config = small_network.configured(tmp_path / "project", inside)
    made = prefixes.Prefixes.of(console, config, small_network.NAME)
    assert [[step.operator for step in cut.steps] for cut in made.cuts] == small_network.LAYERS
    table = yaml.safe_load((made.rknn / "quantised/model.quantization.cfg").read_text())
    whole = table["quantize_parameters"]
    folders = made.publish()
    assert [folder.name for folder in folders] == [f"{n:03d}" for n in range(1, 8)]
    for cut, folder in zip(made.cuts, folders, strict=True):
        listed = json.loads((folder / "golden/golden.json").read_text(encoding="utf-8"))
        assert listed["output_shape"] == cut.steps[-1].output
        assert listed["tolerance_steps"] == papers.TOLERANCE_STEPS
        assert len(listed["vectors"]) == 2
        answers = [(folder / "golden" / each["output"]).read_bytes() for each in listed["vectors"]]
        assert {len(answer) for answer in answers} == {math.prod(listed["output_shape"])}
    simulated = []
    for number in (0, 2, 6):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        made.write(number, folder, simulated=True)
        simulated.append(str(folder))
        output = json.loads((folder / papers.SIDECAR).read_text(encoding="utf-8"))["output"]
        known = whole.get(f"{made.cuts[number].tensor}_int8") or whole[made.cuts[number].tensor]
        assert output["scale"] == pytest.approx(known["scale"][0], rel=1e-9)
        assert output["zero_point"] == known["zero_point"][0]
    # What a simulated NPU computes with is the same part of the network.
    for found in inside("cutting_cases", "answers", folders=simulated):
        assert found["step"] <= prefixes.SIMULATED_STEPS and found["cosine"] >= 0.99
        assert found["spread"] > 0
