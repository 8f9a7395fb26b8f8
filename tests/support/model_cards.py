"""Model folders as conversion writes them, with the small models of tflite_writer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pico_image.models import papers
from pico_image.models.papers import CARD, ModelCard
from pico_image.models.worker.jobs import GoldenVector
from tests.support import rknn_writer, tflite_writer

COLOURS = {"red": (230, 20, 40), "green": (30, 220, 60), "blue": (10, 40, 240)}
CLASSES = 12


def card(**changes: Any) -> ModelCard:
    """A card for the papers of an image; ``changes`` are values as in ``model.json``."""
    usual: dict[str, Any] = {
        "schema": 1,
        "name": "efficientnet-lite0",
        "title": "EfficientNet-Lite0",
        "input": {"width": 16, "height": 16, "mean": [127] * 3, "std": [128] * 3},
        "classes": CLASSES,
        "softmax": True,
        "macs": 1,
        "macs_source": "tests",
        "labels": "labels.txt",
        "licence": "Apache-2.0",
        "source": "tests",
        "files": {},
        "images": [],
    }
    return CARD.validate_python(usual | changes)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_folder(folder: Path, size: int = 16, *, npu: bool = False, **changes: Any) -> Path:
    """``folder`` with card, labels, float32 and int8 classifier of colours, three pictures.

    With ``npu`` also a ``.rknn`` that the simulator runs with the int8 classifier.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "fp32.tflite").write_bytes(tflite_writer.classifier("float32", size, CLASSES))
    (folder / "int8.tflite").write_bytes(tflite_writer.classifier("int8", size, CLASSES))
    (folder / "labels.txt").write_text("".join(f"colour {i}\n" for i in range(CLASSES)))
    images = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        path = folder / "images" / f"{name}.png"
        Image.new("RGB", (40, 30), colour).save(path)
        images.append(
            {"path": f"images/{name}.png", "title": name, "top1": [number], "licence": "CC0-1.0"}
        )
    card: dict[str, Any] = {
        "schema": 1,
        "name": folder.name,
        "title": "Colours",
        "input": {
            "width": size,
            "height": size,
            "channels": 3,
            "color": "RGB",
            "mean": [127, 127, 127],
            "std": [128, 128, 128],
            "resize": {"rule": "center-crop", "fraction": 0.875, "filter": "bilinear"},
        },
        "classes": CLASSES,
        "softmax": True,
        "macs": 3 * CLASSES + 3 * size * size,
        "macs_source": "counted by hand",
        "labels": "labels.txt",
        "licence": "CC0-1.0",
        "source": "tests",
        "files": {
            key: {
                "path": f"{key}.tflite",
                "sha256": sha256(folder / f"{key}.tflite"),
                "bytes": (folder / f"{key}.tflite").stat().st_size,
            }
            for key in ("fp32", "int8")
        },
        "images": images,
    }
    if npu:
        path = rknn_writer.add_npu_model(folder, size, CLASSES)
        card["files"]["npu"] = {
            "path": path.name,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
        }
    card.update(changes)
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def scores(colour: tuple[int, int, int]) -> tflite_writer.Array:
    """What the float32 classifier answers to a picture of one colour."""
    normalised = (np.array(colour) - 127) / 128
    result: tflite_writer.Array = tflite_writer.weights(CLASSES) @ normalised
    return result


def softmax(values: tflite_writer.Array) -> tflite_writer.Array:
    powers = np.exp(values - values.max())
    result: tflite_writer.Array = powers / powers.sum()
    return result


def add_golden(folder: Path, answers: Mapping[str, tuple[bytes, bytes]]) -> Path:
    """``folder/golden`` for the ``.rknn`` there: by name the pixels and the int8 answer to them."""
    golden = folder / papers.GOLDEN
    golden.mkdir()
    vectors = []
    for name, (pixels, answer) in answers.items():
        (golden / f"{name}.u8").write_bytes(pixels)
        (golden / f"{name}.i8").write_bytes(answer)
        steps = np.frombuffer(answer, np.int8)
        second, first = sorted(steps.tolist())[-2:]
        vectors.append(
            GoldenVector(name, f"{name}.u8", f"{name}.i8", int(steps.argmax()), first - second)
        )
    papers.write_golden_list(folder.name, vectors, folder / "model.rknn", golden)
    return golden
