"""Read a model file back, and refuse what the board cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.config.configuration import Config
from pico_image.models import gate
from pico_image.models.environment import run_worker
from pico_image.models.worker import rknn_file

TFLITE_MARK = b"TFL3"


def describe_model(console: Console, path: Path) -> dict[str, Any]:
    """What a ``.rknn`` or ``.tflite`` holds, as plain data; ``kind`` says which it is.

    Raises UserError when the file is missing, damaged, or neither.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise UserError(f"could not read the model {path}: {error.strerror}") from error
    if start == rknn_file.MAGIC:
        return rknn_file.describe(rknn_file.read(path))
    if start[4:8] == TFLITE_MARK:
        arguments = {"path": str(path.resolve())}
        facts = run_worker(
            console, "models", "job_describe:describe_tflite", arguments, what=f"read {path.name}"
        )
        del facts["peak_rss_bytes"]  # of the reader, not of the model
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


def inspect_model(console: Console, config: Config, path: Path) -> dict[str, Any]:
    """``describe_model``, and UserError with the reason when the board cannot run the file."""
    facts = describe_model(console, path)
    if facts["kind"] == "rknn":
        gate.check_model(config, path)
    else:
        refuse_unfit_tflite(facts, path)
    return facts


def refuse_unfit_tflite(facts: dict[str, Any], path: Path) -> None:
    """Raise UserError for a ``.tflite`` that TensorFlow Lite 2.14.1 on the board rejects."""
    for kind in ("inputs", "outputs"):
        tensors = facts[kind]
        if len(tensors) != 1:
            raise UserError(f"{path} has {len(tensors)} {kind}; the runner takes one")
        tensor = tensors[0]
        if tensor["dynamic"] or any(size < 1 for size in tensor["shape"]):
            raise UserError(
                f"{path}: the shape of {tensor['name']!r} is dynamic",
                hint="convert it again with a fixed batch of 1, height and width",
            )
        if tensor["type"] not in ("float32", "int8", "uint8"):
            raise UserError(f"{path}: {tensor['name']!r} is {tensor['type']}, not float32 or int8")
    custom = [name for name in facts["operators"] if name == "?" or name.startswith("CUSTOM")]
    if custom:
        raise UserError(
            f"{path} uses operators that TensorFlow Lite 2.14.1 does not have: {', '.join(custom)}"
        )
    outside = [fault for fault in facts["buffer_faults"] if "outside" in fault]
    if outside:
        raise UserError(
            f"{path}: {outside[0]}, where TensorFlow Lite 2.14.1 does not look for weights",
            hint="pass it through `invoke convert-models --tflite`, which moves them inside",
        )
