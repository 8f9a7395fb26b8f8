"""Reports: one self-contained page, Markdown and PNG plots of one or more benchmark results."""

from __future__ import annotations

import html as html_module
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pico_image.base.console import Console
from pico_image.base.drawing import Plot
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, output_dir, write_text
from pico_image.results import collected, figures, plots, store
from pico_image.results.collected import Collected
from pico_image.results.result import Model, Picture, Result, State
from pico_image.results.statistics import FEWEST_SAMPLES, median

TEMPLATES = Path(__file__).with_name("templates")
PAGE_FILE = "index.html"
MARKDOWN_FILE = "report.md"


def write_report(
    console: Console, results: Sequence[Path | str], output: Path | None = None
) -> Path:
    """Write ``report.md``, the plots as PNG and last ``index.html``; returns the page.

    ``results`` are files, folders or names under out/results; without any, the newest is taken.
    Files of ``invoke collect`` may be among them: the page then says what was found on the board,
    and shows the newest result of one that is given alone.
    ``output`` is a folder, by default one under out/reports named after the (first) result.
    Raises UserError for a result that is missing, broken or of another schema.
    """
    read, boards = _read(results or ["latest"])
    if output is None:
        names = [result.name for result in read] + [board.name for board in boards]
        more = f"-and-{len(names) - 1}-more" if len(names) > 1 else ""
        output = output_dir() / "reports" / (names[0] + more)
    if output.exists() and not output.is_dir():
        raise UserError(
            f"{output} is not a folder; a report is a page with its plots beside it",
            hint="give --output the name of a folder",
        )
    if not read:
        read = [result for board in boards if (result := board.result) is not None]
    views = []
    with console.progress("draw plots", sum(len(r.models) for r in read)) as bar:
        for number, result in enumerate(read, start=1):
            drawn = []
            for model in result.models:
                drawn.append(_plots(result, model, f"{number}-" if len(read) > 1 else ""))
                bar.advance(note=model.name)
            views.append(view(result, drawn))
    for part in (part for each in views for part in each.models):
        for plot in part.plots:
            with atomic_write(output / f"{plot.drawing.name}.png") as stream:
                stream.write(plot.drawing.png)
    write_text(output / MARKDOWN_FILE, markdown(views, boards))
    write_text(output / PAGE_FILE, html(views, boards))
    return output / PAGE_FILE


def _read(names: Sequence[Path | str]) -> tuple[list[Result], list[Collected]]:
    """Results, and what was found on boards."""
    results, boards = [], []
    for name in names:
        path = collected.find(name) or store.locate(name)
        if collected.is_collected(path):
            boards.append(collected.load(path))
        else:
            results.append(store.load(path))
    return results, boards


# -- the data of the templates


@dataclass(frozen=True)
class Agreement:
    """How alike two configurations answer, over all pictures; ``cosine`` is the smallest."""

    of: str
    against: str
    pictures: int
    top1_equal: int
    top5_shared: float
    cosine: float | None


@dataclass(frozen=True)
class PlacedPlot:
    """A plot and its heading."""

    heading: str
    drawing: Plot


@dataclass(frozen=True)
class ModelView:
    """The part of the page about one model."""

    model: Model
    speedups: list[figures.Speedup]
    shares: list[figures.Share]
    beside_study: bool
    study_same: bool
    pictures: list[Picture]
    agreements: list[Agreement]
    plots: Sequence[PlacedPlot]


@dataclass(frozen=True)
class ResultView:
    """The part of the page about one result."""

    result: Result
    notices: list[str]
    context: list[tuple[str, str]]
    models: list[ModelView]


def view(result: Result, drawn: Sequence[Sequence[PlacedPlot]]) -> ResultView:
    """The data of the templates; ``drawn`` holds the plots of each model."""
    measured = [model for model in result.models if model.measured]
    studied = next(filter(_is_of_study, measured), measured[0] if measured else None)
    return ResultView(
        result,
        notices(result),
        context(result),
        [
            ModelView(
                model=model,
                speedups=figures.speedups(result, model),
                shares=figures.shares(result, model),
                beside_study=model is studied,
                study_same=_is_of_study(model),
                pictures=_pictures(model),
                agreements=list(_agreements(model)),
                plots=placed,
            )
            for model, placed in zip(result.models, drawn, strict=True)
        ],
    )


def _plots(result: Result, model: Model, prefix: str) -> list[PlacedPlot]:
    if not model.measured:
        return []
    drawings = [
        ("Where the time goes", plots.stages(result, model, prefix)),
        ("How the times spread", plots.distribution(result, model, prefix)),
        ("Roofline", plots.roofline(result, model, prefix)),
    ]
    return [PlacedPlot(heading, drawing) for heading, drawing in drawings if drawing is not None]


def _is_of_study(model: Model) -> bool:
    plain = model.title.lower().replace("-", "").replace(" ", "")
    return "mobilenetv2" in plain and (model.input.width, model.input.height) == (224, 224)


def _pictures(model: Model) -> list[Picture]:
    """The pictures of all measured configurations, each once."""
    pictures: dict[str, Picture] = {}
    for picture in (picture for c in model.measured for picture in c.pictures):
        pictures.setdefault(picture.path, picture)
    return list(pictures.values())


def _agreements(model: Model) -> Iterator[Agreement]:
    for of, against in dict.fromkeys((c.of, c.against) for c in model.comparisons):
        pictures = [c for c in model.comparisons if (c.of, c.against) == (of, against)]
        yield Agreement(
            of=of,
            against=against,
            pictures=len(pictures),
            top1_equal=sum(c.top1_equal for c in pictures),
            top5_shared=sum(c.top5_shared for c in pictures) / len(pictures),
            cosine=min((c.cosine for c in pictures if c.cosine is not None), default=None),
        )


