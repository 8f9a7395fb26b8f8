"""Reports: one self-contained page, Markdown and PNG plots of one or more benchmark results.

``make`` is what `invoke report` calls. The files of a report are written whole; the page last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, output_dir, write_text
from pico_image.results import page, plots, reading
from pico_image.results.result import Model, Result

PAGE_FILE = "index.html"
MARKDOWN_FILE = "report.md"


def make(console: Console, results: Sequence[Path | str], output: Path | None = None) -> Path:
    """Write ``index.html``, ``report.md`` and the plots as PNG; returns the page.

    ``results`` are files, folders or names under out/results; without any, the newest is taken.
    ``output`` is a folder, by default one under out/reports named after the (first) result.
    Raises UserError for a result that is missing, broken or of another schema.
    """
    read = [reading.load(reading.locate(name)) for name in results or ["latest"]]
    if output is None:
        more = f"-and-{len(read) - 1}-more" if len(read) > 1 else ""
        output = output_dir() / "reports" / (read[0].name + more)
    if output.exists() and not output.is_dir():
        raise UserError(
            f"{output} is not a folder; a report is a page with its plots beside it",
            hint="give --output the name of a folder",
        )
    views = []
    with console.progress("draw plots", sum(len(r.models) for r in read)) as bar:
        for number, result in enumerate(read, start=1):
            drawn = []
            for model in result.models:
                prefix = f"{number}-" if len(read) > 1 else ""
                drawn.append(_plots(result, model, prefix))
                bar.advance(note=model.name)
            views.append(page.view(result, drawn))
    for view in views:
        for part in view.models:
            for plot in part.plots:
                with atomic_write(output / plot.file) as stream:
                    stream.write(plot.drawing.png)
    write_text(output / MARKDOWN_FILE, page.markdown(views))
    write_text(output / PAGE_FILE, page.html(views))
    return output / PAGE_FILE


def _plots(result: Result, model: Model, prefix: str) -> list[page.PlacedPlot]:
    if not model.measured:
        return []
    drawings = [
        ("Where the time goes", plots.stages(result, model, prefix)),
        ("How the times spread", plots.distribution(result, model, prefix)),
        ("Roofline", plots.roofline(result, model, prefix)),
    ]
    return [
        page.PlacedPlot(heading, drawing, f"{drawing.name}.png")
        for heading, drawing in drawings
        if drawing is not None
    ]
