"""rknn-toolkit2's public interface, as far as conversions need it. (Worker, environment ``rknn``.)

One quantisation serves everything: hybrid step 1 calibrates, writes the scales that it found and
leaves three files, and step 2 makes the model and its simulator of them in two seconds, also in
another process. ``build()`` does the same work and tells no scale, so the scales used to cost a
second quantisation, 20 s. The NPU payload and the simulator's answers are the same either way, bit
for bit (tests/models/test_toolkit.py).

mmse is another matter: it chooses its ranges in step 2, from all calibration pictures, which takes
minutes and gives other scales than step 1 wrote; see ``measured_scales``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pico_image.base.errors import UserError
from pico_image.models.worker import torch_stand_in
from pico_image.models.worker.networks import Array

#: What hybrid step 1 leaves beside ``model.onnx``: the graph, its constants, the ranges.
MODEL, DATA, RANGES = "model.model", "model.data", "model.quantization.cfg"
QUANTISED = (MODEL, DATA, RANGES)


def checked(status: int | None, step: str) -> None:
    """The toolkit's calls return -1 after they have logged the reason."""
    if status not in (0, None):
        raise UserError(
            f"rknn-toolkit2 could not convert the model: {step} returned {status}",
            hint="the reason is in the log, in a line that begins with E",
        )


def quantise(
    card: dict[str, Any], algorithm: str, platform: str, custom: str, calibration: Sequence[Path]
) -> None:
    """``model.onnx`` of the working folder to the three files QUANTISED there.

    ``card``: the model file's ``input``; ``custom``: the string that the ``.rknn`` will carry.
    Raises UserError when the toolkit refuses the options or the graph.
    """
    torch_stand_in.install()
    from rknn.api import RKNN

    Path("calibration.txt").write_text("".join(f"{path}\n" for path in calibration), "utf-8")
    toolkit = RKNN(verbose=False)
    try:
        checked(
            toolkit.config(
                mean_values=[list(card["mean"])],
                std_values=[list(card["std"])],
                # The toolkit reads pictures as RGB; the prepared ones are in the network's order.
                quant_img_RGB2BGR=False,
                target_platform=platform,
                quantized_dtype="w8a8",
                quantized_method="channel",
                quantized_algorithm=algorithm,
                custom_string=custom,
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

    Works on copies in the working folder, for whatever the toolkit may write beside them. With
    mmse that folder must be the one of ``quantise``: without its ``calibration.txt`` the toolkit
    leaves mmse out and says nothing.
    """
    torch_stand_in.install()
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


def quantities(ranges: Path, model: Path) -> dict[str, dict[str, Any]]:
    """Name, scale and zero point of the input and the output, out of step 1's ranges."""
    from ruamel.yaml import YAML  # type: ignore[import-not-found]

    graph = onnx.load(str(model)).graph
    table = YAML(typ="safe").load(ranges)["quantize_parameters"]
    found = {}
    for kind, name in (("input", graph.input[0].name), ("output", graph.output[0].name)):
        # The float tensor of the graph's edge carries no scale; the one beside it does.
        entry = table.get(f"{name}_int8") or table.get(name)
        if not entry or not entry["scale"]:
            raise UserError(f"rknn-toolkit2 gives no scale for the {kind} {name!r}")
        found[kind] = {
            "name": name,
            "scale": float(np.ravel(entry["scale"])[0]),
            "zero_point": int(np.ravel(entry["zero_point"])[0]),
        }
    return found


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


def parse_layers(text: str) -> list[dict[str, Any]]:
    """Rows of the toolkit's ``error_analysis.txt`` that carry four numbers."""
    found = []
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
        keys = ("cosine", "distance", "own_cosine", "own_distance")
        row: dict[str, Any] = dict(zip(keys, numbers, strict=True))
        found.append({"layer": words[0], "operator": operator, **row})
    return found
