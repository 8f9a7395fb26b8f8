"""A report's page and its Markdown twin from views of results."""

from __future__ import annotations

import html as html_module
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pico_image.base.drawing import Plot
from pico_image.results import context, figures, wording
from pico_image.results.result import TOTAL, Configuration, Model, Picture, Result
from pico_image.results.statistics import median

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class TimesRow:
    """A line of the table of times; ``first`` of its configuration."""

    configuration: Configuration
    stage: str
    summary: figures.Summary
    first: bool


@dataclass(frozen=True)
class StudyLine:
    """A configuration of the study and the medians of ours, microseconds."""

    study: figures.StudyRow
    inference: float
    total: float


@dataclass(frozen=True)
class AnswerRow:
    """What each measured configuration says of a picture."""

    picture: Picture
    cells: list[Picture | None]


@dataclass(frozen=True)
class OverviewRow:
    """A configuration of one of several results; medians, microseconds."""

    result: str
    label: str
    model: str
    configuration: str
    inference: float
    total: float
    runs: int


@dataclass(frozen=True)
class PlacedPlot:
    """A plot, its heading, and its file beside the Markdown."""

    heading: str
    drawing: Plot
    file: str


@dataclass(frozen=True)
class ModelView:
    """All that is said of one model."""

    model: Model
    times: list[TimesRow]
    speedups: list[figures.Speedup]
    shares: list[figures.Share]
    study: list[StudyLine]
    study_same: bool
    answers: list[AnswerRow]
    plots: list[PlacedPlot]


@dataclass(frozen=True)
class ResultView:
    """All that is said of one result."""

    result: Result
    notices: list[str]
    context: list[tuple[str, str]]
    models: list[ModelView]


def view(result: Result, plots: Sequence[Sequence[PlacedPlot]]) -> ResultView:
    """What the templates need; ``plots`` holds those of each model."""
    studied = _studied(result)
    return ResultView(
        result,
        context.notices(result),
        context.context(result),
        [
            _model_view(result, model, drawn, with_study=model is studied)
            for model, drawn in zip(result.models, plots, strict=True)
        ],
    )


def _studied(result: Result) -> Model | None:
    """The model to set beside the study: its own, else the first that was measured."""
    measured = [model for model in result.models if model.measured]
    return next(filter(_is_of_study, measured), measured[0] if measured else None)


def _is_of_study(model: Model) -> bool:
    plain = model.title.lower().replace("-", "").replace(" ", "")
    return "mobilenetv2" in plain and (model.width, model.height) == (224, 224)


def _model_view(
    result: Result, model: Model, plots: Sequence[PlacedPlot], *, with_study: bool
) -> ModelView:
    return ModelView(
        model=model,
        times=[
            TimesRow(configuration, stage, figures.summary(configuration, stage), number == 0)
            for configuration in model.measured
            for number, stage in enumerate(("inference", TOTAL))
        ],
        speedups=figures.speedups(result, model),
        shares=figures.shares(result, model),
        study=_study(model) if with_study else [],
        study_same=_is_of_study(model),
        answers=_answers(model),
        plots=list(plots),
    )


def _study(model: Model) -> list[StudyLine]:
    lines = []
    for row in figures.STUDY:
        ours = model.find(row.engine, row.precision)
        lines.append(
            StudyLine(
                row,
                median(ours.times("inference")) if ours else math.nan,
                median(ours.times(TOTAL)) if ours else math.nan,
            )
        )
    return lines


def _answers(model: Model) -> list[AnswerRow]:
    seen: dict[str, Picture] = {}
    for configuration in model.measured:
        for picture in configuration.pictures:
            seen.setdefault(picture.path, picture)
    return [
        AnswerRow(picture, [c.picture(path) for c in model.measured])
        for path, picture in seen.items()
    ]


def html(views: Sequence[ResultView]) -> str:
    """The page: everything it needs is inside."""
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    return (
        _environment(autoescape=True)
        .get_template("page.html.j2")
        .render(**_heading(views), views=views, css=css)
    )


def markdown(views: Sequence[ResultView]) -> str:
    """The same as text; plots are files beside it."""
    text = (
        _environment(autoescape=False)
        .get_template("report.md.j2")
        .render(**_heading(views), views=views)
    )
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [
        line
        for number, line in enumerate(lines)
        if line or (number and lines[number - 1] and not _within_table(lines, number))
    ]
    return "\n".join(kept).strip() + "\n"


def _within_table(lines: Sequence[str], number: int) -> bool:
    """Is this empty line between two rows of one table? (Loops leave such lines.)"""
    after = lines[number + 1] if number + 1 < len(lines) else ""
    divider_next = number + 2 < len(lines) and lines[number + 2].startswith("|---")
    return lines[number - 1].startswith("|") and after.startswith("|") and not divider_next


def _heading(views: Sequence[ResultView]) -> dict[str, Any]:
    labels = [v.result.label for v in views if v.result.label]
    first = views[0].result
    if len(views) == 1:
        when = first.ended.replace("T", " ").rstrip("Z") + " UTC" if first.clock_set else ""
        parts = [first.board, f"image {first.variant}" if first.variant else "", when]
        lead = " · ".join(part for part in parts if part)
    else:
        lead = f"{len(views)} results"
    return {
        "overview": list(_overview(views)),
        "title": "NPU and CPU inference on Luckfox Pico",
        "lead": lead,
        "label": labels[0] if labels else "",
    }


def _overview(views: Sequence[ResultView]) -> Iterator[OverviewRow]:
    for result in (view.result for view in views):
        for model in result.models:
            for configuration in model.measured:
                yield OverviewRow(
                    result.name,
                    result.label if result.emulated or configuration.simulated else "",
                    model.title,
                    configuration.title,
                    median(configuration.times("inference")),
                    median(configuration.times(TOTAL)),
                    configuration.runs,
                )


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    environment.filters.update(
        ms=wording.milliseconds,
        ratio=wording.ratio,
        times=lambda value: wording.TIMES + wording.significant(value),
        ms_of=wording.estimate_ms,
        ms_bounds=wording.bounds_ms,
        percent=wording.percent,
        digits=wording.significant,
        median=median,
        cell=_cell,
    )
    return environment


def _cell(text: object) -> str:
    """Text from a board as one Markdown table cell that cannot end the cell or add markup."""
    words = html_module.escape(" ".join(str(text).split()), quote=False)
    for sign in "\\`*_[]|#":
        words = words.replace(sign, "\\" + sign)
    return words
