"""The bootstrap of medians, against numpy and scipy and on samples that broken boards give."""

from __future__ import annotations

import math
import random

import numpy
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as some

from pico_image.results import statistics

TIMES = some.floats(min_value=0, max_value=1e9, allow_nan=False)


def latencies(count: int, seed: int = 1, centre: float = 1000.0) -> list[float]:
    """Skewed like real ones: a floor and a tail (log-normal above it)."""
    generator = random.Random(seed)
    return sorted(centre + generator.lognormvariate(2.0, 1.0) for _ in range(count))


@given(some.lists(TIMES, min_size=1, max_size=60), some.floats(min_value=0, max_value=100))
def test_percentile_is_that_of_numpy(samples: list[float], percent: float) -> None:
    ours = statistics.percentile(sorted(samples), percent)
    assert ours == pytest.approx(float(numpy.percentile(samples, percent)), rel=1e-9, abs=1e-9)


@given(some.lists(some.floats(min_value=1, max_value=1e6), min_size=2, max_size=60))
def test_variation_is_that_of_scipy(samples: list[float]) -> None:
    expected = float(scipy.stats.variation(samples, ddof=1))
    assert statistics.coefficient_of_variation(samples) == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("count", [7, 8, 25, 60])
def test_drawing_a_median_directly_is_the_same_as_resampling(count: int) -> None:
    """Kolmogorov-Smirnov distance between our draws and medians of numpy's resamples."""
    samples = latencies(count)
    generator = random.Random(3)
    ours = [statistics.resampled_median(samples, generator) for _ in range(20_000)]
    resamples = numpy.random.default_rng(4).choice(samples, (20_000, count))
    theirs = numpy.median(resamples, axis=1)
    points = numpy.unique(theirs)
    ours_below = numpy.searchsorted(numpy.sort(ours), points, "right") / 20_000
    theirs_below = numpy.searchsorted(numpy.sort(theirs), points, "right") / 20_000
    # 1.95 * sqrt(2/n) is the distance of two such sets at p = 0.001.
    assert numpy.abs(ours_below - theirs_below).max() < 1.95 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("count", [11, 40, 200])
def test_interval_is_that_of_scipy(count: int) -> None:
    samples = latencies(count)
    ours = statistics.median_interval(samples, confidence=0.95, replicates=20_000)
    theirs = scipy.stats.bootstrap(
        (samples,),
        numpy.median,
        method="percentile",
        n_resamples=20_000,
        confidence_level=0.95,
        rng=numpy.random.default_rng(5),
    ).confidence_interval
    spread = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * spread)
    assert ours.estimate == pytest.approx(float(numpy.median(samples)))


def test_interval_of_a_ratio_is_that_of_scipy() -> None:
    slow, fast = latencies(80, seed=1, centre=1481), latencies(60, seed=2, centre=15)
    ours = statistics.ratio_interval([(slow, fast)], replicates=20_000)
    theirs = scipy.stats.bootstrap(
        (slow, fast),
        lambda a, b, axis: numpy.median(a, axis=axis) / numpy.median(b, axis=axis),
        method="percentile",
        n_resamples=20_000,
        vectorized=True,
        rng=numpy.random.default_rng(6),
    ).confidence_interval
    spread = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * spread)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """400 experiments with 30 samples of a log-normal, whose median is exp(mu)."""
    generator = random.Random(7)
    covered = 0
    for _ in range(400):
        samples = sorted(generator.lognormvariate(2.0, 0.5) for _ in range(30))
        interval = statistics.median_interval(samples, confidence=0.95, replicates=400)
        covered += not interval.excludes(math.exp(2.0))
    # Binomial(400, 0.95) lies within 366 to 393 in all but 1 of 1000 cases.
    assert covered >= 366


def test_equal_samples_have_no_spread() -> None:
    interval = statistics.ratio_interval([([7.0] * 30, [7.0] * 12)])
    assert (interval.low, interval.estimate, interval.high) == (1.0, 1.0, 1.0)


def test_one_run_gives_an_estimate_without_bounds() -> None:
    interval = statistics.ratio_interval([([30.0], [10.0])])
    assert interval.estimate == 3.0
    assert not interval.known
    assert not interval.excludes(1.0)


def test_huge_outlier_does_not_move_the_interval() -> None:
    samples = latencies(50)
    clean = statistics.median_interval(samples)
    dirty = statistics.median_interval([*samples[:-1], 1e15])
    assert dirty == clean


def test_what_is_no_time_is_left_out() -> None:
    samples = [3.0, None, math.nan, 1.0, math.inf, -5.0, 0.0, 2.0]
    assert statistics.usable(samples) == [0.0, 1.0, 2.0, 3.0]
    assert statistics.usable([None, math.nan]) == []


def test_no_samples_and_a_clock_that_stands_still_have_no_ratio() -> None:
    assert math.isnan(statistics.ratio_interval([]).estimate)
    assert math.isnan(statistics.ratio_interval([([], [1.0] * 9)]).estimate)
    still = statistics.ratio_interval([([1.0] * 9, [0.0] * 9)])
    assert math.isnan(still.estimate)
    assert not still.known
    # Mostly still: the median is 0 in some resamples only.
    odd = statistics.ratio_interval([([1.0] * 9, [0.0] * 4 + [1.0] * 5)])
    assert not odd.known


def test_pictures_are_compared_each_with_itself() -> None:
    """A picture that decodes ten times slower, with other counts, must not move the ratio."""
    small, large = latencies(40, 1, 100.0), latencies(40, 2, 1000.0)
    half = [(small, [2 * s for s in small]), (large[::4], sorted(2 * s for s in large))]
    interval = statistics.ratio_interval(half)
    assert interval.estimate == pytest.approx(0.5, rel=0.02)
    assert interval.low < 0.5 < interval.high


def test_same_samples_same_interval() -> None:
    samples = latencies(33)
    assert statistics.median_interval(samples) == statistics.median_interval(samples)
