"""What is derived from a result: speed-ups, shares of peak; and figures as text.

Nothing is derived from emulated or simulated times: the reason stands in place of the figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pico_image.results.result import STAGES, TOTAL, Configuration, Model, Result
from pico_image.results.statistics import (
    Interval,
    coefficient_of_variation,
    median,
    median_interval,
    percentile,
    ratio_interval,
)

UNKNOWN = Interval(math.nan, math.nan, math.nan)
#: Multiply-accumulates a cycle at most.
#: CPU float32: measured on Cortex-A7 with VFMA.F32, whose NEON adds and multiplies floats one at
#: a time (wlog.flatlib.jp/2014/02/14/n1680: 2.37 GFLOPS at 1.2 GHz).
#: CPU int8: the four products of one VMLAL.S16, if one were issued every cycle; ARMv7 has no 8-bit
#: dot product. A ceiling by the width of the data path, not a measurement.
#: NPU int8: the vendor's 0.5 TOPS at 500 MHz.
MACS_PER_CYCLE = {("cpu", "float32"): 1, ("cpu", "int8"): 4, ("npu", "int8"): 512}
PAIRS = (
    (("npu", "int8"), ("cpu", "float32")),
    (("npu", "int8"), ("cpu", "int8")),
    (("cpu", "int8"), ("cpu", "float32")),
)


@dataclass(frozen=True)
class StudyRow:
    """One configuration of the study that this project repeats; milliseconds."""

    title: str
    engine: str
    precision: str
    inference_ms: float
    total_ms: float


#: RV1103, MobileNetV2 at 224x224, one picture, TensorFlow Lite's C API against the NPU.
STUDY = (
    StudyRow("CPU float32", "cpu", "float32", 1481.0, 1738.0),
    StudyRow("NPU int8", "npu", "int8", 14.96, 67.6),
)


@dataclass(frozen=True)
class Summary:
    """One stage of one configuration, microseconds; NaN where there are no samples."""

    runs: int
    interval: Interval
    p90: float
    p99: float
    high: float
    variation: float


@dataclass(frozen=True)
class Speedup:
    """How much faster one configuration is than another, or why the ratio is withheld."""

    of: str
    against: str
    inference: Interval
    total: Interval
    withheld: str


@dataclass(frozen=True)
class Share:
    """Operations a second against the most that the engine can do at its clock."""

    title: str
    achieved: float  # 10^9 operations a second, 2 a multiply-accumulate
    peak: float
    clock_mhz: float
    clock_source: str
    macs_per_cycle: int
    intensity: float  # operations a byte of the model file, NaN when its size is not known
    withheld: str

    @property
    def fraction(self) -> float:
        return self.achieved / self.peak if self.peak else math.nan


def summary(configuration: Configuration, stage: str) -> Summary:
    """Figures of one stage over all pictures."""
    times = configuration.times(stage)
    return Summary(
        runs=len(times),
        interval=median_interval(times),
        p90=percentile(times, 90),
        p99=percentile(times, 99),
        high=times[-1] if times else math.nan,
        variation=_variation(configuration, stage),
    )


def _variation(configuration: Configuration, stage: str) -> float:
    """The largest of any picture: pictures differ among each other, which is no noise."""
    values = [coefficient_of_variation(p.times(stage)) for p in configuration.pictures]
    return max((v for v in values if math.isfinite(v)), default=math.nan)


def stage_means(configuration: Configuration) -> dict[str, float]:
    """Mean microseconds of each stage. Means add up to the mean total; medians would not."""
    means = {}
    for stage in STAGES:
        times = configuration.times(stage)
        means[stage] = math.fsum(times) / len(times) if times else 0.0
    return means


def paired(
    numerator: Configuration, denominator: Configuration, stage: str
) -> list[tuple[list[float], list[float]]]:
    """Samples of both for each picture that both have times of."""
    pairs = []
    for picture in numerator.pictures:
        other = denominator.picture(picture.path)
        if other is not None and picture.times(stage) and other.times(stage):
            pairs.append((picture.times(stage), other.times(stage)))
    return pairs


def speedups(result: Result, model: Model) -> list[Speedup]:
    """NPU against both CPU configurations, and the CPU's int8 against its float32."""
    rows = []
    for first, second in PAIRS:
        of, against = model.find(*first), model.find(*second)
        if of is None or against is None or not of.measured or not against.measured:
            continue
        withheld = _not_real(result, of, against)
        inference, total = (
            UNKNOWN if withheld else ratio_interval(paired(against, of, stage))
            for stage in ("inference", TOTAL)
        )
        rows.append(Speedup(of.title, against.title, inference, total, withheld))
    return rows