def notices(result: Result) -> list[str]:
    """What makes figures unfit, shown before them; the board's own warnings come first."""
    lines = list(result.warnings)
    if not result.clock_set:
        lines.append("the board's clock was not set: the date is not that of the run")
    for model in result.models:
        for configuration in model.configurations:
            name = f"{model.name} {configuration.title}"
            if configuration.failure:
                continue
            if not configuration.measured:
                lines.append(f"{name}: no sample at all")
            elif configuration.runs < FEWEST_SAMPLES:
                lines.append(f"{name}: {configuration.runs} runs are too few for any statement")
            if broken := sum(p.broken for p in configuration.pictures):
                lines.append(f"{name}: {broken} times are not numbers and were left out")
            if configuration.file.verified == "no":
                lines.append(f"{name}: the model file is not the one that its card names")
            if configuration.engine == "cpu" and "WITHOUT XNNPACK" in configuration.line:
                lines.append(f"{name}: ran {configuration.line}; such a baseline is slow")
    return lines


def context(result: Result) -> list[tuple[str, str]]:
    """The circumstances of the figures; rows whose value is not known are left out."""
    before, after, system, options = result.before, result.after, result.system, result.options
    image = result.image
    celsius = [state.temperature_celsius for state in (before, after)]
    npu_mhz, npu_source = figures.npu_clock(result)
    rows = [
        ("Board", result.board),
        ("Why emulated", system.emulated_because if result.emulated else ""),
        ("Processor", _words(system.cpu.model, system.cpu.hardware)),
        ("Kernel", _words(system.kernel.release, system.kernel.machine)),
        ("Image", _words(image.variant, image.commit)),
        ("Built", image.build_date),
        ("Deployed since", system.deployed),
        ("NPU driver", system.npu_driver),
        ("NPU clock", f"{npu_mhz:.0f} MHz, {npu_source}" if math.isfinite(npu_mhz) else ""),
        # An emulated clock only says how fast the host emulates.
        ("CPU clock before", "" if result.emulated else _megahertz(before)),
        ("CPU clock after", "" if result.emulated else _megahertz(after)),
        ("Governor", result.governor.used or before.governor),
        ("Temperature", " → ".join(f"{c:.0f} °C" for c in celsius if c is not None)),
        ("Memory", _mib(system.memory_kib)),
        ("CMA", _mib(system.cma_kib)),
        ("Free before the run", _mib(before.available_kib)),
        ("Load average before", _words(before.load_1min)),
        ("Suite", _suite(result)),
        ("Protocol", _protocol(result)),
        ("Order", options.order),
        ("Program", _words(result.program.name, result.program.version)),
        ("Schema", result.version),
        ("Ended", result.ended if result.clock_set else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _words(*facts: object) -> str:
    return " ".join(str(fact) for fact in facts if fact)


def _megahertz(state: State) -> str:
    clocks = ((state.cpu_mhz_measured, "measured"), (state.cpu_mhz_sysfs, "by sysfs"))
    return ", ".join(f"{clock:.0f} MHz {source}" for clock, source in clocks if clock)


def _mib(kib: float | None) -> str:
    return "" if kib is None else f"{kib / 1024:.1f} MiB"


def _suite(result: Result) -> str:
    if result.options.mlperf_style:
        return "in MLPerf's manner (single stream): look at median and p90; not an MLPerf result"
    if result.options.quick:
        return "quick: every picture once, to see that all is right; too few runs for statistics"
    return ""


def _protocol(result: Result) -> str:
    options = result.options

    def counted(number: float, word: str) -> str:
        return f"{number:g} {word}" if number == 1 else f"{number:g} {word}s"

    return (
        f"{counted(options.rounds, 'round')}; in each, for every picture: "
        f"{options.warmup_runs:g} warm-up, then at least {counted(options.min_runs, 'run')} and "
        f"{options.min_secs:g} s, at most {options.max_secs:g} s; "
        f"{counted(options.threads, 'thread')}"
    )


# -- the page and its Markdown twin


def html(views: Sequence[ResultView], boards: Sequence[Collected] = ()) -> str:
    """The page: everything it needs is inside."""
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    template = _environment(autoescape=True).get_template("page.html.j2")
    return template.render(**_heading(views, boards), views=views, boards=boards, css=css)


def markdown(views: Sequence[ResultView], boards: Sequence[Collected] = ()) -> str:
    """The same as text; plots are files beside it."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    text = template.render(**_heading(views, boards), views=views, boards=boards)
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


def _heading(views: Sequence[ResultView], boards: Sequence[Collected]) -> dict[str, Any]:
    labels = [v.result.label for v in views if v.result.label]
    if not views:
        lead = " · ".join(board.board for board in boards)
    elif len(views) == 1:
        first = views[0].result
        when = first.ended.replace("T", " ").rstrip("Z") + " UTC" if first.clock_set else ""
        variant = first.image.variant
        parts = [first.board, f"image {variant}" if variant else "", when]
        lead = " · ".join(part for part in parts if part)
    else:
        lead = f"{len(views)} results"
    return {
        "title": "NPU and CPU inference on Luckfox Pico",
        "lead": lead,
        "label": labels[0] if labels else "",
    }


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(summary=figures.summary, study=figures.STUDY)
    environment.filters.update(
        ms=figures.milliseconds,
        ratio=figures.ratio,
        times=lambda value: figures.TIMES + figures.significant(value),
        ms_of=figures.estimate_ms,
        ms_bounds=figures.bounds_ms,
        percent=figures.percent,
        digits=figures.significant,
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
