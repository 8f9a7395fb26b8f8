"""From picture files to the network's input, and the sets of pictures for calibration.

``prepare`` is the one definition for Python and C. The centre square of ``fraction`` times the
short side (rule ``center-crop``) or the whole picture (rule ``stretch``) is resized in 8 bit with
Pillow's antialiased triangle filter; the C runner implements the same arithmetic and agrees within
1. Normalisation, (pixel - mean) / std per channel, comes after, so that calibration pictures can be
kept as 8-bit files of the input's size.

The default calibration set is cut from photographs that Python packages ship: square crops with a
stated seed. No pixel serves both ends: calibration crops come from the left half of a photograph,
held-out crops from the right half. Crops are random in place, size and mirroring, so 100 of them
from a handful of photographs still differ. A user's folder replaces the default set; every fourth
of its pictures is held out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pico_image.base.errors import UserError
from pico_image.models.worker.jobs import Input, Resize
from pico_image.models.worker.networks import Array

#: A picture, (H, W, 3) uint8, and its name.
Named = tuple[str, Array]
#: Below this many pictures the ranges of activations are chance.
MINIMUM = 10
#: Pictures closer than this (mean absolute difference, grey levels) count as the same.
ALIKE = 1.0
SPLIT = 0.5
PICTURE_TYPES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


def open_picture(data: bytes | Path, what: str) -> Image.Image:
    """A picture with three channels, fully decoded; grey ones are widened.

    Raises UserError for a file that is no picture, is cut short, or has other channels (CMYK,
    alpha).
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


def crop_box(size: tuple[int, int], resize: Resize) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels, not rounded, of what the network will see."""
    width, height = size
    if resize.rule == "stretch":
        return 0.0, 0.0, float(width), float(height)
    side = min(width, height) * resize.fraction
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def prepare(picture: Image.Image, card: Input) -> Array:
    """(H, W, 3) uint8 of the input's size and in its colour order."""
    return resize_box(picture, crop_box(picture.size, card.resize), card)


def resize_box(picture: Image.Image, box: tuple[float, float, float, float], card: Input) -> Array:
    """(H, W, 3) uint8: one box of a picture at the input's size and in its colour order."""
    size = (card.width, card.height)
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))
    return pixels[:, :, ::-1] if card.color == "BGR" else pixels


def read_prepared(folder: Path) -> tuple[list[str], Array]:
    """Names and (N, H, W, 3) uint8 of the prepared pictures of a folder, sorted by name."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise UserError(f"{folder} holds no prepared pictures")
    return [path.name for path in paths], np.stack(
        [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    )


def crops(
    photographs: Sequence[tuple[str, Image.Image]],
    count: int,
    seed: int,
    card: Input,
    *,
    held_out: bool,
) -> list[Named]:
    """``count`` crops as (name, (H, W, 3) uint8), taken from the photographs in turn."""
    rng = np.random.default_rng([seed, int(held_out)])
    result = []
    for number in range(count):
        name, picture = photographs[number % len(photographs)]
        width, height = picture.size
        border = round(width * SPLIT)
        start, end = (border, width) if held_out else (0, border)
        largest = min(end - start, height)
        side = largest * rng.uniform(0.75, 1.0)
        left = start + rng.uniform(0.0, end - start - side)
        top = rng.uniform(0.0, height - side)
        pixels = resize_box(picture, (left, top, left + side, top + side), card)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        result.append((f"{number:03d}-{Path(name).stem}", pixels))
    return result


def user_folder(folder: Path, card: Input) -> tuple[list[Named], list[Named]]:
    """(calibration, held out) from a user's pictures, prepared for the network.

    Raises UserError when the folder is missing, a file in it is broken or has the wrong channels
    (all such files are named), fewer than MINIMUM are usable, or all are alike.
    """
    if not folder.is_dir():
        raise UserError(f"the calibration folder {folder} does not exist or is no folder")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_TYPES)
    good: list[Named] = []
    bad: list[str] = []
    for path in paths:
        try:
            picture = open_picture(path, str(path.relative_to(folder)))
        except UserError as error:
            bad.append(error.message)
            continue
        good.append((path.stem, prepare(picture, card)))
    if bad:
        listed = "\n".join(f"    {line}" for line in bad[:10])
        more = f"\n    and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise UserError(
            f"{len(bad)} of {len(paths)} files in the calibration folder {folder} cannot be used:\n"
            f"{listed}{more}",
            hint="remove or convert them, then run it again",
        )
    held = good[3::4]
    kept = [item for number, item in enumerate(good) if number % 4 != 3]
    if len(good) < MINIMUM:
        raise UserError(
            f"the calibration folder {folder} has {len(good)} usable pictures; "
            f"at least {MINIMUM} are needed",
            hint="add pictures like those the model will see; 100 is a good number",
        )
    refuse_alike(good, str(folder))
    return kept, held


def refuse_alike(images: Sequence[Named], where: str) -> None:
    """Raise UserError when every picture is the first one again."""
    first = images[0][1].astype(np.int16)
    if all(np.abs(item.astype(np.int16) - first).mean() < ALIKE for _, item in images[1:]):
        raise UserError(
            f"all {len(images)} calibration pictures in {where} are alike",
            hint="quantisation needs the variety that the model will see in use",
        )


def write_set(folder: Path, images: Sequence[Named]) -> None:
    """One PNG per picture, 8 bit, the network's input exactly, and ``calibration.txt``.

    The list holds bare names, one a line.
    """
    folder.mkdir(parents=True)
    for number, (name, pixels) in enumerate(images):
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            folder / f"{number:03d}-{name[-40:]}.png"
        )
    names = sorted(path.name for path in folder.glob("*.png"))
    (folder / "calibration.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")


def contact_sheet(path: Path, images: Sequence[Named], columns: int = 10) -> None:
    """All pictures of a set on one PNG, so that a person can see what ranges came from."""
    cell = 112
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * cell), "white")
    for number, (_, pixels) in enumerate(images):
        small = Image.fromarray(np.ascontiguousarray(pixels)).resize((cell - 4, cell - 4))
        sheet.paste(small, (number % columns * cell + 2, number // columns * cell + 2))
    sheet.save(path)
