"""How accurate a conversion is: the report, whether it is good enough, and its page with plots."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

from pico_image.base.drawing import Canvas, Plot, draw
from pico_image.base.errors import CheckFailed
from pico_image.base.files import write_text
from pico_image.config.schema import LabelledImage, ModelSpec
from pico_image.models import rknn_file
from pico_image.models.papers import FILES, SCHEMA, Kind
from pico_image.models.pipeline import PLATFORM, Stages
from pico_image.models.worker.jobs import (
    Agreement,
    Answers,
    Golden,
    Layer,
    Prepared,
    Quantities,
    Ranked,
    RknnScores,
    TfliteScores,
    read_json,
)

TEMPLATES = Path(__file__).with_name("templates")
TITLES: Mapping[Kind, str] = {
    "fp32": "float32 TensorFlow Lite",
    "int8": "int8 TensorFlow Lite",
    "npu": "NPU, simulated by rknn-toolkit2",
}
ROWS = (
    ("top1", "same first class"),
    ("top1_in_top5", "float's first among five best"),
    ("top5_overlap", "overlap of the five best"),
    ("cosine", "cosine of the logits, mean"),
    ("cosine_min", "cosine of the logits, worst picture"),
    ("error_db", "signal to error, dB"),
    ("near_ties", "pictures that float itself is unsure of"),
    ("bytes", "file, bytes"),
)


@dataclass(frozen=True)
class Photograph:
    """A labelled photograph, and whether the answer is one of the ``expected`` classes."""

    image: str
    expected: list[int]
    top1: int
    label: str
    probability: float
    top5: list[int]
    right: bool


@dataclass(frozen=True, kw_only=True)
class Scores(Agreement):
    """A converted model: its agreement with float, and its answers to the photographs."""

    bytes: int
    photographs: list[Photograph]


@dataclass(frozen=True, kw_only=True)
class NpuScores(Scores):
    """A ``.rknn``, by the simulator; ``layers`` on one held-out picture."""

    toolkit: str
    platform: str
    algorithm: str
    payload_sha256: str | None
    quantities: Quantities
    against_int8_tflite: Agreement
    layers: list[Layer]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Report:
    """All of ``report.json`` and ``accuracy.json``; ``thresholds`` are the model file's."""

    schema: int
    name: str
    title: str
    random_weights: bool
    thresholds: dict[str, float]
    versions: dict[str, str]
    prepared: Prepared
    float_difference: float
    scores: dict[Kind, Scores]

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def report(spec: ModelSpec, stages: Stages, versions: Mapping[str, str]) -> Report:
    """Everything known about a conversion."""
    converted = read_json(TfliteScores, stages.tflite / "tflite.json")
    answers = read_json(Answers, stages.photographs / "answers.json")
    labels = (stages.shown / "labels.txt").read_text(encoding="utf-8").splitlines()
    scores: dict[Kind, Scores] = {
        "fp32": _scores(
            converted.fp32,
            stages.tflite / FILES["fp32"],
            photographs(spec.images, answers.fp32, labels),
        ),
        "int8": _scores(
            converted.int8,
            stages.tflite / FILES["int8"],
            photographs(spec.images, answers.int8, labels),
        ),
    }
    if stages.rknn is not None and stages.golden is not None:
        seen = read_json(Golden, stages.golden / "golden.json").photographs
        simulated = read_json(RknnScores, stages.rknn / "rknn.json")
        facts = rknn_file.read(stages.rknn / FILES["npu"])
        scores["npu"] = NpuScores(
            **asdict(simulated.agreement),
            bytes=facts.size,
            photographs=photographs(spec.images, seen, labels),
            toolkit=facts.toolkit,
            platform=PLATFORM,
            algorithm=spec.algorithm,
            payload_sha256=facts.payload_sha256,
            quantities=simulated.quantities,
            against_int8_tflite=simulated.against_int8_tflite,
            layers=simulated.layers,
            seconds=simulated.seconds,
        )
    return Report(
        schema=SCHEMA,
        name=spec.name,
        title=spec.title,
        random_weights=spec.random_weights,
        thresholds=spec.accuracy.model_dump(),
        versions=dict(versions),
        prepared=read_json(Prepared, stages.prepared / "prepared.json"),
        float_difference=converted.float_difference,
        scores=scores,
    )


def _scores(agreement: Agreement, file: Path, photographs: list[Photograph]) -> Scores:
    return Scores(**asdict(agreement), bytes=file.stat().st_size, photographs=photographs)


def photographs(
    images: Sequence[LabelledImage], answers: Sequence[Ranked], labels: Sequence[str]
) -> list[Photograph]:
    """The answer to each labelled photograph, judged."""
    return [
        Photograph(
            image=image.name,
            expected=image.top1,
            top1=answer.top5[0],
            label=labels[answer.top5[0]],
            probability=answer.probability,
            top5=answer.top5,
            right=answer.top5[0] in image.top1,
        )
        for image, answer in zip(images, answers, strict=True)
    ]


def check(report: Report) -> None:
    """Hold a report against the thresholds of its model file.

    Raises CheckFailed with everything that falls short.
    """
    short = shortcomings(report)
    if short:
        lines = "\n".join(f"    {line}" for line in short)
        raise CheckFailed(f"the converted model {report.name} is not accurate enough:\n{lines}")


