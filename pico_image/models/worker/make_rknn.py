"""``model.onnx`` to ``model.rknn`` by rknn-toolkit2, and its simulator.

Runs in the environment ``rknn`` and a scratch folder, where the toolkit leaves files.
``make_rknn`` writes ``model.rknn``, ``simulator.npz`` (the held-out pictures), ``rknn.json``, the
graph with its weights as they were rounded (``fitted.onnx``), and what ``make_golden`` needs to
simulate other pictures: ``quantised/``. With mmse, where that would take as long as the
conversion, it simulates the photographs too.

A golden vector is an input and the simulator's int8 answer to it, for a board to be held against:
``golden/NAME.u8`` and ``golden/NAME.i8``, of every labelled photograph and of GOLDEN held-out
pictures. ``make_golden`` writes them and ``golden.json``.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pico_image.models.worker import accuracy, rounding, toolkit
from pico_image.models.worker.jobs import (
    Golden,
    GoldenVector,
    Layer,
    Quantity,
    RknnOptions,
    RknnScores,
    read_json,
    tell,
    write_json,
)
from pico_image.models.worker.networks import Array, normalise

#: How many held-out pictures become golden vectors beside the labelled ones.
GOLDEN = 3


def make_rknn(
    options: RknnOptions, prepared: Path, reference: Path, out: Path, labelled: Path | None
) -> None:
    """Convert, simulate, compare with ``reference`` (the ``logits.npz`` of ``make_tflite``).

    ``labelled``: the folder of photographs, with mmse.
    """
    card = options.input
    tell("choosing how weights are rounded")
    calibration = toolkit.pictures(prepared / "calibration")
    held = toolkit.pictures(prepared / "held-out")
    times: dict[str, float] = {}
    began = time.monotonic()
    model = onnx.load(str(prepared / "model.onnx"))
    fitted = rounding.fit(
        model, normalise(np.stack(list(calibration.values())), card), "asymmetric"
    )
    onnx.save(fitted, "model.onnx")
    times["rounding"] = time.monotonic() - began
    began = time.monotonic()
    tell(f"quantising, algorithm {options.algorithm}")
    toolkit.quantise(options, [prepared / "calibration" / name for name in calibration])
    times["quantise"] = time.monotonic() - began
    began = time.monotonic()
    tell("trying ranges for every layer (mmse)" if labelled else "compiling")
    converted = toolkit.quantised(Path.cwd())
    toolkit.checked(converted.export_rknn(str(out / "model.rknn")), "export_rknn")
    times["compile"] = time.monotonic() - began
    began = time.monotonic()
    tell("simulating the held-out pictures")
    toolkit.checked(converted.init_runtime(), "init_runtime")
    answers = toolkit.simulate(converted, list(held.values()))
    simulated = {"npu": answers}
    quantities = toolkit.quantities(Path(toolkit.RANGES), Path("model.onnx"))
    if labelled is not None:
        photographs = list(toolkit.pictures(labelled).values())
        simulated["labelled"] = toolkit.simulate(converted, photographs)
        quantities = toolkit.measured(converted, quantities, card, list(calibration.values()))
    times["simulator"] = time.monotonic() - began
    began = time.monotonic()
    tell("comparing layer by layer")
    layers = _layers(converted, prepared / "held-out" / next(iter(held)))
    times["layers"] = time.monotonic() - began
    converted.release()
    saved = np.load(reference)
    if labelled is None:
        (out / "quantised").mkdir()
        for name in toolkit.QUANTISED:
            shutil.move(name, out / "quantised" / name)
    shutil.move("model.onnx", out / "fitted.onnx")
    np.savez(out / "simulator.npz", **simulated)  # type: ignore[arg-type]
    scores = RknnScores(
        quantities=quantities,
        agreement=accuracy.agreement(saved["reference"], answers),
        against_int8_tflite=accuracy.agreement(saved["int8"], answers),
        layers=layers,
        seconds=times,
    )
    write_json(out / "rknn.json", scores)


def _layers(converted: Any, picture: Path) -> list[Layer]:
    """Per layer: cosine and Euclidean distance to float, summed up to it and its own."""
    toolkit.checked(
        converted.accuracy_analysis(inputs=[str(picture)], output_dir="snapshot"),
        "accuracy_analysis",
    )
    text = Path("snapshot/error_analysis.txt").read_text(encoding="utf-8", errors="replace")
    return toolkit.parse_layers(text)


def make_golden(labelled: Path, prepared: Path, rknn: Path, out: Path) -> None:
    """``labelled``: folder of photographs; ``prepared`` and ``rknn``: folders of earlier stages."""
    photographs = toolkit.pictures(labelled)
    held = dict(list(toolkit.pictures(prepared / "held-out").items())[:GOLDEN])
    known = np.load(rknn / "simulator.npz")
    first = known["npu"][: len(held)]
    if "labelled" in known:
        answers = np.concatenate([known["labelled"], first])
    else:
        tell("simulating the labelled photographs")
        converted = toolkit.quantised(rknn / "quantised")
        toolkit.checked(converted.init_runtime(), "init_runtime")
        answers = toolkit.simulate(converted, [*photographs.values(), *held.values()])
        converted.release()
        if not np.array_equal(first, answers[len(photographs) :]):
            raise AssertionError("the simulator answers otherwise than at the conversion")
    output = read_json(RknnScores, rknn / "rknn.json").quantities.output
    named = {**photographs, **{f"held-out-{name}": pixels for name, pixels in held.items()}}
    (out / "golden").mkdir()
    golden = Golden(
        golden=[
            vector(out, Path(name).stem, pixels, answer, output)
            for (name, pixels), answer in zip(named.items(), answers, strict=True)
        ],
        photographs=accuracy.ranked(answers[: len(photographs)]),
    )
    write_json(out / "golden.json", golden)


def vector(folder: Path, stem: str, pixels: Array, answer: Array, output: Quantity) -> GoldenVector:
    """Write one golden vector; AssertionError when the scale is not the answer's."""
    steps = np.rint(answer / output.scale) + output.zero_point
    off = float(np.abs((steps - output.zero_point) * output.scale - answer).max())
    if off > output.scale * 1e-3 or steps.min() < -128 or steps.max() > 127:
        raise AssertionError(
            f"the simulator's answer for {stem} is not on the output's grid (off by {off:g}): "
            "scale and zero point are not those of this model"
        )
    (folder / "golden" / f"{stem}.u8").write_bytes(pixels.tobytes())
    (folder / "golden" / f"{stem}.i8").write_bytes(steps.astype(np.int8).tobytes())
    best = np.sort(steps)
    return GoldenVector(
        name=stem,
        input=f"golden/{stem}.u8",
        output=f"golden/{stem}.i8",
        top1=int(answer.argmax()),
        lead_steps=int(best[-1] - best[-2]),
    )
