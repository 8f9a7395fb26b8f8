"""Float32 ``.tflite`` to full int8 (weights per channel, activations per tensor). (Worker code.)"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from pico_image.base.errors import UserError
from pico_image.models.worker.networks import Array
from pico_image.models.worker.tflite_file import describe, inline_weights
from pico_image.models.worker.tflite_writer import SIGNATURE


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
    for tensor in (*facts["inputs"], *facts["outputs"]):
        if tensor["type"] != "int8":
            raise UserError(f"the quantised model's {tensor['name']} is {tensor['type']}, not int8")
    return data


class Runner:
    """Run a TFLite classifier on prepared pictures, float32 in and out whatever its types are."""

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
