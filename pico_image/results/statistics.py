"""Medians of latency samples, and how sure one can be of them and of their ratio.

Latencies are skewed and have outliers, so nothing here assumes a normal distribution: the
centre is the median and its uncertainty the percentile bootstrap (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Below this the bootstrap of a median knows little more than the smallest and largest sample:
#: with 5 samples, an interval from minimum to maximum covers the median in 94 % of all cases.
FEWEST_SAMPLES = 6
#: The tails of the narrowest interval that `compare` asks for hold a dozen of them.
REPLICATES = 3_000
CONFIDENCE = 0.95
#: No run takes 30 years (in microseconds); the square of 1e308 is no number.
LONGEST = 1e15
#: The result must not change from one call to the next.
SEED = 20_250_701


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval, in the unit of the samples."""

    estimate: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Are there bounds at all? (Too few samples give NaN.)"""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def excludes(self, value: float) -> bool:
        """Is ``value`` outside of the bounds? False when there are none."""
        return self.known and not self.low <= value <= self.high


def usable(samples: Iterable[float | None]) -> list[float]:
    """Samples that can be times: not negative and under LONGEST, in ascending order.

    A board whose clock breaks gives NaN (``null`` in JSON), infinite or negative times. They
    are left out here; the caller reports how many by comparing lengths.
    """
    return sorted(float(s) for s in samples if s is not None and 0 <= s < LONGEST)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Percentile of ascending samples, interpolated linearly (Hyndman-Fan type 7, as on the board).

    NaN without samples.
    """
    if not ordered:
        return math.nan
    rank = percent / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    # Exact when both are equal, so that a set of equal samples has no spread.
    return low if low == high else low + (high - low) * (rank - below)


def median(ordered: Sequence[float]) -> float:
    """Median of ascending samples; NaN without samples."""
    return percentile(ordered, 50)


def coefficient_of_variation(samples: Sequence[float]) -> float:
    """Sample standard deviation (n - 1) over the mean; NaN below two samples or at mean 0."""
    count = len(samples)
    if count < 2:
        return math.nan
    mean = math.fsum(samples) / count
    if mean == 0:
        return math.nan
    variance = math.fsum((s - mean) ** 2 for s in samples) / (count - 1)
    return math.sqrt(variance) / mean


def resampled_median(ordered: Sequence[float], generator: random.Random) -> float:
    """The median of one bootstrap resample, drawn without making the resample.

    A resample of n samples picks n of the order statistics with replacement: it is
    ``ordered[floor(n * u)]`` for n uniform u. Its own k-th order statistic therefore needs only
    the k-th smallest u, which is Beta(k, n - k + 1) distributed, and for an even n the next
    one, which given the first is the smallest of n - k uniforms above it. This is the exact
    bootstrap distribution at a cost that does not grow with n (David and Nagaraja, Order
    Statistics, 2003, section 2).
    """
    count = len(ordered)
    middle = (count + 1) // 2
    first = generator.betavariate(middle, count - middle + 1)
    low = ordered[min(int(first * count), count - 1)]
    if count % 2:
        return low
    rest = 1 - generator.random() ** (1 / (count - middle))
    second = first + (1 - first) * rest
    high = ordered[min(int(second * count), count - 1)]
    return (low + high) / 2


def median_interval(
    ordered: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    replicates: int = REPLICATES,
) -> Interval:
    """The median of ascending samples with its bootstrap interval."""
    centre = median(ordered)
    if len(ordered) < FEWEST_SAMPLES:
        return Interval(centre, math.nan, math.nan)
    generator = random.Random(SEED)
    draws = sorted(resampled_median(ordered, generator) for _ in range(replicates))
    return _bounds(centre, draws, confidence)


def ratio_interval(
    strata: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    confidence: float = CONFIDENCE,
    replicates: int = REPLICATES,
) -> Interval:
    """The ratio of medians, numerator to denominator, with its bootstrap interval.

    Each stratum (a picture) is a pair of independent sets of ascending samples; strata differ in
    level and in how many samples they have, so each is resampled for itself and the result is
    the geometric mean of their ratios. Samples of one set count as independent: drift within a
    run makes the true interval wider than the one given here.

    NaN when there is no stratum, or a median is missing or 0 (a stopped clock).
    """
    centre = _geometric_mean([_divide(median(a), median(b)) for a, b in strata])
    if not strata or min(min(len(a), len(b)) for a, b in strata) < FEWEST_SAMPLES:
        return Interval(centre, math.nan, math.nan)
    generator = random.Random(SEED)
    draws = [
        _geometric_mean(
            [
                _divide(resampled_median(a, generator), resampled_median(b, generator))
                for a, b in strata
            ]
        )
        for _ in range(replicates)
    ]
    if not all(map(math.isfinite, draws)):
        return Interval(centre, math.nan, math.nan)
    return _bounds(centre, sorted(draws), confidence)


def _divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _geometric_mean(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    if not values or not all(math.isfinite(v) and v > 0 for v in values):
        return math.nan
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _bounds(estimate: float, draws: Sequence[float], confidence: float) -> Interval:
    tail = (1 - confidence) / 2 * 100
    return Interval(estimate, percentile(draws, tail), percentile(draws, 100 - tail))
