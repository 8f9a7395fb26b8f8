"""Figures as text, the same in the page, in Markdown and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pico_image.results.statistics import Interval

#: Stands where there is no figure.
NOTHING = "-"
TIMES = "\N{MULTIPLICATION SIGN}"


def milliseconds(us: float) -> str:
    """Microseconds as milliseconds with three digits or more."""
    if not math.isfinite(us):
        return NOTHING
    ms = us / 1000
    digits = 0 if ms >= 100 else 1 if ms >= 10 else 2 if ms >= 0.1 else 4
    return f"{ms:.{digits}f}"


def significant(value: float, digits: int | None = None) -> str:
    """Three digits (or ``digits`` after the point), without an exponent."""
    if not math.isfinite(value):
        return NOTHING
    if digits is None:
        digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _digits(interval: Interval, at_least: int = 0) -> int | None:
    """Digits after the point that still show two of the width; None without a width."""
    width = interval.high - interval.low
    if not interval.known or not width > 0:
        return None
    return min(6, max(at_least, 1 - math.floor(math.log10(width))))


def estimate_ms(interval: Interval) -> str:
    """The estimate of an interval in microseconds, as milliseconds."""
    scaled = _scaled(interval)
    digits = _digits(scaled)
    return milliseconds(interval.estimate) if digits is None else f"{scaled.estimate:.{digits}f}"


def bounds_ms(interval: Interval) -> str:
    """The bounds of an interval in microseconds, as milliseconds."""
    if not interval.known:
        return "too few runs"
    scaled = _scaled(interval)
    digits = _digits(scaled)
    if digits is None:
        return "no spread"
    return f"{scaled.low:.{digits}f} to {scaled.high:.{digits}f}"


def _scaled(interval: Interval) -> Interval:
    return Interval(interval.estimate / 1000, interval.low / 1000, interval.high / 1000)


def ratio(interval: Interval) -> str:
    """A factor with the bounds of its interval, where there are any."""
    if not math.isfinite(interval.estimate):
        return NOTHING
    digits = _digits(interval)
    text = TIMES + significant(interval.estimate, digits)
    if not interval.known:
        return f"{text} (too few runs for an interval)"
    if digits is None:
        return f"{text} (no spread)"
    return f"{text} ({significant(interval.low, digits)} to {significant(interval.high, digits)})"


def percent(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:.{digits}f} %" if math.isfinite(fraction) else NOTHING


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Columns of text; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
