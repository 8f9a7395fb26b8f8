"""Runs inside the models environment: networks to cut, their prefixes, and faults in a layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graph_cases import Net, _clip, head  # type: ignore[import-not-found]

from pico_image.models.worker import cutting, onnx_graph, tflite_file
from pico_image.models.worker.make_tflite import Runner


def _layered() -> Any:
    """Six layers with weights, one of them with a shortcut around it, and a pooling."""
    net = Net(32)
    x = net.op("Relu", net.conv("input", 8, 3, 3, pads=[1] * 4, strides=[2, 2]))
    entry = x
    x = _clip(net, net.conv(x, 8, 1, 3, group=8, pads=[1] * 4), 0, 6)
    x = net.op("Add", net.conv(x, 8, 8, 1), entry)
    x = _clip(net, net.conv(x, 16, 8, 1), 0, 6)
    x = net.op("Relu", net.conv(x, 16, 1, 3, group=16, pads=[1] * 4, strides=[2, 2]))
    return net.model(head(net, x, 16))


def _branches() -> Any:
    """Two branches that are joined: their insides are no ends, the first excepted."""
    net = Net()
    x = net.op("Relu", net.conv("input", 4, 3, 3))
    left, right = net.op("Relu", net.conv(x, 4, 4, 1)), net.op("Relu", net.conv(x, 4, 4, 1))
    return net.model(head(net, net.op("Concat", left, right, axis=1), 8))


def _two_readers() -> Any:
    """An activation beside which its input is read, too, is not fused."""
    net = Net()
    x = net.conv("input", 4, 3, 3)
    return net.model(head(net, net.op("Add", net.op("Sigmoid", x), x), 4))


CASES = {"layered": _layered, "branches": _branches, "two readers": _two_readers}


def ends(name: str) -> list[list[str]]:
    """The operators of each layer."""
    cuts = cutting.find(onnx_graph.normalise(CASES[name](), name))
    return [[step.operator for step in cut.steps] for cut in cuts]


def nested(name: str) -> list[int]:
    """The number of nodes of each prefix, after ONNX Runtime's shapes were held against ours."""
    model = onnx_graph.normalise(CASES[name](), name)
    counts = []
    for cut in cutting.find(model):
        prefix = cutting.prefix(model, cut.tensor)
        inferred = onnx.shape_inference.infer_shapes(prefix, strict_mode=True)
        assert list(onnx_graph.output_shape(inferred)) == cut.steps[-1].output
        counts.append(len(prefix.graph.node))
    return counts


def write(path: str) -> int:
    """The layered network as an ONNX file; returns its multiply-accumulates."""
    model = onnx.shape_inference.infer_shapes(_layered())
    onnx.save(model, path)
    return onnx_graph.macs(onnx_graph.normalise(model, "layered"))


def answers(folders: list[str]) -> list[dict[str, float]]:
    """Of each prefix: its ``.tflite`` against the golden vectors of its ``.rknn``."""
    return [_answers(Path(folder)) for folder in folders]


def _answers(folder: Path) -> dict[str, float]:
    model = Runner((folder / "int8.tflite").read_bytes())
    output = json.loads((folder / "model.rknn.json").read_text(encoding="utf-8"))["output"]
    scale, zero = output["scale"], output["zero_point"]
    own_scale, own_zero = model.output["quantization"]
    found = {"step": 0.0, "cosine": 1.0, "spread": 0.0}
    for path in sorted((folder / "golden").glob("*.u8")):
        pixels = np.frombuffer(path.read_bytes(), np.uint8).reshape(32, 32, 3)
        raw = model.raw(((pixels.astype(np.float32) - 127) / 128).astype(np.float32))
        real = (raw.astype(np.float64) - own_zero) * own_scale
        real = np.moveaxis(real, -1, 0).reshape(-1)
        theirs = np.frombuffer(path.with_suffix(".i8").read_bytes(), np.int8).astype(np.float64)
        step = np.abs(np.clip(np.rint(real / scale) + zero, -128, 127) - theirs).max()
        theirs = (theirs - zero) * scale
        cosine = real @ theirs / np.sqrt((real @ real) * (theirs @ theirs))
        found["step"] = max(found["step"], float(step))
        found["cosine"] = min(found["cosine"], float(cosine))
        found["spread"] = max(found["spread"], float(np.abs(theirs).max()))
    return found


def plant(path: str, names: list[str]) -> str:
    """Turn the sign of every other output channel's weights of one layer; returns its operator.

    ``names``: the operators of the layer, by the names of their outputs.
    """
    file = Path(path)
    model = tflite_file.unpack(file.read_bytes(), file.name)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        output = graph.tensors[operator.outputs[0]].name.decode()
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        kind = str(tflite_file.OPERATOR_NAMES[code])
        if output not in names or kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weight = graph.tensors[operator.inputs[1]]
        buffer = model.buffers[weight.buffer]
        values = np.asarray(buffer.data, np.uint8).view(np.int8).reshape(weight.shape).copy()
        channels = values if kind != "DEPTHWISE_CONV_2D" else np.moveaxis(values, -1, 0)
        channels[::2] = -np.maximum(channels[::2], -127)
        buffer.data = values.reshape(-1).view(np.uint8)
        file.write_bytes(tflite_file.pack(model))
        return kind
    raise AssertionError(f"no layer with weights gives one of {names}")
