"""``.rknn`` files with the public parts of the real ones, and the conversion's sidecar."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.support import tflite_writer


def rknn(
    size: int,
    classes: int,
    *,
    platform: str = "rv1103",
    toolkit: str = "2.3.2",
    container: int = 0x1004,
    inputs: int = 1,
    shape: list[int] | None = None,
    output: list[int] | None = None,
    vx_type: str = "int8",
    body_bytes: int = 512,
) -> bytes:
    edge = {"left": "input", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 0}
    picture, dtype = (
        {"qnt_method": "layer", "qnt_type": name, "vx_type": name} for name in ("int8", vx_type)
    )
    trailer = {
        "graph": [edge] * inputs
        + [{"left": "output", "left_tensor_id": 0, "right": "norm_tensor", "right_tensor_id": 1}],
        "norm_tensor": [
            {"tensor_id": 0, "url": "input", "size": shape or [1, 3, size, size], "dtype": picture},
            {"tensor_id": 1, "url": "output", "size": output or [1, classes], "dtype": dtype},
        ],
        "target_platform": [platform],
        "version": toolkit,
    }
    text = json.dumps(trailer).encode()
    body = b'{"pico_image": "made by a test"}\0'.ljust(body_bytes, b"\x5a")
    head = b"RKNN\0\0\0\0" + struct.pack("<QQ", container, len(body))
    return head.ljust(64, b"\xee") + body + struct.pack("<Q", len(text)) + text


def sidecar(size: int, classes: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "model": "test",
        "input": {
            "shape": [1, 3, size, size],
            "scale": 1 / 128,
            "zero_point": 0,
            "mean": [127, 127, 127],
            "std": [128, 128, 128],
        },
        "output": {
            "shape": [1, classes],
            "scale": tflite_writer.SCORE_SCALE,
            "zero_point": -3,
        },
    }


def add_npu_model(folder: Path, size: int, classes: int, **changes: Any) -> Path:
    """``model.rknn`` and ``model.rknn.json`` beside the int8 model in ``folder``."""
    path = folder / "model.rknn"
    path.write_bytes(rknn(size, classes, **changes))
    (folder / "model.rknn.json").write_text(json.dumps(sidecar(size, classes)))
    return path
