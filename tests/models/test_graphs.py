"""ONNX to TFLite: every operator against ONNX Runtime, every refusal by its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Inside = Callable[..., Any]

#: Case -> operators of the translation that prove how it was done.
OPERATORS = {
    "conv same stride 2 even": {"CONV_2D": 1, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
    "conv explicit stride 2 even": {
        "PAD": 1,
        "CONV_2D": 1,
        "MEAN": 1,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 1,
    },
    "relu6": {"CONV_2D": 1, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
    "batch norm folded": {"CONV_2D": 1, "MEAN": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
    "flatten a picture": {"CONV_2D": 1, "TRANSPOSE": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
}

#: Case -> what the refusal must name.
REFUSED = {
    "groups": "2 groups over 4 channels",
    "dynamic height": "dynamic axes: [1, 3, 'height', 9]",
    "batch of 2": "a batch of 1",
    "four channels": "3 channels",
    "channels last": "NCHW",
    "two inputs": "has 2 inputs (input, other)",
    "unsupported operator": "Erf (the first is layer 'v1')",
    "several unsupported": "Elu, Softplus",
    "opset 6": "is of opset 6; 7 to 19",
    "opset 99": "is of opset 99; 7 to 19",
    "odd clip": "limits -1.0 and 1.0",
    "padded max pool of negatives": "MaxPool 'v1'",
    "no classifier": "one score per class",
    "weights from outside": "Transpose",
}


@pytest.fixture(scope="session")
def graphs(inside: Inside) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = inside("graph_cases", "run_all")
    return found


def test_every_network_answers_as_onnx_runtime_does(graphs: dict[str, Any]) -> None:
    assert len(graphs["good"]) >= 40
    wrong = {
        name: result
        for name, result in graphs["good"].items()
        if not result["difference"] <= 1e-4 * max(1.0, result["spread"])
    }
    assert not wrong


def test_every_translation_is_reproducible_and_aligned(graphs: dict[str, Any]) -> None:
    for name, result in graphs["good"].items():
        assert result["same_bytes"], name
        assert result["faults"] == [], name


@pytest.mark.parametrize("name", OPERATORS)
def test_nothing_needless_is_left_in_the_graph(graphs: dict[str, Any], name: str) -> None:
    assert graphs["good"][name]["operators"] == OPERATORS[name]


def test_every_refusal_is_listed_here(graphs: dict[str, Any]) -> None:
    assert set(graphs["bad"]) == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(graphs: dict[str, Any], name: str) -> None:
    assert REFUSED[name] in graphs["bad"][name]


@pytest.mark.parametrize("content", ["", "RKNN", "\x08\x07\x12\x04abcd", "absent"])
def test_a_file_that_is_no_onnx_model_is_refused(inside: Inside, content: str) -> None:
    message = inside("graph_cases", "read_file", content=content)
    assert "broken.onnx" in message
    assert "ONNX" in message


def test_a_truncated_onnx_file_is_refused(inside: Inside) -> None:
    assert "could not read" in inside("graph_cases", "truncated_onnx")


def test_the_fault_of_a_file_is_named_and_not_its_consequence(inside: Inside) -> None:
    found = inside("graph_cases", "refused_files")
    assert "refused.onnx is of opset 6; 7 to 19 can be converted" in found["opset 6"]
    assert "refused.onnx is of opset 23; 7 to 19 can be converted" in found["opset 23"]
    assert "an operator that ONNX does not have" in found["no such operator"]
    assert "NoSuchOp" in found["no such operator"]
    assert "is the file whole" not in found["no such operator"]


def test_a_dead_channel_gets_weights_that_its_int8_bias_fits(inside: Inside) -> None:
    result = inside("graph_cases", "dead_channel")
    assert result["share"] >= 0.99e-4
    assert result["change"] < 1e-2
