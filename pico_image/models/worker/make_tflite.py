"""``model.onnx`` to float32 and int8 ``.tflite``, judged.

``make_tflite`` writes ``fp32.tflite``, ``int8.tflite`` (weights per channel, activations per
tensor), ``logits.npz`` and ``tflite.json``; ``judge`` writes ``answers.json``, what
``accuracy.ranked`` says of each labelled photograph.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from pico_image.base.errors import UserError
from pico_image.models.worker import accuracy, onnx_to_tflite, rounding
from pico_image.models.worker.jobs import Answers, Input, Ranked, TfliteScores, tell, write_json
from pico_image.models.worker.networks import Array, normalise
from pico_image.models.worker.pictures import read_prepared
from pico_image.models.worker.tflite_file import SIGNATURE, buffer_faults, describe, inline_weights

#: Largest difference of a logit between ONNX Runtime and TFLite, as a share of the largest logit.
#: Sums of a few thousand float32 products in another order differ by about 1e-6.
FLOAT_TOLERANCE = 1e-3


def make_tflite(name: str, card: Input, prepared: Path, out: Path) -> None:
    """Convert and judge; the thresholds are the caller's business."""
    model = onnx.load(str(prepared / "model.onnx"))
    times = {}
    began = time.monotonic()
    float_model = onnx_to_tflite.convert(model, name)
    times["fp32"] = time.monotonic() - began
    calibration = normalise(read_prepared(prepared / "calibration")[1], card)
    began = time.monotonic()
    tell("choosing how weights are rounded")
    fitted = onnx_to_tflite.convert(rounding.fit(model, calibration, "symmetric"), name)
    times["rounding"] = time.monotonic() - began
    began = time.monotonic()
    tell("calibrating")
    int8_model = quantize(float_model, fitted, calibration, Path.cwd())
    times["int8"] = time.monotonic() - began
    for file, data in (("fp32.tflite", float_model), ("int8.tflite", int8_model)):
        faults = buffer_faults(data)
        if faults:
            raise AssertionError(f"{file}: {faults[0]}")
        (out / file).write_bytes(data)
    tell("judging on held-out pictures")
    images = normalise(read_prepared(prepared / "held-out")[1], card)
    reference = run_onnx(model, images)
    fp32, int8 = Runner(float_model).run(images), Runner(int8_model).run(images)
    worst = float(np.abs(fp32 - reference).max() / np.abs(reference).max())
    if worst > FLOAT_TOLERANCE:
        raise AssertionError(f"{name}: float32 TFLite differs from ONNX by {worst:.2g} of the peak")
    scores = TfliteScores(
        float_difference=worst,
        seconds=times,
        fp32=accuracy.agreement(reference, fp32),
        int8=accuracy.agreement(reference, int8),
    )
    np.savez(out / "logits.npz", reference=reference, fp32=fp32, int8=int8)
    write_json(out / "tflite.json", scores)


def judge(card: Input, labelled: Path, tflite: Path, out: Path) -> None:
    """``labelled``: a folder of prepared photographs; ``tflite``: the folder of ``make_tflite``."""
    tell("judging the labelled photographs")
    write_json(
        out / "answers.json",
        Answers(
            fp32=_answers(card, labelled, tflite / "fp32.tflite"),
            int8=_answers(card, labelled, tflite / "int8.tflite"),
        ),
    )


def _answers(card: Input, labelled: Path, model: Path) -> list[Ranked]:
    if not any(labelled.glob("*.png")):
        return []
    images = normalise(read_prepared(labelled)[1], card)
    return accuracy.ranked(Runner(model.read_bytes()).run(images))


def quantize(float_model: bytes, fitted_model: bytes, images: Array, scratch: Path) -> bytes:
    """Calibrate on ``images`` (N, H, W, 3) float32, already normalised; int8 input and output.

    The ranges of activations are those of ``float_model``; weights and biases are taken from
    ``fitted_model``, the same graph after ``rounding.fit``.

    Raises UserError when a layer could not be quantised, so that the model would not be int8
    from end to end.
    """
    source, fitted = scratch / "float.tflite", scratch / "fitted.tflite"
    source.write_bytes(float_model)
    fitted.write_bytes(fitted_model)
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    # The extremes, and not the quantiser's own moving average: that clipped the logits of sure
    # answers, the winner tied with others at 127, and 14 of 60 first classes were wrong for it.
    # One thread, so that no result depends on timing.
    observer = calibrator.Calibrator(
        str(source), num_threads=1, qsv_update_func=qsv_utils.min_max_update
    )
    observer.calibrate({SIGNATURE: [{"input": image[None]} for image in images]}, rules)
    ranges = observer.get_model_qsvs()
    worker = quantizer.Quantizer(str(fitted), recipe.static_wi8_ai8())
    with np.errstate(invalid="raise"):
        try:
            result = worker.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
        except FloatingPointError as error:
            raise UserError(
                "an int8 bias overflows: a channel has a large bias and next to no weights",
                hint="normalise the ONNX graph first (onnx_graph.normalise)",
            ) from error
    data = inline_weights(bytes(result.quantized_model), "the quantised model")
    facts = describe(data, "the quantised model")
    for tensor in (*facts.inputs, *facts.outputs):
        if tensor.type != "int8":
            raise UserError(f"the quantised model's {tensor.name} is {tensor.type}, not int8")
    return data


class Runner:
    """Run a TFLite classifier on prepared pictures, float32 in and out for every type of tensor."""

    def __init__(self, data: bytes) -> None:
        self._model = Interpreter(model_content=data, num_threads=min(2, os.cpu_count() or 1))
        self._model.allocate_tensors()
        self.input: dict[str, Any] = self._model.get_input_details()[0]
        self.output: dict[str, Any] = self._model.get_output_details()[0]

    def raw(self, image: Array) -> Array:
        """One output (classes,) in the model's own type; ``image`` (H, W, 3) float32 normalised."""
        values = image[None]
        if self.input["dtype"] != np.float32:
            scale, zero = self.input["quantization"]
            limits = np.iinfo(self.input["dtype"])
            values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
        self._model.set_tensor(self.input["index"], values.astype(self.input["dtype"]))
        self._model.invoke()
        result: Array = np.asarray(self._model.get_tensor(self.output["index"]))[0].copy()
        return result

    def run(self, images: Array) -> Array:
        """(N, classes) float32 logits of (N, H, W, 3) float32 normalised pictures."""
        results = np.stack([self.raw(image) for image in images])
        if self.output["dtype"] == np.float32:
            return results
        scale, zero = self.output["quantization"]
        real: Array = ((results.astype(np.float32) - zero) * scale).astype(np.float32)
        return real


def run_onnx(model: onnx.ModelProto, images: Array) -> Array:
    """(N, classes) float32 logits by ONNX Runtime of (N, H, W, 3) float32 normalised pictures."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image.transpose(2, 0, 1)[None]})[0] for image in images]
    return np.stack([np.asarray(row, np.float32).reshape(-1) for row in rows])
