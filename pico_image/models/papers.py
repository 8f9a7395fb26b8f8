"""The papers of a converted model: its card, the sidecar of the ``.rknn``, its golden vectors.

``model.json`` is read by the board's programs and for the papers of an image. ``model.rknn.json``
holds what an NPU simulator needs beyond the public trailer of the ``.rknn``:

    {"schema": 1, "model": NAME, "platform": "rv1103", "toolkit": "2.3.2",
     "rknn_sha256": ..., "payload_sha256": ..., "labels_sha256": ...,
     "input":  {"name", "shape": [1, 3, H, W], "type": "int8", "scale", "zero_point",
                "layout": "NCHW", "mean": [3], "std": [3]},
     "output": {"name", "shape": [1, classes], "type": "int8", "scale", "zero_point"}}

Scales and zero points are the toolkit's own (``quantization.cfg`` of hybrid step 1), the ones
that ``rknn_query`` reports on a board: real = (q - zero_point) * scale. The input's belong to
(pixel - mean) / std.

``golden/golden.json`` lists the inputs beside it and the toolkit's simulator's answers to them, for
``npu-runner --verify``; docs/models.md describes it. TFLite's int8 weights are symmetric, the
toolkit's are not, so an int8 TFLite model agrees with the answers not bit for bit but within
``tolerance_steps`` of the output (4 measured on EfficientNet-Lite0), a cosine >= 0.99, and in the
first class wherever the golden answer leads by more than twice that; ``lead_steps`` of each golden
vector says by how much it does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.config.schema import Model, ModelInput
from pico_image.models import rknn_file
from pico_image.models.worker.jobs import (
    Golden,
    GoldenVector,
    Quantities,
    Quantity,
    read_json,
)

#: Of the card; what app/common/card.c reads.
SCHEMA = 1
SIDECAR_SCHEMA = 1
#: Largest difference of an int8 TFLite model from a golden answer, in steps of the output.
TOLERANCE_STEPS = 8
Kind = Literal["fp32", "int8", "npu"]
FILES: dict[Kind, str] = {"fp32": "fp32.tflite", "int8": "int8.tflite", "npu": "model.rknn"}
SIDECAR = "model.rknn.json"
#: The folder of the golden vectors, and the file in it that lists them: app/npu/golden.c reads it.
GOLDEN, GOLDEN_LIST = "golden", "golden.json"
GOLDEN_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class CardFile:
    """One converted model: a file beside the card."""

    path: str
    sha256: str
    bytes: int
    sidecar: str | None = None


@dataclass(frozen=True, kw_only=True)
class CardImage:
    """A photograph that ships with the model; ``sha256`` is computed by ``read_card``."""

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
    """The card of a converted model. Raises UserError for any other folder."""
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


def write_card(model: Model, folder: Path) -> None:
    """Write ``model.json`` for the models that lie in ``folder``."""
    files: dict[Kind, CardFile] = {}
    for kind, name in FILES.items():
        path = folder / name
        if path.is_file():
            files[kind] = CardFile(
                path=name,
                sha256=sha256_file(path),
                bytes=path.stat().st_size,
                sidecar=SIDECAR if kind == "npu" else None,
            )
    card = ModelCard(
        schema=SCHEMA,
        name=model.name,
        title=model.title,
        random_weights=model.random_weights,
        input=model.input,
        classes=model.classes,
        softmax=model.softmax,
        macs=model.macs,
        macs_source=model.macs_source,
        labels="labels.txt",
        licence=model.licence,
        source=_origin(model),
        files=files,
        images=[
            CardImage(
                path=f"images/{image.file_name}",
                title=image.title,
                top1=image.top1,
                licence=image.licence,
                credit=image.credit,
            )
            for image in model.images
        ],
    )
    write(folder / "model.json", card.plain())


def _origin(model: Model) -> str:
    if model.weights.file is not None:
        return f"the user's file {Path(model.weights.file).name}"
    return model.source or "seeded random weights"


def write_sidecar(model: Model, quantities: Quantities, folder: Path) -> None:
    """Write ``model.rknn.json`` beside the files that lie in ``folder``."""
    facts = rknn_file.read(folder / FILES["npu"])
    labels = folder / "labels.txt"
    write(
        folder / SIDECAR,
        {
            "schema": SIDECAR_SCHEMA,
            "model": model.name,
            "platform": facts.platforms[0],
            "toolkit": facts.toolkit,
            "rknn_sha256": sha256_file(facts.path),
            "payload_sha256": facts.payload_sha256,
            "labels_sha256": sha256_file(labels) if labels.is_file() else None,
            "input": {
                **_tensor(facts.tensors("input")[0], quantities.input),
                "layout": "NCHW",
                "mean": model.input.mean,
                "std": model.input.std,
            },
            "output": _tensor(facts.tensors("output")[0], quantities.output),
        },
    )


def write_golden(
    model: Model, golden: Path, folder: Path, tolerance: int = TOLERANCE_STEPS
) -> None:
    """Copy the vectors of the stage ``golden`` to ``folder/golden`` and list them there.

    ``folder`` has the ``.rknn`` that they belong to.
    """
    shutil.copytree(golden / "golden", folder / GOLDEN)
    vectors = [
        replace(
            vector,
            input=PurePosixPath(vector.input).name,
            output=PurePosixPath(vector.output).name,
        )
        for vector in read_json(Golden, golden / "golden.json").golden
    ]
    write_golden_list(model.name, vectors, folder / FILES["npu"], folder / GOLDEN, tolerance)


def write_golden_list(
    name: str,
    vectors: Sequence[GoldenVector],
    rknn: Path,
    folder: Path,
    tolerance: int = TOLERANCE_STEPS,
) -> None:
    """Write ``golden.json`` for the vectors of the model ``rknn`` whose files lie in ``folder``."""
    facts = rknn_file.read(rknn)
    write(
        folder / GOLDEN_LIST,
        {
            "schema": GOLDEN_SCHEMA,
            "model": name,
            "model_sha256": sha256_file(rknn),
            "platform": facts.platforms[0],
            "toolkit": facts.toolkit,
            "input_shape": facts.tensors("input")[0].shape,
            "output_shape": facts.tensors("output")[0].shape,
            "tolerance_steps": tolerance,
            "vectors": [vars(vector) for vector in vectors],
        },
    )


def _tensor(tensor: rknn_file.Tensor, quantity: Quantity) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "type": tensor.type,
        "scale": quantity.scale,
        "zero_point": quantity.zero_point,
    }


def write(path: Path, data: object) -> None:
    """Write JSON with the indent that all papers of a model have."""
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
