"""What ships with a model and no converter reads: labels and labelled photographs. (Worker code.)

Writes ``labels.txt``, ``images/`` (the photographs as they are shipped) and ``labelled/`` (8-bit
PNG of the network's input size). A stage of its own, so that a changed picture or label converts
nothing again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pico_image.base.errors import UserError
from pico_image.models.worker.archives import member, taken
from pico_image.models.worker.main import tell
from pico_image.models.worker.pictures import open_picture, prepare


def run(spec: dict[str, Any], archives: dict[str, str], out: str) -> dict[str, Any]:
    """``spec`` is a model file as plain data, ``archives`` the fetched file of each source."""
    folder = Path(out)
    tell("reading labels and photographs")
    labels = read_labels(spec, archives)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in labels), encoding="utf-8")
    (folder / "images").mkdir()
    (folder / "labelled").mkdir()
    for number, image in enumerate(spec["images"]):
        data = taken(image, archives, f"the picture {image['name']}")
        (folder / "images" / Path(image["path"]).name).write_bytes(data)
        pixels = prepare(open_picture(data, image["path"]), spec["input"])
        target = folder / "labelled" / f"{number:03d}-{image['name']}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(target)
    return {"labels": len(labels), "images": len(spec["images"])}


def read_labels(spec: dict[str, Any], archives: dict[str, str]) -> list[str]:
    """One name per class, in order. Raises UserError when there are too many or too few."""
    plan = spec.get("labels")
    count = spec["classes"]
    if not plan:
        return [f"class {number}" for number in range(count)]
    if plan.get("file"):
        try:
            names = taken(plan, archives, "the labels").decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"could not read the labels {plan['file']}: {error}") from error
    else:
        data = json.loads(member(archives, plan["source"], plan["path"]))
        names = [data[str(number)] for number in range(len(data))]
    if len(names) != count or not all(name.strip() for name in names):
        raise UserError(
            f"{plan.get('file') or plan['path']} has {len(names)} labels (none may be empty), "
            f"{spec['name']} has {count} classes"
        )
    return names