def _not_real(result: Result, *configurations: Configuration) -> str:
    """Why no ratio is derived from these times, "" when a board measured them."""
    if result.emulated:
        return "withheld: emulated CPU"
    return "withheld: simulated NPU" if any(c.simulated for c in configurations) else ""


def shares(result: Result, model: Model) -> list[Share]:
    """Share of peak of each measured configuration, at the clock that the result states."""
    return [_share(result, model, configuration) for configuration in model.measured]


def _share(result: Result, model: Model, configuration: Configuration) -> Share:
    per_cycle = MACS_PER_CYCLE.get((configuration.engine, configuration.precision), 0)
    clock, source = clock_of(result, configuration)
    inference = median(configuration.times("inference"))
    achieved = peak = math.nan
    withheld = _not_real(result, configuration)
    if withheld:
        pass
    elif model.macs is None:
        withheld = "the model card states no number of operations"
    elif not per_cycle:
        withheld = "no ceiling is known for this engine"
    elif not math.isfinite(clock):
        withheld = source
    elif not inference > 0:
        withheld = "no inference times"
    else:
        achieved = 2 * model.macs / inference / 1e3
        peak = 2 * per_cycle * clock / 1e3
    return Share(
        title=configuration.title,
        achieved=achieved,
        peak=peak,
        clock_mhz=clock,
        clock_source=source,
        macs_per_cycle=per_cycle,
        intensity=_intensity(model, configuration),
        withheld=withheld,
    )


def _intensity(model: Model, configuration: Configuration) -> float:
    if model.macs is None or not configuration.file.bytes:
        return math.nan
    return 2 * model.macs / configuration.file.bytes


def clock_of(result: Result, configuration: Configuration) -> tuple[float, str]:
    """MHz of the engine and how it is known; NaN and the reason when it is not."""
    if configuration.engine == "cpu":
        known = [s.cpu_mhz_measured for s in (result.before, result.after) if s.cpu_mhz_measured]
        if not known:
            return math.nan, "the CPU clock was not measured"
        return sum(known) / len(known), "measured by a loop of dependent instructions"
    return npu_clock(result)


def npu_clock(result: Result) -> tuple[float, str]:
    """MHz of the NPU and how it is known; NaN and the reason when it is not."""
    if megahertz := result.after.npu_mhz or result.before.npu_mhz:
        return megahertz, "as the NPU driver states it"
    text = result.after.npu_frequency or result.before.npu_frequency or ""
    number = re.search(r"\d+", text)
    if number is None:
        return math.nan, "the NPU driver states no frequency"
    hertz = float(number[0])
    return (hertz / 1e6 if hertz >= 1e5 else hertz), "as the NPU driver states it"


# -- figures as text, the same in the page, in Markdown and on the terminal

#: In place of an unknown figure.
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


def _digits(interval: Interval) -> int | None:
    """Digits after the point that still show two of the width; None without a width."""
    width = interval.high - interval.low
    if not interval.known or not width > 0:
        return None
    return min(6, max(0, 1 - math.floor(math.log10(width))))


def estimate_ms(interval: Interval) -> str:
    """The estimate of an interval in microseconds, as milliseconds."""
    digits = _digits(_in_ms(interval))
    if digits is None:
        return milliseconds(interval.estimate)
    return f"{interval.estimate / 1000:.{digits}f}"


def bounds_ms(interval: Interval) -> str:
    """The bounds of an interval in microseconds, as milliseconds."""
    if not interval.known:
        return "too few runs"
    in_ms = _in_ms(interval)
    digits = _digits(in_ms)
    return "no spread" if digits is None else f"{in_ms.low:.{digits}f} to {in_ms.high:.{digits}f}"


def _in_ms(interval: Interval) -> Interval:
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


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %" if math.isfinite(fraction) else NOTHING


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Columns of text; the first row is the heading. Control characters of a board are left out."""
    cells = [["".join(filter(str.isprintable, text)) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
