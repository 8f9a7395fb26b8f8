"""From a picture file to the network's input, the one definition for Python and C. (Worker code.)

The centre square of ``fraction`` times the short side (rule ``center-crop``) or the whole picture
(rule ``stretch``) is resized in 8 bit with Pillow's antialiased triangle filter; the C runner
implements the same arithmetic and agrees within 1. Normalisation, (pixel - mean) / std per
channel, comes after, so that calibration images can be kept as 8-bit files of the input's size.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from pico_image.base.errors import UserError

Array = np.ndarray[Any, Any]


def open_picture(data: bytes | Path, what: str) -> Image.Image:
    """A picture with three channels, fully decoded; grey ones are widened.

    Raises UserError for what is no picture, is cut short, or has other channels (CMYK, alpha).
    """
    try:
        picture = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        picture.load()
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UserError(f"{what} is not a readable picture: {error}") from error
    if picture.mode not in ("RGB", "L", "P", "1"):
        raise UserError(
            f"{what} has the channels {picture.mode}; RGB or grey is needed",
            hint="convert it to RGB",
        )
    return picture.convert("RGB")


def crop_box(
    size: tuple[int, int], rule: str, fraction: float
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels, not rounded, of what the network will see."""
    width, height = size
    if rule == "stretch":
        return 0.0, 0.0, float(width), float(height)
    side = min(width, height) * fraction
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def prepare(picture: Image.Image, spec: dict[str, Any]) -> Array:
    """(H, W, 3) uint8 as the model card's ``input`` says, in its colour order."""
    resize = spec["resize"]
    box = crop_box(picture.size, resize["rule"], resize["fraction"])
    return resize_box(picture, box, spec)


def resize_box(
    picture: Image.Image, box: tuple[float, float, float, float], spec: dict[str, Any]
) -> Array:
    """(H, W, 3) uint8: one box of a picture at the input's size and in its colour order."""
    size = (spec["width"], spec["height"])
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))
    return pixels[:, :, ::-1] if spec["color"] == "BGR" else pixels


def normalise(pixels: Array, spec: dict[str, Any]) -> Array:
    """(N, H, W, 3) uint8 -> float32, (pixel - mean) / std per channel."""
    mean = np.asarray(spec["mean"], np.float32)
    std = np.asarray(spec["std"], np.float32)
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def read_prepared(folder: Path) -> tuple[list[str], Array]:
    """Names and (N, H, W, 3) uint8 of the prepared pictures of a folder, sorted by name."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UserError(f"{folder} holds no prepared pictures")
    return [path.name for path in paths], np.stack(
        [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    )
