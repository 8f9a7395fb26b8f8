"""The model card that the board's programs read, and the report of a conversion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pico_image.base.errors import CheckFailed
from pico_image.base.files import sha256_file
from pico_image.models.stages import Stages

CARD_SCHEMA = 1
FILES = {"fp32": "fp32.tflite", "int8": "int8.tflite", "npu": "model.rknn"}
TITLES = {
    "fp32": "float32 TensorFlow Lite",
    "int8": "int8 TensorFlow Lite",
    "npu": "NPU, simulated by rknn-toolkit2",
}


def card(spec: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``model.json`` for the files that lie in ``folder``."""
    files: dict[str, dict[str, Any]] = {}
    for kind, name in FILES.items():
        path = folder / name
        if path.is_file():
            size = path.stat().st_size
            files[kind] = {"path": name, "sha256": sha256_file(path), "bytes": size}
    if "npu" in files:
        files["npu"]["sidecar"] = "model.rknn.json"
    return {
        "schema": CARD_SCHEMA,
        "name": spec["name"],
        "title": spec["title"],
        "random_weights": spec["weights"].get("seed") is not None,
        "input": spec["input"],
        "classes": spec["classes"],
        "softmax": spec["softmax"],
        "macs": spec["macs"],
        "macs_source": spec["macs_source"],
        "labels": "labels.txt",
        "licence": spec["licence"],
        "source": spec["source"] or "seeded random weights",
        "files": files,
        "images": [
            {
                "path": f"images/{Path(image['path']).name}",
                **{key: image[key] for key in ("title", "top1", "licence", "credit")},
            }
            for image in spec["images"]
        ],
    }


def report(spec: Mapping[str, Any], found: Stages) -> dict[str, Any]:
    """Everything known about a conversion, as plain data; ``scores`` by kind of model."""
    scores = {}
    converted = _read(found.tflite / "tflite.json")
    answers = _read(found.photographs / "answers.json")
    for kind in ("fp32", "int8"):
        scores[kind] = converted[kind]
    if found.rknn is not None and found.golden is not None:
        scores["npu"] = _read(found.rknn / "rknn.json")
        answers["npu"] = _read(found.golden / "golden.json")["photographs"]
    labels = (found.shown / "labels.txt").read_text(encoding="utf-8").splitlines()
    for kind, entry in scores.items():
        entry["photographs"] = labelled(spec["images"], answers[kind], labels)
    return {
        "schema": CARD_SCHEMA,
        "name": spec["name"],
        "title": spec["title"],
        "random_weights": spec["weights"].get("seed") is not None,
        "thresholds": spec["accuracy"],
        "versions": dict(found.versions),
        "prepared": _read(found.base / "prepared.json"),
        "float_difference": converted["float_difference"],
        "scores": scores,
    }


def labelled(
    images: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """For each labelled photograph: what was found, and whether it is one of the right classes.

    ``answers`` are rows of ``accuracy.ranked``.
    """
    return [
        {
            "image": image["name"],
            "expected": list(image["top1"]),
            "top1": answer["top5"][0],
            "label": labels[answer["top5"][0]],
            "probability": answer["probability"],
            "top5": answer["top5"],
            "right": answer["top5"][0] in image["top1"],
        }
        for image, answer in zip(images, answers, strict=True)
    ]


def check(found: Mapping[str, Any]) -> None:
    """Hold a report against the thresholds of its model file.

    Raises CheckFailed with everything that falls short.
    """
    short = shortcomings(found)
    if short:
        lines = "\n".join(f"    {line}" for line in short)
        raise CheckFailed(f"the converted model {found['name']} is not accurate enough:\n{lines}")


def shortcomings(found: Mapping[str, Any]) -> list[str]:
    """What of a report misses the thresholds of its model file, a sentence each."""
    short = []
    for kind, scores in found["scores"].items():
        for key, least in found["thresholds"].items():
            if scores[key] < least:
                short.append(
                    f"{TITLES[kind]}: {key} is {scores[key]:.4f}, at least {least} is asked"
                )
        for row in scores["photographs"]:
            if row["expected"] and not row["right"]:
                expected = " or ".join(str(number) for number in row["expected"])
                short.append(
                    f"{TITLES[kind]}: {row['image']} is taken for {row['top1']} ({row['label']}), "
                    f"expected {expected}"
                )
    return short


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
