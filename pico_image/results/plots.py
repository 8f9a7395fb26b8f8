"""The plots of a report: stages, distribution, roofline."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pico_image.base.drawing import Canvas, Plot, draw
from pico_image.results import figures
from pico_image.results.result import STAGES, Configuration, Model, Result
from pico_image.results.statistics import FEWEST_SAMPLES, median, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A run so many times slower than the median gets a logarithmic axis.
FAR_OUT = 10
#: More dots than this (thousands of NPU runs) make the SVG heavy and show nothing more.
DOTS_SHOWN = 250


def colour_of(canvas: Canvas, configuration: Configuration) -> str:
    name = f"{configuration.engine}-{configuration.precision}"
    return canvas.colours.get(name, canvas.colours["faint"])


def stages(result: Result, model: Model, prefix: str) -> Plot:
    """Stacked bars of the mean time of each stage: in milliseconds, and as share of the total."""
    rows = list(reversed(model.measured))

    def body(canvas: Canvas) -> None:
        from matplotlib.patches import Patch

        grid = (2, 1) if canvas.narrow else (1, 2)
        both = canvas.figure.subplots(*grid, sharey=not canvas.narrow)
        for axes, relative in zip(both, (False, True), strict=True):
            _stage_bars(canvas, axes, rows, relative)
        canvas.figure.legend(
            handles=[Patch(color=canvas.colours[stage], label=stage) for stage in STAGES],
            loc="outside lower center",
            ncols=4,
            frameon=False,
            columnspacing=1.2,
            handlelength=1.2,
        )

    caption = (
        f"{model.title}: mean time of each stage over all pictures and runs, in milliseconds and "
        "as share of the total."
    )
    heights = (1.2 + 0.42 * len(rows), 1.8 + 0.8 * len(rows))
    return draw(f"{prefix}stages-{_file_name(model)}", caption, heights, body, result.label)


def _stage_bars(canvas: Canvas, axes: Axes, rows: Sequence[Configuration], relative: bool) -> None:
    longest = max(sum(figures.stage_means(c).values()) for c in rows) / 1000
    for place, configuration in enumerate(rows):
        means = figures.stage_means(configuration)
        whole = sum(means.values()) or 1.0
        left = 0.0
        for stage in STAGES:
            width = 100 * means[stage] / whole if relative else means[stage] / 1000
            axes.barh(
                place,
                width,
                left=left,
                height=0.6,
                color=canvas.colours[stage],
                hatch="//" if configuration.simulated else None,
                linewidth=0,
            )
            if relative and width >= 10 and not configuration.simulated:
                axes.text(
                    left + width / 2,
                    place,
                    f"{width:.0f} %",
                    color=canvas.colours["paper"],
                    ha="center",
                    va="center_baseline",
                    fontsize=8.5,
                    weight="bold",
                )
            left += width
        if not relative:
            axes.text(
                left + longest * 0.015, place, figures.milliseconds(whole), va="center_baseline"
            )
    axes.set_yticks(range(len(rows)), [c.title for c in rows], color=canvas.colours["ink"])
    axes.set_title("share of the total [%]" if relative else "mean time [ms]")
    axes.set_xlim(0, 100 if relative else longest * 1.22)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(_plain)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    _bare(axes, grid="x")


def distribution(result: Result, model: Model, prefix: str) -> Plot:
    """Inference time of every run in order, and beside it how often each time was seen."""
    rows = model.measured

    def body(canvas: Canvas) -> None:
        engine = canvas.figure.get_layout_engine()
        assert engine is not None
        engine.set(wspace=0.06)  # type: ignore[call-arg, unused-ignore]
        down, across = (len(rows), 1) if canvas.narrow else (1, len(rows))
        grid = canvas.figure.subplots(down, 2 * across, width_ratios=[3, 1] * across, squeeze=False)
        for (order, histogram), configuration in zip(grid.reshape(-1, 2), rows, strict=True):
            histogram.sharey(order)
            _runs(canvas, order, configuration)
            _histogram(canvas, histogram, configuration)

    shown = any(_enough(configuration.times("inference")) for configuration in rows)
    histogram = " and its histogram; the lines are p50, p90 and p99" if shown else ""
    caption = (
        f"{model.title}: inference time of every run in the order of the runs (all pictures over "
        f"each other){histogram}. Each has its own scale."
    )
    heights = (2.8, 0.3 + 1.9 * len(rows))
    return draw(f"{prefix}distribution-{_file_name(model)}", caption, heights, body, result.label)


def _plain(value: float, _: float) -> str:
    return f"{value:g}"


def _runs(canvas: Canvas, axes: Axes, configuration: Configuration) -> None:
    from matplotlib.ticker import NullLocator

    for picture in configuration.pictures:
        points = [
            (number, sample / 1000)
            for number, sample in enumerate(picture.stages.inference.samples, start=1)
            if sample is not None
        ]
        shown = points[:: math.ceil(len(points) * len(configuration.pictures) / DOTS_SHOWN) or 1]
        axes.plot(
            [number for number, _ in shown],
            [time for _, time in shown],
            linestyle="none",
            marker="o",
            markersize=3.2 if len(points) > FEWEST_SAMPLES else 6,
            markeredgewidth=0,
            alpha=0.55,
            color=colour_of(canvas, configuration),
        )
    axes.set_title(f"{configuration.title} [ms]")
    axes.locator_params(axis="x", integer=True, nbins=5)
    most = max((len(p.stages.inference.samples) for p in configuration.pictures), default=0)
    if most <= 2:  # not 0.95 to 1.05, nor a tick at run 1.2
        axes.set_xlim(0.5, most + 0.5)
        axes.set_xticks(range(1, most + 1))
    axes.set_xlabel("run")
    low, high = axes.get_ylim()
    if high - low < 0.004 * high:  # equal times: do not blow rounding errors up to a plot
        axes.set_ylim(low * 0.98, high * 1.02)
    if _far_out(configuration.times("inference")):  # else all others are one flat line
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_plain)
    else:
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    _bare(axes, grid="y")


def _enough(times: Sequence[float]) -> bool:
    """Bars and percentiles of three runs would be an invention."""
    return len(times) >= FEWEST_SAMPLES


def _far_out(times: Sequence[float]) -> bool:
    return bool(times) and times[0] > 0 and times[-1] > FAR_OUT * median(times)


def _histogram(canvas: Canvas, axes: Axes, configuration: Configuration) -> None:
    times = [time / 1000 for time in configuration.times("inference")]
    if not _enough(times):
        axes.set_axis_off()
        return
    if times[-1] > times[0]:
        count = min(40, max(10, len(times) // 4))
        step = (times[-1] / times[0]) ** (1 / count)
        edges = [times[0] * step**number for number in range(count + 1)]
        edges[-1] = times[-1]  # not a rounding error below it
        axes.hist(
            times,
            bins=edges if _far_out(configuration.times("inference")) else count,
            orientation="horizontal",
            color=colour_of(canvas, configuration),
            alpha=0.5,
        )
    for percent in (50, 90, 99):
        axes.axhline(percentile(times, percent), color=canvas.colours["ink"], linewidth=0.9)
    axes.set_xticks([])
    axes.tick_params(labelleft=False)
    _bare(axes, grid="y")


def roofline(result: Result, model: Model, prefix: str) -> Plot | None:
    """Operations a second below the ceilings of the engines; None without known clocks."""
    rows = [
        (share, configuration)
        for share, configuration in zip(figures.shares(result, model), model.measured, strict=True)
        if not share.withheld and math.isfinite(share.intensity)
    ]
    if not rows:
        return None

    def body(canvas: Canvas) -> None:
        from matplotlib.ticker import NullFormatter

        axes = canvas.figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        spots = [share.intensity for share, _ in rows]
        axes.set_xlim(min(spots) / 5, max(spots) * 5)
        axes.set_ylim(min(s.achieved for s, _ in rows) / 3, max(s.peak for s, _ in rows) * 3)
        for share, configuration in rows:
            _ceiling(canvas, axes, share, colour_of(canvas, configuration))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("operations per byte of the model file")
        axes.set_title("10⁹ operations a second")
        _bare(axes, grid="both")

    caption = (
        f"{model.title}: 10⁹ operations a second at the median inference time (dots) below what "
        "the engine can do at most at its clock (lines). Memory bandwidth is not measured, so "
        "there is no slope."
    )
    return draw(f"{prefix}roofline-{_file_name(model)}", caption, (3.4, 3.6), body, result.label)


def _ceiling(canvas: Canvas, axes: Axes, share: figures.Share, colour: str) -> None:
    axes.axhline(share.peak, color=colour, linewidth=1.6)
    axes.text(
        axes.get_xlim()[0] * 1.08,
        share.peak * 1.12,
        f"{share.title}: {share.peak:.3g} at {share.clock_mhz:.0f} MHz",
        color=colour,
        fontsize=8.5,
    )
    axes.vlines(share.intensity, share.achieved, share.peak, color=colour, linestyle=":")
    axes.plot([share.intensity], [share.achieved], "o", color=colour, markersize=8)
    axes.annotate(
        f"{share.achieved:.3g}  ({share.fraction:.0%})",
        (share.intensity, share.achieved),
        xytext=(9, -3),
        textcoords="offset points",
        fontsize=8.5,
        bbox={"facecolor": canvas.colours["paper"], "linewidth": 0, "pad": 1.5, "alpha": 0.85},
    )


def _bare(axes: Axes, *, grid: str) -> None:
    axes.grid(True, axis=grid)  # type: ignore[arg-type, unused-ignore]
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _file_name(model: Model) -> str:
    """A model's name as part of a file name: it comes from a board, so it may hold anything."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", model.name).strip(".-") or "model"
