"""Third stage: ``model.onnx`` to ``model.rknn`` by rknn-toolkit2, and its simulator. (Worker.)

Runs in the environment ``rknn`` and a scratch folder, where the toolkit leaves whatever it likes.
Writes ``model.rknn``, ``simulator.npz`` (the held-out pictures), ``rknn.json``, and what
``job_golden`` needs to simulate other pictures: ``quantised/``. With mmse, where that would take as
long as the conversion, the photographs are simulated here too.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pico_image.base.errors import UserError
from pico_image.models.worker import accuracy, measured_scales, rknn_file, rounding, toolkit
from pico_image.models.worker.main import tell
from pico_image.models.worker.networks import Array


def run(
    spec: dict[str, Any],
    prepared: str,
    reference: str,
    platform: str,
    custom: str,
    out: str,
    labelled: str | None = None,
) -> dict[str, Any]:
    """Convert, simulate, compare with ``reference`` (the ``logits.npz`` of the TFLite stage).

    ``labelled``: the folder of photographs, with mmse.
    """
    source, folder, card = Path(prepared), Path(out), spec["input"]
    tell("choosing how weights are rounded")
    calibration = toolkit.pictures(source / "calibration")
    held = toolkit.pictures(source / "held-out")
    if not calibration or not held:
        raise UserError(f"{source} holds no prepared pictures")
    times: dict[str, float] = {}
    began = time.monotonic()
    model = onnx.load(str(source / "model.onnx"))
    fitted = rounding.fit(model, _normalised(list(calibration.values()), card), "asymmetric")
    onnx.save(fitted, "model.onnx")
    times["rounding"] = time.monotonic() - began
    began = time.monotonic()
    tell(f"quantising, algorithm {spec['algorithm']}")
    paths = [source / "calibration" / name for name in calibration]
    toolkit.quantise(card, spec["algorithm"], platform, custom, paths)
    times["quantise"] = time.monotonic() - began
    began = time.monotonic()
    tell("trying ranges for every layer (mmse)" if labelled else "compiling")
    converted = toolkit.quantised(Path.cwd())
    file = folder / "model.rknn"
    toolkit.checked(converted.export_rknn(str(file)), "export_rknn")
    times["compile"] = time.monotonic() - began
    began = time.monotonic()
    tell("simulating the held-out pictures")
    toolkit.checked(converted.init_runtime(), "init_runtime")
    answers = toolkit.simulate(converted, list(held.values()))
    simulated = {"npu": answers}
    quantities = toolkit.quantities(Path(toolkit.RANGES), Path("model.onnx"))
    if labelled is not None:
        photographs = list(toolkit.pictures(Path(labelled)).values())
        simulated["labelled"] = toolkit.simulate(converted, photographs)
        names = (quantities["input"]["name"], quantities["output"]["name"])
        quantities = measured_scales.measured(converted, names, card, list(calibration.values()))
    times["simulator"] = time.monotonic() - began
    began = time.monotonic()
    tell("comparing layer by layer")
    layers = _layers(converted, source / "held-out" / next(iter(held)))
    times["layers"] = time.monotonic() - began
    converted.release()
    saved = np.load(reference)
    facts = rknn_file.read(file)
    report = {
        "bytes": facts.size,
        "toolkit": facts.toolkit,
        "platform": platform,
        "algorithm": spec["algorithm"],
        "payload_sha256": facts.payload_sha256,
        "quantities": quantities,
        **accuracy.agreement(saved["reference"], answers),
        "against_int8_tflite": accuracy.agreement(saved["int8"], answers),
        "layers": layers,
        "seconds": times,
    }
    if labelled is None:
        (folder / "quantised").mkdir()
        for name in toolkit.QUANTISED:
            shutil.move(name, folder / "quantised" / name)
    np.savez(folder / "simulator.npz", **simulated)  # type: ignore[arg-type]
    (folder / "rknn.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _normalised(pictures: list[Array], card: dict[str, Any]) -> Array:
    mean, std = np.asarray(card["mean"], np.float32), np.asarray(card["std"], np.float32)
    return ((np.stack(pictures).astype(np.float32) - mean) / std).astype(np.float32)


def _layers(converted: Any, picture: Path) -> list[dict[str, Any]]:
    """Per layer: cosine and Euclidean distance to float, summed up to it and its own."""
    toolkit.checked(
        converted.accuracy_analysis(inputs=[str(picture)], output_dir="snapshot"),
        "accuracy_analysis",
    )
    text = Path("snapshot/error_analysis.txt").read_text(encoding="utf-8", errors="replace")
    return toolkit.parse_layers(text)
