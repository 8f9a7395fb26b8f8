"""From a drawing function to an SVG that suits light and dark, and to a PNG.

For the SVG colours are drawn as marks that become CSS variables of the page; the PNG is drawn
again with the light colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pico_image.base.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The colours of a PNG. The page's CSS has a variable of each name, for light and for dark.
LIGHT = {
    "ink": "#1b2330",
    "faint": "#5d6878",
    "grid": "#e1e5eb",
    "paper": "#ffffff",
    "alarm": "#b3261e",
    "decode": "#66758a",
    "prepare": "#a8650c",
    "inference": "#1f6fd6",
    "post": "#8357bd",
    "cpu-float32": "#bd5318",
    "cpu-int8": "#17836a",
    "npu-int8": "#1f6fd6",
}
#: Colours that no plot uses: where one stands in the SVG, the variable of its name is put.
MARKS = {name: f"#0101{number:02x}" for number, name in enumerate(LIGHT, start=1)}
#: Inches; a page 1080 px wide shows the wide one at about its size, a phone the narrow one.
WIDE, NARROW = 9.6, 4.0
PNG_DPI = 160


@dataclass(frozen=True)
class Canvas:
    """What a drawing function gets: an empty figure, the colours, how wide it may be."""

    figure: Figure
    colours: Mapping[str, str]
    narrow: bool


@dataclass(frozen=True)
class Plot:
    """One plot: its name, what it shows in words, the drawings."""

    name: str
    caption: str
    wide: str
    narrow: str
    png: bytes


def draw(
    name: str,
    caption: str,
    heights: tuple[float, float],
    body: Callable[[Canvas], None],
    label: str,
) -> Plot:
    """Draw wide and narrow (``heights`` in inches), and as PNG.

    ``label`` (EMULATED CPU ...) is written across each drawing, so that it stays with a drawing
    that is taken out of the report. Raises UserError without matplotlib.
    """
    return Plot(
        name,
        caption,
        _svg(_figure(WIDE, heights[0], body, MARKS, label), f"{name}-w"),
        _svg(_figure(NARROW, heights[1], body, MARKS, label), f"{name}-n"),
        _png(_figure(WIDE, heights[0], body, LIGHT, label)),
    )


def _settings(colours: Mapping[str, str]) -> dict[str, Any]:
    return {
        "font.size": 9.5,
        "axes.edgecolor": colours["grid"],
        "axes.facecolor": "none",
        "axes.labelcolor": colours["faint"],
        "axes.titlecolor": colours["ink"],
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": colours["grid"],
        "grid.linewidth": 0.8,
        "text.color": colours["ink"],
        "xtick.color": colours["grid"],
        "ytick.color": colours["grid"],
        "xtick.labelcolor": colours["faint"],
        "ytick.labelcolor": colours["faint"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "hatch.color": colours["paper"],
        "svg.fonttype": "none",
    }


def _figure(
    width: float,
    height: float,
    body: Callable[[Canvas], None],
    colours: Mapping[str, str],
    label: str,
) -> Figure:
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError(
            f"could not find the Python package {error.name}, which is needed to draw plots",
            hint="./inv report installs it; without ./inv: pip install -r requirements/report.txt",
        ) from error
    # Reset first: a user's own matplotlibrc must not change how reports look.
    with style.context(_settings(colours), after_reset=True):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_facecolor("none" if colours is MARKS else colours["paper"])
        narrow = width == NARROW
        body(Canvas(figure, colours, narrow))
        if label:
            figure.text(
                0.5,
                0.5,
                label.replace(" · ", "\n"),
                color=colours["alarm"],
                alpha=0.2,
                fontsize=22 if narrow else 28,
                weight="bold",
                ha="center",
                va="center",
                rotation=9,
                zorder=10,
            )
        return figure


def _svg(figure: Figure, salt: str) -> str:
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Identifiers of several drawings on one page must not meet.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{salt}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{salt}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{salt}-\1)", text)
    text = re.sub(r"font: [^;\"]+", _page_font, text)
    for name, sign in MARKS.items():
        text = text.replace(sign, f"var(--{name})")
    size = re.search(r'viewBox="([^"]+)"', text)
    assert size is not None, "matplotlib wrote an SVG without viewBox"
    return re.sub(r"^<svg[^>]*", f'<svg viewBox="{size[1]}" aria-hidden="true"', text).strip()


def _page_font(match: re.Match[str]) -> str:
    """``font: bold 9px 'DejaVu Sans', ...``: keep size and weight, the family is the page's."""
    size = re.search(r"[\d.]+px", match[0])
    weight = re.search(r"\b(bold|[1-9]00)\b", match[0])
    words = [f"font-size: {size[0]}"] if size else []
    return "; ".join([*words, f"font-weight: {weight[0]}"] if weight else words)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return stream.getvalue()
