"""The model card ``model.json``, which the board's programs and the papers of an image read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import sha256_file
from pico_image.config.schema import ModelInput
from pico_image.models.stages import Stages

#: What app/common/card.c reads.
SCHEMA = 1
Kind = Literal["fp32", "int8", "npu"]
FILES: dict[Kind, str] = {"fp32": "fp32.tflite", "int8": "int8.tflite", "npu": "model.rknn"}
TITLES = {
    "fp32": "float32 TensorFlow Lite",
    "int8": "int8 TensorFlow Lite",
    "npu": "NPU, simulated by rknn-toolkit2",
}


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """One converted model: a file beside the card."""

    path: str
    sha256: str
    bytes: int
    sidecar: str | None = None


@dataclass(frozen=True, kw_only=True)
class CardImage:
    """A photograph that ships with the model; ``read_card`` adds ``sha256``, no file has it."""

    path: str
    title: str
    top1: list[int]
    licence: str
    credit: str = ""
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All of ``model.json``, in the order of the file."""

    schema: int
    name: str
    title: str
    random_weights: bool = False
    input: ModelInput
    classes: int
    softmax: bool
    macs: int
    macs_source: str
    labels: str
    licence: str
    source: str
    files: dict[Kind, CardFile]
    images: list[CardImage]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each converted model."""
        return {kind: file.bytes for kind, file in self.files.items()}

    def plain(self) -> dict[str, Any]:
        """The card as JSON has it."""
        card: dict[str, Any] = CARD.dump_python(self, mode="json", exclude_none=True)
        return card


CARD = TypeAdapter(ModelCard)


def read_card(folder: Path) -> ModelCard:
    """The card of a converted model. Raises UserError for a folder that is none."""
    path = folder / "model.json"
    again = "convert the model again: invoke convert-models"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("schema", SCHEMA) != SCHEMA:
            raise UserError(
                f"{path} has schema {data['schema']}; the board's programs read {SCHEMA}",
                hint=again,
            )
        card = CARD.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is no model card: {where}: {first['msg']}", hint=again) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no model card: {error}", hint=again) from error
    images = [
        replace(image, sha256=sha256_file(folder / image.path))
        if (folder / image.path).is_file()
        else image
        for image in card.images
    ]
    return replace(card, images=images)


def make_card(spec: Mapping[str, Any], folder: Path) -> ModelCard:
    """``model.json`` for the files that lie in ``folder``."""
    files: dict[Kind, CardFile] = {}
    for kind, name in FILES.items():
        path = folder / name
        if path.is_file():
            files[kind] = CardFile(
                path=name,
                sha256=sha256_file(path),
                bytes=path.stat().st_size,
                sidecar="model.rknn.json" if kind == "npu" else None,
            )
    return ModelCard(
        schema=SCHEMA,
        name=spec["name"],
        title=spec["title"],
        random_weights=spec["weights"].get("seed") is not None,
        input=ModelInput.model_validate(spec["input"]),
        classes=spec["classes"],
        softmax=spec["softmax"],
        macs=spec["macs"],
        macs_source=spec["macs_source"],
        labels="labels.txt",
        licence=spec["licence"],
        source=spec["source"] or "seeded random weights",
        files=files,
        images=[
            CardImage(
                path=f"images/{Path(image['path']).name}",
                **{key: image[key] for key in ("title", "top1", "licence", "credit")},
            )
            for image in spec["images"]
        ],
    )


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
        "schema": SCHEMA,
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
