"""Scale and zero point of a quantised model's input and output, seen from outside. (Worker code.)

With mmse rknn-toolkit2 chooses ranges while it compiles, and those of its configuration file are
not the model's: on a small network the output's scale was 11 % larger, the input's 5 %. But
everything that the simulator gives lies on the grid (q - zero_point) * scale, and q stops at -128
and 127. Values that span exactly 255 steps have reached both ends, which leaves one scale and one
zero point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pico_image.base.errors import UserError
from pico_image.models.worker import toolkit
from pico_image.models.worker.networks import Array

#: Contrast of the pictures that are to drive the outputs to both ends.
CONTRAST = 4.0
NOISE = 8


def measured(
    converted: Any, names: tuple[str, str], card: dict[str, Any], images: Sequence[Array]
) -> dict[str, dict[str, Any]]:
    """As ``toolkit.quantities``; ``converted`` has a runtime, ``names`` are those of its
    input and its output, ``images`` calibration pictures.

    Raises UserError when no picture drives the output to both ends.
    """
    name, output = names
    entry = grid(_input_values(converted, name, card))
    if entry is None:
        raise UserError(f"the simulator does not show the scale of the input {name!r}")
    found = {"input": {"name": name, **entry}}
    values = np.zeros(0, np.float32)
    for some in _driving(images):
        values = np.append(values, toolkit.simulate(converted, some))
        entry = grid(values)
        if entry is not None:
            return {**found, "output": {"name": output, **entry}}
    raise UserError(
        f"the simulator does not show the zero point of the output {output!r}: "
        "no picture drives it to both ends of its range",
        hint="use the algorithm normal or kl_divergence, whose scales rknn-toolkit2 tells",
    )


def grid(values: Array) -> dict[str, Any] | None:
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
    return {"scale": scale, "zero_point": int(127 - steps[-1])}


def _input_values(converted: Any, name: str, card: dict[str, Any]) -> Array:
    """What the simulator makes of an input that goes beyond every pixel on both sides."""
    mean, std = (np.asarray(card[key], np.float64).reshape(3, 1) for key in ("mean", "std"))
    low, high = float(((0 - mean) / std).min()), float(((255 - mean) / std).max())
    span = high - low
    count = card["height"] * card["width"]
    sweep = np.linspace(low - span / 2, high + span / 2, 3 * count).reshape(count, 3).T
    pixels = (sweep * std + mean).reshape(1, 3, card["height"], card["width"])
    np.save("beyond.npy", pixels.astype(np.float32))
    toolkit.checked(
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