def shortcomings(report: Report) -> list[str]:
    """The thresholds and photographs that a report misses, a sentence each."""
    short = []
    for kind, scores in report.scores.items():
        for key, least in report.thresholds.items():
            value = getattr(scores, key)
            if value < least:
                short.append(f"{TITLES[kind]}: {key} is {value:.4f}, at least {least} is required")
        for row in scores.photographs:
            if row.expected and not row.right:
                expected = " or ".join(str(number) for number in row.expected)
                short.append(
                    f"{TITLES[kind]}: {row.image} is taken for {row.top1} ({row.label}), "
                    f"expected {expected}"
                )
    return short


def write_page(report: Report, stages: Stages, folder: Path) -> Path:
    """Write ``accuracy.json``, ``accuracy.html``, ``contact-sheet.png`` and ``calibration/``.

    Returns the page's path. Without matplotlib the page has no plots and says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "accuracy.json", report.text())
    shutil.copyfile(stages.prepared / "contact-sheet.png", folder / "contact-sheet.png")
    # A smaller set must not keep the rest of a former one.
    shutil.rmtree(folder / "calibration", ignore_errors=True)
    shutil.copytree(stages.prepared / "calibration", folder / "calibration")
    write_text(folder / "accuracy.html", _page(report, stages))
    return folder / "accuracy.html"


def _page(report: Report, stages: Stages) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True
    )
    npu = report.scores.get("npu")
    layers = npu.layers if isinstance(npu, NpuScores) else []
    drawable = importlib.util.find_spec("matplotlib") is not None
    sheet = (stages.prepared / "contact-sheet.png").read_bytes()
    return environment.get_template("accuracy.html.j2").render(
        report=report,
        plots=list(_plots(stages, layers)) if drawable else [],
        drawable=drawable,
        rows=ROWS,
        titles=TITLES,
        shown=_shown,
        short=shortcomings(report),
        layers=layers,
        photographs=list(
            zip(*(scores.photographs for scores in report.scores.values()), strict=True)
        ),
        sheet=base64.b64encode(sheet).decode("ascii"),
    )


def _shown(value: float | int | None) -> str:
    if value is None:
        return "exact"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


#: Label and colour of the models that a plot compares with float.
DRAWN = {"int8": ("int8 TFLite", "cpu-int8"), "npu": ("NPU simulator", "npu-int8")}


def _plots(stages: Stages, layers: Sequence[Layer]) -> Iterator[Plot]:
    import numpy as np

    saved = np.load(stages.tflite / "logits.npz")
    answers = {"int8": saved["int8"]}
    if stages.rknn is not None:
        answers["npu"] = np.load(stages.rknn / "simulator.npz")["npu"]
    reference = saved["reference"]
    yield draw(
        "logits",
        "The 50 best classes of each held-out picture, every third shown: one point each; "
        "on the line int8 equals float.",
        (3.6, 6.4),
        lambda canvas: _draw_logits(canvas, reference, answers),
        "",
    )
    yield draw(
        "cosines",
        "Cosine similarity of the logits to float, one mark per held-out picture, sorted.",
        (2.6, 2.6),
        lambda canvas: _draw_cosines(canvas, reference, answers),
        "",
    )
    if layers:
        yield draw(
            "layers",
            "1 - cosine to float of each layer's output on one held-out picture: the layer "
            "alone, and with all errors before it.",
            (3.0, 3.0),
            lambda canvas: _draw_layers(canvas, layers),
            "",
        )


def _draw_logits(canvas: Canvas, reference: Any, answers: Mapping[str, Any]) -> None:
    import numpy as np

    grid = (len(answers), 1) if canvas.narrow else (1, len(answers))
    both = np.atleast_1d(canvas.figure.subplots(*grid))
    # All 60,000 points would make a page of 10 MB.
    top = np.argsort(reference, axis=1)[:, -50:]
    x = np.take_along_axis(reference, top, 1).ravel()[::3]
    for axes, (kind, values) in zip(both, answers.items(), strict=True):
        title, colour = DRAWN[kind]
        y = np.take_along_axis(values, top, 1).ravel()[::3]
        axes.plot([x.min(), x.max()], [x.min(), x.max()], color=canvas.colours["faint"], lw=1)
        axes.plot(x, y, ".", ms=2.5, color=canvas.colours[colour])
        axes.set_title(title)
        axes.set_xlabel("float logit")
        axes.set_ylabel("int8 logit")


def _draw_cosines(canvas: Canvas, reference: Any, answers: Mapping[str, Any]) -> None:
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    axes = canvas.figure.subplots()
    for kind, values in answers.items():
        title, colour = DRAWN[kind]
        dots = (reference * values).sum(1)
        norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(values, axis=1)
        cosine = np.sort(dots / norms)
        axes.plot(cosine, ".-", lw=0.8, ms=4, color=canvas.colours[colour], label=title)
    axes.set_xlabel("held-out picture")
    axes.set_ylabel("cosine")
    # Without this five cosines of 0.9999 are labelled 7.5 to 9.0 "+9.999e-1".
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend(frameon=False)


def _draw_layers(canvas: Canvas, layers: Sequence[Layer]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = canvas.figure.subplots()
    floor = 1e-6  # the toolkit prints five digits
    for values, colour, name in (
        ([layer.cosine for layer in layers], "npu-int8", "up to this layer"),
        ([layer.own_cosine for layer in layers], "faint", "this layer alone"),
    ):
        errors = [max(1 - value, floor) for value in values]
        axes.plot(errors, ".-", lw=0.8, ms=4, color=canvas.colours[colour], label=name)
    axes.set_yscale("log")
    axes.set_xlabel("layer, in the order of the table below")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("1 - cosine")
    axes.grid(axis="y")
    axes.legend(frameon=False)
