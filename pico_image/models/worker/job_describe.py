"""What a model file of a user holds. (Worker code.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pico_image.models.worker import onnx_graph, onnx_to_tflite, tflite_file


def describe_onnx(path: str) -> dict[str, Any]:
    """Size, classes and multiply-accumulates of an ONNX classifier, checked as for a conversion."""
    file = Path(path)
    model = onnx_graph.normalise(onnx_graph.load(file), file.name)
    _, _, height, width = onnx_graph.shapes(model)[model.graph.input[0].name]
    onnx_to_tflite.convert(model, file.name)
    return {
        "height": height,
        "width": width,
        "classes": int(np.prod(onnx_graph.output_shape(model), dtype=np.int64)),
        "macs": onnx_graph.macs(model),
    }


def user_tflite(path: str, out: str) -> dict[str, Any]:
    """Copy a user's ``.tflite``, weights inside the flatbuffer; returns what it holds."""
    data = tflite_file.read(Path(path))
    facts = tflite_file.describe(data, path)
    if tflite_file.buffer_faults(data):
        data = tflite_file.inline_weights(data, path)
    (Path(out) / "model.tflite").write_bytes(data)
    return {**facts, "buffer_faults": tflite_file.buffer_faults(data)}


def describe_tflite(path: str) -> dict[str, Any]:
    """What a ``.tflite`` holds, for ``inspect-model``."""
    data = tflite_file.read(Path(path))
    return {**tflite_file.describe(data, path), "buffer_faults": tflite_file.buffer_faults(data)}
