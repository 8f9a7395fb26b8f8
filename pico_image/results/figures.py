"""What a report derives from a result: speed-ups, share of peak, the study beside it, context.

Nothing is derived from times that an emulator or a simulator made up: there the reason stands
where the figure would be.
"""

from __future__ import annotations

import math
import re
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

#: Multiply-accumulates a cycle at most.
#: CPU float32: measured on Cortex-A7 with VFMA.F32, whose NEON adds and multiplies floats one at
#: a time (wlog.flatlib.jp/2014/02/14/n1680: 2.37 GFLOPS at 1.2 GHz).
#: CPU int8: the four products of one VMLAL.S16, were it issued every cycle; ARMv7 has no 8-bit
#: dot product. A ceiling by the width of the data path, not a measurement.
#: NPU int8: what the vendor's 0.5 TOPS at 500 MHz amounts to.
MACS_PER_CYCLE = {("cpu", "float32"): 1, ("cpu", "int8"): 4, ("npu", "int8"): 512}
PAIRS = (
    (("npu", "int8"), ("cpu", "float32")),
    (("npu", "int8"), ("cpu", "int8")),
    (("cpu", "int8"), ("cpu", "float32")),
)
#: A coefficient of variation beyond this is told (the board warns at the same value).
NOISY = 0.025


@dataclass(frozen=True)
class StudyRow:
    """One configuration of the study that this project repeats; milliseconds."""

    title: str
    engine: str
    precision: str
    inference_ms: float
    total_ms: float


#: RV1103, MobileNetV2 at 224x224, one picture, TensorFlow Lite's C API against the NPU.
STUDY_MODEL = "MobileNetV2 224"
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
    low: float
    high: float
    variation: float


@dataclass(frozen=True)
class Speedup:
    """How much faster one configuration is than another, or why that is not said."""

    of: str
    against: str
    inference: Interval
    total: Interval
    withheld: str = ""


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
    withheld: str = ""

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
        low=times[0] if times else math.nan,
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
    slower: Configuration, faster: Configuration, stage: str
) -> list[tuple[list[float], list[float]]]:
    """Samples of both for each picture that both have times of."""
    pairs = []
    for picture in slower.pictures:
        other = faster.picture(picture.path)
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
        if not result.believable(of, against):
            why = "emulated CPU" if result.emulated else "simulated NPU"
            empty = Interval(math.nan, math.nan, math.nan)
            rows.append(Speedup(of.title, against.title, empty, empty, f"not said: {why}"))
            continue
        rows.append(
            Speedup(
                of.title,
                against.title,
                ratio_interval(paired(against, of, "inference")),
                ratio_interval(paired(against, of, TOTAL)),
            )
        )
    return rows


def shares(result: Result, model: Model) -> list[Share]:
    """Share of peak of each measured configuration, at the clock that the result states."""
    rows = []
    for configuration in model.measured:
        per_cycle = MACS_PER_CYCLE.get((configuration.engine, configuration.precision), 0)
        clock, source = clock_of(result, configuration)
        inference = median(configuration.times("inference"))
        achieved = peak = math.nan
        if not result.believable(configuration):
            withheld = "not said: emulated CPU" if result.emulated else "not said: simulated NPU"
        elif model.macs is None:
            withheld = "the model card states no number of operations"
        elif not per_cycle:
            withheld = "no ceiling is known for this engine"
        elif not math.isfinite(clock):
            withheld = source
        elif not inference > 0:
            withheld = "no inference times"
        else:
            withheld = ""
            achieved = 2 * model.macs / inference / 1e3
            peak = 2 * per_cycle * clock / 1e3
        rows.append(
            Share(
                configuration.title,
                achieved,
                peak,
                clock,
                source,
                per_cycle,
                _intensity(model, configuration),
                withheld,
            )
        )
    return rows


def _intensity(model: Model, configuration: Configuration) -> float:
    if model.macs is None or not configuration.model_bytes:
        return math.nan
    return 2 * model.macs / configuration.model_bytes


def clock_of(result: Result, configuration: Configuration) -> tuple[float, str]:
    """MHz of the engine and how it is known; NaN and the reason when it is not."""
    if configuration.engine == "cpu":
        values = [result.number(f"{when}.cpu_mhz_measured") for when in ("before", "after")]
        known = [v for v in values if v]
        if not known:
            return math.nan, "the CPU clock was not measured"
        return sum(known) / len(known), "measured by a loop of dependent instructions"
    return npu_clock(result)


def npu_clock(result: Result) -> tuple[float, str]:
    """MHz of the NPU and how it is known; NaN and the reason when it is not."""
    for when in ("after", "before"):
        megahertz = result.number(f"{when}.npu_mhz")
        if megahertz:
            return megahertz, "as the NPU driver states it"
    text = str(result.fact("after.npu_frequency") or result.fact("before.npu_frequency") or "")
    number = re.search(r"\d+", text)
    if number is None:
        return math.nan, "the NPU driver states no frequency"
    hertz = float(number[0])
    return (hertz / 1e6 if hertz >= 1e5 else hertz), "as the NPU driver states it"
