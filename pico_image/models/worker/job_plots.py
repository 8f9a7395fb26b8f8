"""Draw the plots of an accuracy report. (Worker code, environment ``report``.)"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

NAMES = {"int8": "int8 TFLite", "npu": "NPU simulator"}
COLOURS = {"int8": "#17836a", "npu": "#1f6fd6", "faint": "#8795a8"}
WIDTH = 9.6
SETTINGS: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8795a8",
    "axes.labelcolor": "#5d6878",
    "text.color": "#5d6878",
    "xtick.color": "#5d6878",
    "ytick.color": "#5d6878",
    "grid.color": "#8795a850",
    "svg.fonttype": "none",
    "svg.hashsalt": "accuracy",
}


def run(report: dict[str, Any], logits: str, simulator: str | None) -> dict[str, Any]:
    """``plots``: caption and SVG of each. ``logits`` and ``simulator`` are npz files."""
    saved = np.load(logits)
    answers = {"int8": saved["int8"]}
    if simulator is not None:
        answers["npu"] = np.load(simulator)["npu"]
    reference = saved["reference"]
    plots = [
        _plot(
            "The 50 best classes of each held-out picture, every third shown: one point each; "
            "on the line int8 equals float.",
            3.6,
            lambda figure: _scatter(figure, reference, answers),
        ),
        _plot(
            "Cosine similarity of the logits to float, one mark per held-out picture, sorted.",
            2.6,
            lambda figure: _cosines(figure, reference, answers),
        ),
    ]
    layers = report["scores"].get("npu", {}).get("layers", [])
    if layers:
        plots.append(
            _plot(
                "1 - cosine to float of each layer's output on one held-out picture: the layer "
                "alone, and with all errors before it.",
                3.0,
                lambda figure: _layers(figure, layers),
            )
        )
    return {"plots": plots}


def _plot(caption: str, height: float, body: Callable[[Figure], None]) -> dict[str, str]:
    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        body(figure)
        for axis in figure.axes:
            axis.patch.set_alpha(0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return {"caption": caption, "svg": text[text.index("<svg") :]}


def _scatter(figure: Figure, reference: Any, answers: dict[str, Any]) -> None:
    count = len(answers)
    axes = figure.subplots(1, count)
    # All 60,000 points would make a page of 10 MB.
    top = np.argsort(reference, axis=1)[:, -50:]
    x = np.take_along_axis(reference, top, 1).ravel()[::3]
    for axis, (kind, values) in zip(np.atleast_1d(axes), answers.items(), strict=True):
        y = np.take_along_axis(values, top, 1).ravel()[::3]
        axis.plot([x.min(), x.max()], [x.min(), x.max()], color=COLOURS["faint"], lw=1)
        axis.plot(x, y, ".", ms=2.5, color=COLOURS[kind])
        axis.set_title(NAMES[kind])
        axis.set_xlabel("float logit")
        axis.set_ylabel("int8 logit")


def _cosines(figure: Figure, reference: Any, answers: dict[str, Any]) -> None:
    axis = figure.subplots()
    for kind, values in answers.items():
        dots = (reference * values).sum(1)
        norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(values, axis=1)
        cosine = np.sort(dots / norms)
        axis.plot(cosine, ".-", lw=0.8, ms=4, color=COLOURS[kind], label=NAMES[kind])
    axis.set_xlabel("held-out picture")
    axis.set_ylabel("cosine")
    # Without this five cosines of 0.9999 are labelled 7.5 to 9.0 "+9.999e-1".
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y")
    axis.legend(frameon=False)


def _layers(figure: Figure, layers: list[dict[str, Any]]) -> None:
    axis = figure.subplots()
    numbers = np.arange(len(layers))
    floor = 1e-6  # the toolkit prints five digits
    for key, colour, name in (
        ("cosine", "npu", "up to this layer"),
        ("own_cosine", "faint", "this layer alone"),
    ):
        values = np.maximum(1 - np.array([row[key] for row in layers]), floor)
        axis.plot(numbers, values, ".-", lw=0.8, ms=4, color=COLOURS[colour], label=name)
    axis.set_yscale("log")
    axis.set_xlabel("layer, in the order of the table below")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel("1 - cosine")
    axis.grid(axis="y")
    axis.legend(frameon=False)
