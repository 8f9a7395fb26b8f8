"""A small network of several layers as a model of the configuration, and a cache of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pico_image.base.files import ROOT
from pico_image.config.configuration import Config, load

NAME = "layered"
#: Its layers with weights and without, as `cutting` names their operators.
LAYERS = [
    ["Conv", "Relu"],
    ["Conv", "Clip"],
    ["Conv", "Add"],
    ["Conv", "Clip"],
    ["Conv", "Relu"],
    ["GlobalAveragePool"],
    ["Flatten", "Gemm"],
]


def configured(root: Path, inside: Callable[..., Any]) -> Config:
    """A copy of the configuration below ``root`` with the model ``layered`` beside its own."""
    shutil.copytree(ROOT / "configs", root / "configs")
    models = root / "configs" / "models"
    pictures = models / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(11)
    for number in range(16):
        coarse = Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(pictures / f"{number:02d}.png")
    macs = inside("cutting_cases", "write", path=str(models / "layered.onnx"))
    model = {
        "title": "A small network for tests",
        "licence": "CC0-1.0",
        "architecture": "onnx",
        "weights": {"file": "layered.onnx"},
        "input": {"width": 32, "height": 32, "mean": [127] * 3, "std": [128] * 3},
        "classes": 5,
        "softmax": True,
        "macs": macs,
        "macs_source": "counted on the ONNX graph",
        "calibration": {"folder": "pictures"},
        "images": [],
        # Random weights: only broken arithmetic would miss these.
        "accuracy": {"top1": 0.0, "cosine": 0.5},
    }
    (models / f"{NAME}.yml").write_text(yaml.safe_dump(model), encoding="utf-8")
    return load(root)
