"""Second stage: ``model.onnx`` to float32 and int8 ``.tflite``, judged. (Worker code.)

Writes ``fp32.tflite``, ``int8.tflite``, ``logits.npz`` and ``tflite.json``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from pico_image.models.worker import accuracy, onnx_to_tflite, rounding, tflite_file
from pico_image.models.worker.main import tell
from pico_image.models.worker.networks import Array
from pico_image.models.worker.pictures import normalise, read_prepared
from pico_image.models.worker.quantize import Runner, quantize

#: Largest difference of a logit between ONNX Runtime and TFLite, as a share of the largest logit.
#: Sums of a few thousand float32 products in another order differ by about 1e-6.
FLOAT_TOLERANCE = 1e-3


def run(spec: dict[str, Any], prepared: str, out: str) -> dict[str, Any]:
    """Convert and judge; the thresholds are the caller's business."""
    source, folder = Path(prepared), Path(out)
    card, name = spec["input"], spec["name"]
    model = onnx.load(str(source / "model.onnx"))
    times = {}
    began = time.monotonic()
    float_model = onnx_to_tflite.convert(model, name)
    times["fp32"] = time.monotonic() - began
    calibration = normalise(read_prepared(source / "calibration")[1], card)
    began = time.monotonic()
    tell("choosing how weights are rounded")
    fitted = onnx_to_tflite.convert(rounding.fit(model, calibration, "symmetric"), name)
    times["rounding"] = time.monotonic() - began
    began = time.monotonic()
    tell("calibrating")
    int8_model = quantize(float_model, fitted, calibration, Path.cwd())
    times["int8"] = time.monotonic() - began
    for file, data in (("fp32.tflite", float_model), ("int8.tflite", int8_model)):
        faults = tflite_file.buffer_faults(data)
        if faults:
            raise AssertionError(f"{file}: {faults[0]}")
        (folder / file).write_bytes(data)
    tell("judging on held-out pictures")
    images = normalise(read_prepared(source / "held-out")[1], card)
    reference = run_onnx(model, images)
    results = {"fp32": Runner(float_model).run(images), "int8": Runner(int8_model).run(images)}
    worst = float(np.abs(results["fp32"] - reference).max() / np.abs(reference).max())
    if worst > FLOAT_TOLERANCE:
        raise AssertionError(f"{name}: float32 TFLite differs from ONNX by {worst:.2g} of the peak")
    report: dict[str, Any] = {"float_difference": worst, "seconds": times}
    for key, logits in results.items():
        report[key] = {
            "bytes": (folder / f"{key}.tflite").stat().st_size,
            **accuracy.agreement(reference, logits),
        }
    np.savez(folder / "logits.npz", reference=reference, fp32=results["fp32"], int8=results["int8"])
    (folder / "tflite.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def run_onnx(model: onnx.ModelProto, images: Array) -> Array:
    """(N, classes) float32 logits by ONNX Runtime of (N, H, W, 3) float32 normalised pictures."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image.transpose(2, 0, 1)[None]})[0] for image in images]
    return np.stack([np.asarray(row, np.float32).reshape(-1) for row in rows])
