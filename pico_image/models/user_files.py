"""Model files that users name: read one back, plan an ONNX classifier, take a ``.tflite``."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, sha256_file
from pico_image.config.configuration import Config
from pico_image.config.schema import LabelledImage, Model, ModelSpec
from pico_image.models import papers, rknn_file
from pico_image.models.convert import RUNTIME, Published, known_algorithm, replace_files
from pico_image.models.environment import WORKER, lock_file, run_worker
from pico_image.models.pipeline import Plan
from pico_image.models.rknn_file import RknnFacts
from pico_image.models.worker.jobs import OnnxFacts, TfliteFacts, rebuild

TFLITE_MARK = b"TFL3"
#: Shown to users of a .tflite.
NPU_NEEDS = (
    "the NPU side needs the model as ONNX: rknn-toolkit2 reads .tflite only through TensorFlow, "
    "and cannot take over its quantisation. Export it to ONNX (opset 13) and run "
    "`invoke convert-models --onnx FILE --calibration DIR --mean … --std …`"
)
LICENCE = "the user's"
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class UserModel:
    """A model file, its labels and its normalisation: input = (pixel - mean) / std per channel.

    ``mean`` and ``std`` are in pixel values; see ``channel_values``.
    """

    file: Path
    mean: Sequence[float]
    std: Sequence[float]
    labels: Path | None = None

    @property
    def name(self) -> str:
        """The file's name in lower case, digits, dots and dashes."""
        return re.sub(r"[^a-z0-9.]+", "-", self.file.stem.lower()).strip("-.") or "model"

    def spec(self, kind: type[M], width: int, height: int, **values: Any) -> M:
        """The model as the configuration would describe it.

        Raises UserError for a value that no model may have, such as a single class.
        """
        facts = {
            "name": self.name,
            "title": self.file.stem,
            "licence": LICENCE,
            "weights": {"file": str(self.file.resolve())},
            "input": {"width": width, "height": height, "mean": self.mean, "std": self.std},
        }
        try:
            return kind.model_validate(facts | values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{self.file} is no model for the board: {where} is {first['input']!r}: "
                f"{first['msg']}"
            ) from error


