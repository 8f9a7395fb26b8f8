"""``model.rknn.json``: what a functional NPU needs beyond the ``.rknn``'s public trailer.

    {"schema": 1, "model": NAME, "platform": "rv1103", "toolkit": "2.3.2",
     "rknn_sha256": ..., "payload_sha256": ..., "labels_sha256": ...,
     "input":  {"name", "shape": [1, 3, H, W], "layout": "NCHW", "type": "int8", "scale",
                "zero_point", "mean": [3], "std": [3]},
     "output": {"name", "shape": [1, classes], "type": "int8", "scale", "zero_point"},
     "tolerance_steps": 8,
     "golden": [{"name", "input": "golden/NAME.u8", "output": "golden/NAME.i8", "top1",
                 "lead_steps"}]}

Scales and zero points are the toolkit's own (``quantization.cfg`` of hybrid step 1), the ones
that ``rknn_query`` reports on a board: real = (q - zero_point) * scale. The input's belong to
(pixel - mean) / std. A golden input is H * W * 3 raw uint8, NHWC, RGB; its output is ``classes``
raw int8, the simulator's answer before dequantisation. TFLite's int8 weights are symmetric, the
toolkit's are not, so an int8 TFLite model agrees with them not bit for bit but within
``tolerance_steps`` of the output (4 measured on EfficientNet-Lite0), a cosine >= 0.99, and in the
first class wherever the golden answer leads by more than twice that; ``lead_steps`` of each golden
vector says by how much it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pico_image.base.files import sha256_file
from pico_image.models.worker import rknn_file

SCHEMA = 1
#: Largest difference of an int8 TFLite model from a golden answer, in steps of the output.
TOLERANCE_STEPS = 8


def sidecar(spec: Mapping[str, Any], rknn: Path, golden: Path, labels: Path) -> dict[str, Any]:
    """For the files of the stages ``rknn`` and ``golden``, and the list of labels that ships."""
    facts = rknn_file.read(rknn / "model.rknn")
    quantities = json.loads((rknn / "rknn.json").read_text(encoding="utf-8"))["quantities"]
    sides: dict[str, Any] = {}
    for kind in ("input", "output"):
        tensor = facts.tensors(kind)[0]
        sides[kind] = {
            "name": tensor["name"],
            "shape": tensor["shape"],
            "type": tensor["type"],
            "scale": quantities[kind]["scale"],
            "zero_point": quantities[kind]["zero_point"],
        }
    card = spec["input"]
    sides["input"].update(layout="NCHW", mean=list(card["mean"]), std=list(card["std"]))
    return {
        "schema": SCHEMA,
        "model": spec["name"],
        "platform": facts.platforms[0],
        "toolkit": facts.toolkit,
        "rknn_sha256": sha256_file(facts.path),
        "payload_sha256": facts.payload_sha256,
        "labels_sha256": sha256_file(labels),
        "tolerance_steps": TOLERANCE_STEPS,
        **sides,
        "golden": json.loads((golden / "golden.json").read_text(encoding="utf-8"))["golden"],
    }
