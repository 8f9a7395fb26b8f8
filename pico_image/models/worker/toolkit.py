"""rknn-toolkit2's public interface, as far as conversions need it. (Environment ``rknn``.)

One quantisation serves everything: hybrid step 1 calibrates, writes the scales that it found and
leaves three files, and step 2 makes the model and its simulator of them in two seconds, also in
another process. ``build()`` does the same work and does not return the scales, which used to cost a
second quantisation, 20 s. The NPU payload and the simulator's answers are the same either way, bit
for bit (tests/models/test_toolkit.py).

mmse chooses its ranges in step 2, from all calibration pictures, which takes minutes and gives
other scales than step 1 wrote: on a small network 11 % larger for the output and 5 % for the input.
But everything that the simulator gives lies on the grid (q - zero_point) * scale, and q stops at
-128 and 127. Values that span exactly 255 steps have reached both ends, which leaves one scale and
one zero point (``measured``).

On the Python registry torch is a CUDA build of several gigabytes. rknn-toolkit2 2.3.2 imports it
when it starts, for PyTorch models and the quantiser "gdq", which this chip does not have: of
all its names the decorator ``no_grad`` and the base class ``nn.Module`` are touched, seen by
running it with a module that reports every access. With these two, conversion, simulator and
accuracy analysis give the same NPU payload as with torch 2.13.0. Any other access fails by name.
"""

from __future__ import annotations

import importlib.machinery
import shutil
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pico_image.base.errors import UserError
from pico_image.models.worker.jobs import Input, Layer, Quantities, Quantity, RknnOptions
from pico_image.models.worker.networks import Array

#: What hybrid step 1 leaves beside ``model.onnx``: the graph, its constants, the ranges.
MODEL, DATA, RANGES = "model.model", "model.data", "model.quantization.cfg"
QUANTISED = (MODEL, DATA, RANGES)
#: Contrast of the pictures that are to drive the outputs to both ends.
CONTRAST = 4.0
NOISE = 8


class _Module:
    """In the place of ``torch.nn.Module`` and ``torch.Tensor``: can be named, never made."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("this part of rknn-toolkit2 needs PyTorch, which is not installed")


def _no_grad() -> Callable[[Any], Any]:
    return lambda function: function


def install_torch() -> None:
    """Put the stand-in into ``sys.modules``, unless the real one is there."""
    if "torch" in sys.modules:
        return
    torch, nn = types.ModuleType("torch"), types.ModuleType("torch.nn")
    torch.__version__ = "2.4.0"  # type: ignore[attr-defined]
    torch.no_grad = _no_grad  # type: ignore[attr-defined]
    torch.Tensor = _Module  # type: ignore[attr-defined]
    torch.nn = nn  # type: ignore[attr-defined]
    nn.Module = _Module  # type: ignore[attr-defined]
    for module in (torch, nn):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    sys.modules["torch"], sys.modules["torch.nn"] = torch, nn


def checked(status: int | None, step: str) -> None:
    """The toolkit's calls return -1 after they have logged the reason."""
    if status not in (0, None):
        raise UserError(
            f"rknn-toolkit2 could not convert the model: {step} returned {status}",
            hint="the reason is in the log, in a line that begins with E",
        )


def quantise(options: RknnOptions, calibration: Sequence[Path]) -> None:
    """``model.onnx`` of the working folder to the three files QUANTISED there.

    Raises UserError when the toolkit refuses the options or the graph.
    """
    install_torch()
    from rknn.api import RKNN

    Path("calibration.txt").write_text("".join(f"{path}\n" for path in calibration), "utf-8")
    toolkit = RKNN(verbose=False)
    try:
        checked(
            toolkit.config(
                mean_values=[options.input.mean],
                std_values=[options.input.std],
                # The toolkit reads pictures as RGB; the prepared ones are in the network's order.
                quant_img_RGB2BGR=False,
                target_platform=options.platform,
                quantized_dtype="w8a8",
                quantized_method="channel",
                quantized_algorithm=options.algorithm,
                custom_string=options.custom,
            ),
            "config",
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"rknn-toolkit2 refuses the options: {error}") from error
    checked(toolkit.load_onnx(model="model.onnx"), "load_onnx")
    checked(
        toolkit.hybrid_quantization_step1(dataset="calibration.txt", proposal=False),
        "hybrid_quantization_step1",
    )
    toolkit.release()


def quantised(folder: Path) -> Any:
    """The toolkit with the model of ``quantise``, whose files lie in ``folder``; not to be changed.

    Works on copies in the working folder, because the toolkit may write files beside them. With
    mmse that folder must be the one of ``quantise``: without its ``calibration.txt`` the toolkit
    leaves mmse out and says nothing.
    """
    install_torch()
    from rknn.api import RKNN

    for name in QUANTISED:
        if folder.resolve() != Path.cwd():
            shutil.copyfile(folder / name, name)
    toolkit = RKNN(verbose=False)
    checked(
        toolkit.hybrid_quantization_step2(
            model_input=MODEL, data_input=DATA, model_quantization_cfg=RANGES
        ),
        "hybrid_quantization_step2",
    )
    return toolkit