def inspect_model(console: Console, config: Config, path: Path) -> RknnFacts | TfliteFacts:
    """What a ``.rknn`` or ``.tflite`` holds; ``kind`` says which it is.

    Raises UserError when the file is missing, damaged, or neither, and with the reason when the
    board cannot run it.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise UserError(f"could not read the model {path}: {error.strerror}") from error
    if start == rknn_file.MAGIC:
        model = rknn_file.read(path)
        rknn_file.refuse_unfit(model, runtime=config.source(RUNTIME).version)
        return rknn_file.describe(model)
    if start[4:8] == TFLITE_MARK:
        arguments = {"path": path.resolve()}
        answer = run_worker(
            console, "models", "tflite_file:describe_file", arguments, what=f"read {path.name}"
        )
        facts = rebuild(TfliteFacts, answer)
        refuse_unfit_tflite(facts, path)
        return facts
    if path.suffix == ".onnx":
        raise UserError(
            f"{path} is an ONNX model; the board runs .rknn and .tflite",
            hint="convert it: invoke convert-models --onnx FILE --calibration DIR --mean … --std …",
        )
    raise UserError(
        f"{path} is neither an .rknn nor a .tflite model ({path.stat().st_size} bytes)",
        hint="is the file whole? compare its size and hash with the original",
    )


def refuse_unfit_tflite(facts: TfliteFacts, path: Path) -> None:
    """Raise UserError for a ``.tflite`` that TensorFlow Lite 2.14.1 on the board rejects."""
    for kind, tensors in (("inputs", facts.inputs), ("outputs", facts.outputs)):
        if len(tensors) != 1:
            raise UserError(f"{path} has {len(tensors)} {kind}; the runner takes one")
        tensor = tensors[0]
        if tensor.dynamic or any(size < 1 for size in tensor.shape):
            raise UserError(
                f"{path}: the shape of {tensor.name!r} is dynamic",
                hint="convert it again with a fixed batch of 1, height and width",
            )
        if tensor.type not in ("float32", "int8", "uint8"):
            raise UserError(f"{path}: {tensor.name!r} is {tensor.type}, not float32 or int8")
    custom = [name for name in facts.operators if name == "?" or name.startswith("CUSTOM")]
    if custom:
        raise UserError(
            f"{path} uses operators that TensorFlow Lite 2.14.1 does not have: {', '.join(custom)}"
        )
    outside = [fault for fault in facts.buffer_faults if "outside" in fault]
    if outside:
        raise UserError(
            f"{path}: {outside[0]}, where TensorFlow Lite 2.14.1 does not look for weights",
            hint="pass it through `invoke convert-models --tflite`, which moves them inside",
        )


def channel_values(text: str, what: str) -> list[float]:
    """``--mean`` or ``--std``: three numbers, one per channel. Raises UserError otherwise."""
    try:
        values = [float(part) for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"{what} {text!r} is not a list of numbers") from error
    if len(values) != 3:
        raise UserError(
            f"{what} has {len(values)} values ({text}); three are needed, one per channel",
            hint=f"for example {what} 127,127,127; they are in pixel values, 0 to 255",
        )
    if not all(math.isfinite(value) for value in values):
        raise UserError(f"{what} {text} holds a value that is no finite number")
    if what == "--std" and any(value <= 0 for value in values):
        raise UserError(f"{what} {text} holds a value that is not above zero")
    return values


def onnx_plan(
    console: Console, model: UserModel, calibration: Path, algorithm: str = "normal"
) -> Plan:
    """The plan for any ONNX classifier, calibrated on a folder of pictures.

    Raises UserError for a wrong file, graph, folder, label list or algorithm.
    """
    known_algorithm(algorithm)
    if not calibration.is_dir():
        raise UserError(
            f"the calibration folder {calibration} does not exist or is no folder",
            hint="name a folder with 10 or more pictures like those the model will see",
        )
    if model.labels is not None and not model.labels.is_file():
        raise UserError(
            f"could not find the labels {model.labels}", hint="a text file, one label a line"
        )
    facts = _describe_onnx(console, model.file)
    spec = model.spec(
        ModelSpec,
        facts.width,
        facts.height,
        architecture="onnx",
        classes=facts.classes,
        softmax=True,
        macs=facts.macs,
        macs_source="counted on the ONNX graph",
        labels={"file": str(model.labels.resolve())} if model.labels else None,
        images=_sample(calibration),
        calibration={"folder": str(calibration.resolve())},
        algorithm=algorithm,
    )
    return Plan(spec)


def _sample(calibration: Path) -> list[LabelledImage]:
    """The first picture of the calibration folder, for the board to have one."""
    pictures = sorted(
        path for path in calibration.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    return [
        LabelledImage(
            name="sample",
            file=str(path.resolve()),
            ships_as=f"sample{path.suffix.lower()}",
            title=f"{path.name} of the calibration folder",
            top1=[],
            licence=LICENCE,
        )
        for path in pictures[:1]
    ]


def _describe_onnx(console: Console, model: Path) -> OnnxFacts:
    if not model.is_file():
        raise UserError(f"could not find the ONNX model {model}")
    _, facts = _describe(console, model, "onnx-facts", "onnx_to_tflite:describe")
    return rebuild(OnnxFacts, facts)


def _describe(
    console: Console, model: Path, kept_as: str, job: str, *, copied: bool = False
) -> tuple[Path, Any]:
    """What a job of the models' environment says of a file; its folder, with a copy if asked."""
    inputs = {
        "file": sha256_file(model),
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(folder: Path) -> None:
        arguments = {"path": model.resolve(), **({"out": folder} if copied else {})}
        facts = run_worker(console, "models", job, arguments, what=f"read {model.name}")
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    folder = build_once(kept_as, inputs, build, notify=console.info)
    return folder, json.loads((folder / "facts.json").read_text(encoding="utf-8"))


def take_tflite(console: Console, model: UserModel) -> Published:
    """Put a user's ``.tflite`` below ``out/models/NAME`` for the CPU runner.

    The network is taken as it is; only weights that lie outside the flatbuffer are moved inside.
    Raises UserError when the board cannot run it.
    """
    if not model.file.is_file():
        raise UserError(f"could not find the model {model.file}")
    whole, answer = _describe(console, model.file, "user-tflite", "tflite_file:take", copied=True)
    facts = rebuild(TfliteFacts, answer)
    refuse_unfit_tflite(facts, model.file)
    source = facts.inputs[0]
    if len(source.shape) != 4 or source.shape[3] != 3:
        raise UserError(f"{model.file}: the input has shape {source.shape}, not 1, H, W, 3")
    classes = (facts.outputs[0].shape or [0])[-1]
    spec = model.spec(
        Model,
        width=source.shape[2],
        height=source.shape[1],
        classes=classes,
        # A model that ends in probabilities has them out of a SOFTMAX (or LOGISTIC) operator.
        softmax="SOFTMAX" not in facts.operators,
        macs=0,
        macs_source="not counted on a .tflite",
    )
    labels = read_labels(model.labels, classes)
    folder = output_dir() / "models" / model.name
    with tempfile.TemporaryDirectory(prefix="tflite-") as scratch:
        new = Path(scratch)
        file = papers.FILES["fp32" if source.type == "float32" else "int8"]
        shutil.copyfile(whole / "model.tflite", new / file)
        text = "".join(f"{label}\n" for label in labels)
        (new / "labels.txt").write_text(text, encoding="utf-8")
        papers.write_card(spec, new)
        replace_files(new, folder)
    return Published(name=model.name, folder=str(folder), npu=NPU_NEEDS)


def kept(config: Config, name: str) -> Path | None:
    """The folder of a user's model of this name; None when it is one of configs/models.

    Raises UserError when it is neither.
    """
    folder = output_dir() / "models" / name
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    if plain and name not in config.models and (folder / "model.json").is_file():
        return folder
    config.model(name)
    return None


def read_labels(path: Path | None, classes: int) -> list[str]:
    """One label for each class. Raises UserError for another number of them."""
    if path is None:
        return [f"class {number}" for number in range(classes)]
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"could not read the labels {path}: {error}") from error
    if len(names) != classes:
        raise UserError(f"{path} has {len(names)} labels, the model has {classes} classes")
    return names
