"""Models that users bring: any ONNX classifier, or a ``.tflite`` taken as it is for the CPU."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, sha256_file, sha256_tree
from pico_image.config.configuration import Config
from pico_image.models import card
from pico_image.models.convert import known_algorithm, publish
from pico_image.models.environment import WORKER, lock_file, run_worker
from pico_image.models.inspection import refuse_unfit_tflite
from pico_image.models.placing import replace_files
from pico_image.models.stages import Plan

#: What a .tflite user is told about the NPU.
NPU_NEEDS = (
    "the NPU side needs the model as ONNX: rknn-toolkit2 reads .tflite only through TensorFlow, "
    "and cannot take over its quantisation. Export it to ONNX (opset 13) and run "
    "`invoke convert-models --onnx FILE --calibration DIR --mean … --std …`"
)
QUIET_ACCURACY = {"top1": 0.9, "cosine": 0.97}


def channel_values(text: str | Sequence[float], what: str) -> list[float]:
    """``--mean`` or ``--std``: three numbers, one per channel. Raises UserError otherwise."""
    try:
        parts = text.replace(",", " ").split() if isinstance(text, str) else list(text)
        values = [float(part) for part in parts]
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
    console: Console,
    model: Path,
    calibration: Path,
    mean: str | Sequence[float],
    std: str | Sequence[float],
    *,
    labels: Path | None = None,
    name: str | None = None,
    color: str = "RGB",
    algorithm: str = "normal",
) -> Plan:
    """The plan for a user's ONNX classifier; see ``convert_onnx``."""
    means, stds = channel_values(mean, "--mean"), channel_values(std, "--std")
    known_algorithm(algorithm)
    if not calibration.is_dir():
        raise UserError(
            f"the calibration folder {calibration} does not exist or is no folder",
            hint="name a folder with 10 or more pictures like those the model will see",
        )
    if labels is not None and not labels.is_file():
        raise UserError(f"could not find the labels {labels}", hint="a text file, one label a line")
    facts = _describe_onnx(console, model)
    pictures = sorted(
        path for path in calibration.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    images = (
        [
            {
                "name": "sample",
                "file": str(pictures[0].resolve()),
                "path": f"sample{pictures[0].suffix.lower()}",
                "title": f"{pictures[0].name} of the calibration folder",
                "top1": [],
                "licence": "the user's",
                "credit": "",
            }
        ]
        if pictures
        else []
    )
    spec: dict[str, Any] = {
        "name": name or slug(model),
        "title": model.stem,
        "source": f"the user's file {model.name}",
        "licence": "the user's",
        "architecture": "onnx",
        "weights": {"file": str(model.resolve()), "seed": None},
        "input": {
            "width": facts["width"],
            "height": facts["height"],
            "channels": 3,
            "mean": means,
            "std": stds,
            "color": color,
            "resize": {"rule": "center-crop", "fraction": 0.875, "filter": "bilinear"},
        },
        "classes": facts["classes"],
        "softmax": True,
        "macs": facts["macs"],
        "macs_source": "counted on the ONNX graph",
        "labels": {"file": str(labels.resolve())} if labels else None,
        "images": images,
        "calibration": {"folder": str(calibration.resolve())},
        "algorithm": algorithm,
        "accuracy": QUIET_ACCURACY,
        "sets": ["fp32", "int8", "npu"],
    }
    # The files of labels and pictures are hashed where they are read.
    extra = {"onnx": sha256_file(model), "calibration": sha256_tree([calibration])}
    return Plan(spec, {}, extra)


def convert_onnx(
    console: Console,
    config: Config,
    model: Path,
    calibration: Path,
    mean: str | Sequence[float],
    std: str | Sequence[float],
    *,
    labels: Path | None = None,
    name: str | None = None,
    color: str = "RGB",
    algorithm: str = "normal",
    npu: bool | None = None,
) -> dict[str, Any]:
    """Convert any ONNX classifier, calibrated on a folder of pictures; see ``convert.publish``.

    ``mean`` and ``std`` are per channel in pixel values: input = (pixel - mean) / std.
    Raises UserError for a wrong file, graph, folder, mean, std or label list.
    """
    job = onnx_plan(
        console,
        model,
        calibration,
        mean,
        std,
        labels=labels,
        name=name,
        color=color,
        algorithm=algorithm,
    )
    return publish(console, config, job, npu=npu)


def _describe_onnx(console: Console, model: Path) -> dict[str, Any]:
    if not model.is_file():
        raise UserError(f"could not find the ONNX model {model}")
    return _described(console, model, "onnx", "onnx-facts", "describe_onnx")[1]


def _described(
    console: Console, model: Path, form: str, kept_as: str, job: str, *, copied: bool = False
) -> tuple[Path, dict[str, Any]]:
    """What a job of the models' environment says of a file; its folder, with a copy if wanted."""
    inputs = {
        form: sha256_file(model),
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(made: Path) -> None:
        wanted = {"path": str(model.resolve()), **({"out": str(made)} if copied else {})}
        facts = run_worker(
            console, "models", f"job_describe:{job}", wanted, what=f"read {model.name}"
        )
        (made / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    made = build_once(kept_as, inputs, build, notify=console.info)
    facts: dict[str, Any] = json.loads((made / "facts.json").read_text(encoding="utf-8"))
    return made, facts


def take_tflite(
    console: Console,
    model: Path,
    mean: str | Sequence[float],
    std: str | Sequence[float],
    *,
    labels: Path | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Put a user's ``.tflite`` below ``out/models/NAME`` for the CPU runner.

    The network is taken as it is; only weights that lie outside the flatbuffer are moved inside.
    Returns ``name``, ``folder`` and ``npu``, a sentence on what the NPU side needs.
    Raises UserError when the board cannot run it.
    """
    means, stds = channel_values(mean, "--mean"), channel_values(std, "--std")
    if not model.is_file():
        raise UserError(f"could not find the model {model}")
    made, facts = _described(console, model, "tflite", "user-tflite", "user_tflite", copied=True)
    refuse_unfit_tflite(facts, model)
    _, height, width, channels = (facts["inputs"][0]["shape"] + [0, 0, 0, 0])[:4]
    if len(facts["inputs"][0]["shape"]) != 4 or channels != 3:
        raise UserError(
            f"{model}: the input has shape {facts['inputs'][0]['shape']}, not 1, H, W, 3"
        )
    classes = facts["outputs"][0]["shape"][-1]
    names = _labels(labels, classes)
    folder = output_dir() / "models" / (name or slug(model))
    file = "fp32.tflite" if facts["inputs"][0]["type"] == "float32" else "int8.tflite"
    spec = {
        "name": folder.name,
        "title": model.stem,
        "source": f"the user's file {model.name}",
        "licence": "the user's",
        "weights": {"seed": None},
        "input": {
            "width": width,
            "height": height,
            "channels": 3,
            "mean": means,
            "std": stds,
            "color": "RGB",
            "resize": {"rule": "center-crop", "fraction": 0.875, "filter": "bilinear"},
        },
        "classes": classes,
        # A model that ends in probabilities has them out of a SOFTMAX (or LOGISTIC) operator.
        "softmax": "SOFTMAX" not in facts["operators"],
        "macs": 0,
        "macs_source": "not counted on a .tflite",
        "images": [],
    }
    with tempfile.TemporaryDirectory(prefix="tflite-") as scratch:
        whole = Path(scratch)
        shutil.copyfile(made / "model.tflite", whole / file)
        text = "".join(f"{text}\n" for text in names)
        (whole / "labels.txt").write_text(text, encoding="utf-8")
        text = json.dumps(card.make_card(spec, whole).plain(), indent=1)
        (whole / "model.json").write_text(text + "\n", encoding="utf-8")
        replace_files(whole, folder)
    return {"name": folder.name, "folder": str(folder), "npu": NPU_NEEDS}


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


def _labels(path: Path | None, classes: int) -> list[str]:
    if path is None:
        return [f"class {number}" for number in range(classes)]
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"could not read the labels {path}: {error}") from error
    if len(names) != classes:
        raise UserError(f"{path} has {len(names)} labels, the model has {classes} classes")
    return names


def slug(path: Path) -> str:
    """A model's name from a file's: lower case, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-.") or "model"