def quantities(ranges: Path, model: Path) -> Quantities:
    """Name, scale and zero point of the input and the output, out of step 1's ranges."""
    from ruamel.yaml import YAML  # type: ignore[import-not-found]

    graph = onnx.load(str(model)).graph
    table = YAML(typ="safe").load(ranges)["quantize_parameters"]

    def quantity(name: str) -> Quantity:
        # The float tensor of the graph's edge carries no scale; the one beside it does.
        entry = table.get(f"{name}_int8") or table.get(name)
        if not entry or not entry["scale"]:
            raise UserError(f"rknn-toolkit2 gives no scale for {name!r}")
        scale, zero_point = np.ravel(entry["scale"])[0], np.ravel(entry["zero_point"])[0]
        return Quantity(name, float(scale), int(zero_point))

    return Quantities(quantity(graph.input[0].name), quantity(graph.output[0].name))


def pictures(folder: Path) -> dict[str, Array]:
    """Name -> (H, W, 3) uint8 of the prepared pictures of a folder, in the order of their names."""
    import cv2  # type: ignore[import-not-found]

    return {
        path.name: np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])
        for path in sorted(folder.glob("*.png"))
    }


def simulate(toolkit: Any, images: Sequence[Array]) -> Array:
    """(N, classes) float32: the simulator's logits, each on the grid scale * (q - zero point)."""
    rows = [
        toolkit.inference(inputs=[pixels[None]], data_format=["nhwc"])[0].reshape(-1)
        for pixels in images
    ]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)


def parse_layers(text: str) -> list[Layer]:
    """Rows of the toolkit's ``error_analysis.txt`` that carry four numbers."""
    layers = []
    for line in text.splitlines():
        line = line.strip()
        if not line.startswith("["):
            continue
        operator, _, rest = line[1:].partition("]")
        words = rest.replace("|", " ").split()
        if len(words) < 5:
            continue
        try:
            numbers = [float(word) for word in words[1:5]]
        except ValueError:
            continue
        layers.append(Layer(words[0], operator, *numbers))
    return layers


def measured(converted: Any, told: Quantities, card: Input, images: Sequence[Array]) -> Quantities:
    """The quantities that the simulator shows; ``converted`` has a runtime.

    ``told``: for the names; ``images``: calibration pictures. Raises UserError when no picture
    drives the output to both ends.
    """
    name, output = told.input.name, told.output.name
    seen = grid(_input_values(converted, name, card))
    if seen is None:
        raise UserError(f"the simulator does not show the scale of the input {name!r}")
    entry = Quantity(name, *seen)
    values = np.zeros(0, np.float32)
    for pictures in _driving(images):
        values = np.append(values, simulate(converted, pictures))
        seen = grid(values)
        if seen is not None:
            return Quantities(entry, Quantity(output, *seen))
    raise UserError(
        f"the simulator does not show the zero point of the output {output!r}: "
        "no picture drives it to both ends of its range",
        hint="use the algorithm normal or kl_divergence, whose scales rknn-toolkit2 tells",
    )


def grid(values: Array) -> tuple[float, int] | None:
    """Scale and zero point of int8 values made real, when they reach both ends of the range."""
    distinct = np.unique(values.astype(np.float64))
    gaps = np.diff(distinct)
    # Equal steps differ in the last bits of float32.
    gaps = gaps[gaps > 1e-5 * np.abs(distinct).max()]
    if not len(gaps):
        return None
    steps = np.rint(distinct / gaps.min())
    scale = float((distinct * steps).sum() / (steps * steps).sum())
    steps = np.rint(distinct / scale)
    # Of a wrong step, a multiple of the right one, 255 would be beyond the ends.
    if np.abs(distinct / scale - steps).max() > 0.01 or steps[-1] - steps[0] != 255:
        return None
    return scale, int(127 - steps[-1])


def _input_values(converted: Any, name: str, card: Input) -> Array:
    """What the simulator makes of an input that goes beyond every pixel on both sides."""
    mean, std = (np.asarray(values, np.float64).reshape(3, 1) for values in (card.mean, card.std))
    low, high = float(((0 - mean) / std).min()), float(((255 - mean) / std).max())
    span = high - low
    count = card.height * card.width
    sweep = np.linspace(low - span / 2, high + span / 2, 3 * count).reshape(count, 3).T
    pixels = (sweep * std + mean).reshape(1, 3, card.height, card.width)
    np.save("beyond.npy", pixels.astype(np.float32))
    checked(
        converted.accuracy_analysis(inputs=["beyond.npy"], output_dir="beyond"),
        "accuracy_analysis",
    )
    values: Array = np.load(Path("beyond/simulator/npy") / f"{name}_int8.npy")
    return values


def _driving(images: Sequence[Array]) -> Iterator[list[Array]]:
    """Pictures that reach further and further: given ones, flat colours, more contrast, noise."""
    yield list(images)
    corners = [[255 * (number >> bit & 1) for bit in range(3)] for number in range(8)]
    yield [np.full(images[0].shape, corner, np.uint8) for corner in corners]
    for factor in (CONTRAST, -CONTRAST):
        yield [
            np.clip((image - image.mean()) * factor + image.mean(), 0, 255).astype(np.uint8)
            for image in images
        ]
    rng = np.random.default_rng(0)
    yield list(rng.integers(0, 256, (NOISE, *images[0].shape)).astype(np.uint8))
