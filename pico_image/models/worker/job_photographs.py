"""The labelled photographs on the converted ``.tflite`` models. (Worker code.)

Writes ``answers.json``: for ``fp32`` and ``int8`` what ``accuracy.ranked`` says of each photograph.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pico_image.models.worker import accuracy
from pico_image.models.worker.main import tell
from pico_image.models.worker.pictures import normalise, read_prepared
from pico_image.models.worker.quantize import Runner


def run(card: dict[str, Any], labelled: str, tflite: str, out: str) -> dict[str, Any]:
    """``card``: the model file's ``input``; ``labelled``, ``tflite``: folders of earlier stages."""
    tell("judging the labelled photographs")
    answers: dict[str, Any] = {}
    for kind in ("fp32", "int8"):
        answers[kind] = []
        if any(Path(labelled).glob("*.png")):
            model = Runner((Path(tflite) / f"{kind}.tflite").read_bytes())
            images = normalise(read_prepared(Path(labelled))[1], card)
            answers[kind] = accuracy.ranked(model.run(images))
    (Path(out) / "answers.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    return {}
