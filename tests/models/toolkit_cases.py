"""Runs inside the rknn environment: one quantisation against the toolkit's usual ``build``."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pico_image.models import rknn_file
from pico_image.models.worker import toolkit
from pico_image.models.worker.jobs import Input, Resize, RknnOptions

CUSTOM = '{"pico_image":1}'


def photographs(folder: str, size: int, count: int) -> None:
    """Seeded pictures with structure: noise alone gives every algorithm the same ranges."""
    import cv2  # type: ignore[import-not-found]

    rng = np.random.default_rng(7)
    for number in range(count):
        coarse = rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        pixels = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(Path(folder) / f"{number:03d}.png"), pixels)


def both_routes(
    model: str, calibration: str, count: int, algorithm: str, asked: list[str]
) -> dict[str, Any]:
    """Payload, answers and custom string of our route and of ``build``, and our scales."""
    toolkit.install_torch()
    from rknn.api import RKNN

    images = sorted(Path(calibration).glob("*.png"))[:count]
    pixels = list(toolkit.pictures(Path(calibration)).values())[:3]
    work = Path(tempfile.mkdtemp())
    os.chdir(work)
    shutil.copyfile(model, "model.onnx")
    found: dict[str, Any] = {}
    height, width = pixels[0].shape[:2]
    resize = Resize("stretch", 1.0)
    card = Input(width, height, "RGB", [127.0] * 3, [128.0] * 3, resize)
    toolkit.quantise(RknnOptions(card, algorithm, "rv1103", CUSTOM), images)
    told = toolkit.quantities(Path(toolkit.RANGES), Path("model.onnx"))
    found["quantities"] = asdict(told)
    answers = {}
    for way in asked:
        if way == "ours":
            if algorithm != "mmse":  # its ranges need the pictures once more
                other = work / "elsewhere"
                other.mkdir()
                os.chdir(other)
            rknn = toolkit.quantised(work)
        else:
            os.chdir(work)
            rknn = RKNN(verbose=False)
            rknn.config(
                mean_values=[card.mean],
                std_values=[card.std],
                quant_img_RGB2BGR=False,
                target_platform="rv1103",
                quantized_dtype="w8a8",
                quantized_method="channel",
                quantized_algorithm=algorithm,
                custom_string=CUSTOM,
            )
            toolkit.checked(rknn.load_onnx(model="model.onnx"), "load_onnx")
            status = rknn.build(do_quantization=True, dataset="calibration.txt")
            toolkit.checked(status, "build")
        file = work / f"{way}.rknn"
        toolkit.checked(rknn.export_rknn(str(file)), "export_rknn")
        toolkit.checked(rknn.init_runtime(), "init_runtime")
        answers[way] = toolkit.simulate(rknn, pixels)
        if way == "ours":
            found["measured"] = asdict(toolkit.measured(rknn, told, card, pixels))
        rknn.release()
        facts = rknn_file.read(file)
        found[way] = {"payload": facts.payload_sha256, "custom": facts.custom}
    output = found["measured"]["output"]
    steps = answers["ours"] / output["scale"]
    found["off grid"] = float(np.abs(steps - np.rint(steps)).max())
    found["distinct"] = len(np.unique(np.rint(steps)))
    found["same answers"] = all(bool((answers[way] == answers["ours"]).all()) for way in asked)
    return found
