"""Pictures of every kind that the programs must read or refuse, made with Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]


def scene(width: int, height: int, seed: int = 1) -> Image.Image:
    """Smooth areas, hard edges and noise: everything on which resizers differ."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = [
        127 + 127 * np.sin(x / 9 + seed) * np.cos(y / 13),
        255 * ((x // 7 + y // 5) % 2),
        random.integers(0, 256, (height, width)),
    ]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8), "RGB")


def photograph(width: int, height: int, seed: int = 1) -> Image.Image:
    """Smooth as a photograph is: for comparisons through JPEG."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = [127 + 100 * np.sin(x / 37 + seed + c) * np.cos(y / 29 - c) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8), "RGB")


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def crop_box(
    rule: str, fraction: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """The definition of the crop, as the Python side of the project applies it."""
    if rule == "stretch":
        return 0, 0, width, height
    side = fraction * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def expected(
    picture: Image.Image, size: tuple[int, int], rule: str = "center-crop", fraction: float = 0.875
) -> Array:
    """What Pillow makes of it: height x width x 3, 8 bit."""
    box = crop_box(rule, fraction, *picture.size)
    resized = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)
