"""Fourth stage: the labelled photographs on the simulator, and the golden vectors. (Worker.)

A golden vector is an input and the simulator's int8 answer to it, for a board to be held against:
``golden/NAME.u8`` and ``golden/NAME.i8``, of every labelled photograph and of GOLDEN held-out
pictures. Writes them and ``golden.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pico_image.base.errors import UserError
from pico_image.models.worker import accuracy, toolkit
from pico_image.models.worker.main import tell
from pico_image.models.worker.networks import Array

#: How many held-out pictures become golden vectors beside the labelled ones.
GOLDEN = 3


def run(labelled: str, prepared: str, rknn: str, out: str) -> dict[str, Any]:
    """``labelled``: folder of photographs; ``prepared`` and ``rknn``: folders of earlier stages."""
    source, folder = Path(rknn), Path(out)
    photographs = toolkit.pictures(Path(labelled))
    held = dict(list(toolkit.pictures(Path(prepared) / "held-out").items())[:GOLDEN])
    known = np.load(source / "simulator.npz")
    first = known["npu"][: len(held)]
    if "labelled" in known:
        answers = np.concatenate([known["labelled"], first])
    else:
        tell("simulating the labelled photographs")
        converted = toolkit.quantised(source / "quantised")
        toolkit.checked(converted.init_runtime(), "init_runtime")
        answers = toolkit.simulate(converted, [*photographs.values(), *held.values()])
        converted.release()
        if not np.array_equal(first, answers[len(photographs) :]):
            raise AssertionError("the simulator answers otherwise than at the conversion")
    output = json.loads((source / "rknn.json").read_text(encoding="utf-8"))["quantities"]["output"]
    named = {**photographs, **{f"held-out-{name}": pixels for name, pixels in held.items()}}
    (folder / "golden").mkdir()
    found = {
        "golden": [
            vector(folder, Path(name).stem, pixels, answer, output)
            for (name, pixels), answer in zip(named.items(), answers, strict=True)
        ],
        "photographs": accuracy.ranked(answers[: len(photographs)]),
    }
    (folder / "golden.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return {}


def vector(
    folder: Path, stem: str, pixels: Array, answer: Array, output: dict[str, Any]
) -> dict[str, Any]:
    """Write one golden vector; its entry in the sidecar. Raises UserError for a wrong scale."""
    steps = np.rint(answer / output["scale"]) + output["zero_point"]
    off = float(np.abs((steps - output["zero_point"]) * output["scale"] - answer).max())
    if off > output["scale"] * 1e-3 or steps.min() < -128 or steps.max() > 127:
        raise UserError(
            f"the simulator's answer for {stem} is not on the output's grid (off by {off:g}): "
            "scale and zero point are not those of this model"
        )
    (folder / "golden" / f"{stem}.u8").write_bytes(pixels.tobytes())
    (folder / "golden" / f"{stem}.i8").write_bytes(steps.astype(np.int8).tobytes())
    best = np.sort(steps)
    return {
        "name": stem,
        "input": f"golden/{stem}.u8",
        "output": f"golden/{stem}.i8",
        "top1": int(answer.argmax()),
        "lead_steps": int(best[-1] - best[-2]),
    }
