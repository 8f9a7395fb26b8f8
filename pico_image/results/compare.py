"""What is faster or slower beyond noise between two results.

Two configurations differ when the bootstrap interval of the ratio of their medians does not
hold 1. A difference counts as a regression when it is also larger than a threshold: within one
run the noise is small enough that differences nobody cares about are certain ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError
from pico_image.results import figures, store
from pico_image.results.result import TOTAL, Configuration, Model, Result
from pico_image.results.statistics import CONFIDENCE, Interval, median, ratio_interval

#: Percent; the default of ``--threshold``.
THRESHOLD = 5.0
STAGES_COMPARED = ("inference", TOTAL)
FASTER, SLOWER, SAME, UNDECIDED = "faster", "slower", "same", "undecided"
#: Facts that explain a difference before any change of ours does.
CONTEXT = (
    ("board", "system.board"),
    ("kernel", "system.kernel.release"),
    ("NPU driver", "system.npu_driver"),
    ("governor", "governor.used"),
    ("NPU clock", "after.npu_frequency"),
    ("deployed since the image", "system.deployed"),
    ("quick suite", "options.quick"),
    ("MLPerf's manner", "options.mlperf_style"),
    ("warm-up runs", "options.warmup_runs"),
    ("threads", "options.threads"),
    ("schema", "version"),
)


@dataclass(frozen=True)
class Pair:
    """One configuration of a model in result A (``old``) and in result B (``new``)."""

    model: str
    old: Configuration
    new: Configuration

    @property
    def name(self) -> str:
        return f"{self.model} {self.new.title}"


@dataclass(frozen=True)
class Line:
    """One stage of one configuration in both results; ``ratio`` is B's median to A's."""

    model: str
    configuration: str
    stage: str
    a_us: float
    b_us: float
    a_runs: int
    b_runs: int
    ratio: Interval
    verdict: str
    regression: bool


@dataclass(frozen=True)
class Comparison:
    """Two results compared. ``regressions`` is empty when B is not worse beyond the threshold."""

    a: str
    b: str
    label: str
    threshold: float
    confidence: float
    lines: list[Line]
    notes: list[str]
    regressions: list[str]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; what is not known (NaN) becomes null."""
        return dict(_without_nan(asdict(self)))

    def table(self) -> str:
        """For people."""
        rows = [("model", "configuration", "stage", "A [ms]", "B [ms]", "B / A", "verdict")]
        rows += [
            (
                line.model,
                line.configuration,
                line.stage,
                figures.milliseconds(line.a_us),
                figures.milliseconds(line.b_us),
                figures.ratio(line.ratio),
                line.verdict + (" REGRESSION" if line.regression else ""),
            )
            for line in self.lines
        ]
        text = [f"A {self.a}", f"B {self.b}", *([self.label] if self.label else []), ""]
        text += figures.aligned(rows, right=(3, 4))
        text += ["", *(f"note: {note}" for note in self.notes)]
        text += [f"regression: {regression}" for regression in self.regressions]
        text.append(
            f"ratios of medians, picture by picture; intervals by bootstrap, "
            f"{100 * self.confidence:.4g} % each so that all hold together with "
            f"{100 * CONFIDENCE:.0f} %; a regression is slower beyond noise and by more than "
            f"{self.threshold:g} %"
        )
        return "\n".join(text)


def compare(
    a: Path | str, b: Path | str, *, threshold: float = THRESHOLD, across: bool = False
) -> Comparison:
    """Compare result B with result A (files, folders, or names under out/results).

    ``threshold`` in percent. Raises UserError when a result is missing or broken, or when the
    two are of different kinds (a board and an emulator, other models) and ``across`` is not set;
    with it they are compared, labelled, and nothing counts as a regression.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise UserError(
            f"the threshold must be a percentage of 0 or more, not {threshold}",
            hint="--threshold 5 means: a slowdown of more than 5 % fails",
        )
    first, second = (store.load(store.locate(name)) for name in (a, b))
    mixed = mixture(first, second)
    if mixed and not across:
        raise UserError(
            f"{first.name} and {second.name} do not compare: {'; '.join(mixed)}",
            hint="compare results of one kind, or say --across to see the figures side by side",
        )
    pairs = list(_pairs(first, second))
    lost = [] if mixed else _lost(pairs)
    measured = [pair for pair in pairs if figures.paired(pair.old, pair.new, TOTAL)]
    if not measured and not lost:
        raise UserError(
            f"{first.name} and {second.name} have no configuration in common that was measured",
            hint=f"A has {_inventory(first)}; B has {_inventory(second)}",
        )
    # Bonferroni: with a dozen intervals of 95 % each, one excludes 1 by chance every other time.
    confidence = 1 - (1 - CONFIDENCE) / (max(1, len(measured)) * len(STAGES_COMPARED))
    # Nothing is a regression across kinds.
    limit = math.inf if mixed else 1 + threshold / 100
    lines, notes, regressions = [], _changed_context(first, second), []
    for pair in measured:
        notes += _notes(pair)
        for stage in STAGES_COMPARED:
            line = _line(pair, stage, confidence, limit)
            lines.append(line)
            if line.regression:
                regressions.append(f"{pair.name}: {stage} is slower, {figures.ratio(line.ratio)}")
        regressions += [] if mixed else _worse_answers(pair)
    shared_label = [first.label] if first.label == second.label else []
    return Comparison(
        a=first.name,
        b=second.name,
        label=" · ".join(filter(None, [*shared_label, *mixed])),
        threshold=threshold,
        confidence=confidence,
        lines=lines,
        notes=notes + _only_in_one(first, second),
        regressions=regressions + lost,
    )


# -- do the two belong together, and what explains a difference


def mixture(a: Result, b: Result) -> list[str]:
    """Why the two are of different kinds; empty when they are of one."""
    reasons = []
    if a.emulated != b.emulated:
        emulated, board = (a, b) if a.emulated else (b, a)
        reasons.append(f"EMULATED CPU ({emulated.name}) against a board ({board.name})")
    if a.simulated_npu != b.simulated_npu and _has_npu(a) and _has_npu(b):
        simulated, real = (a, b) if a.simulated_npu else (b, a)
        reasons.append(f"SIMULATED NPU ({simulated.name}) against a real one ({real.name})")
    if not {model.name for model in a.models} & {model.name for model in b.models}:
        reasons.append(
            f"other models: {', '.join(m.name for m in a.models)} and "
            f"{', '.join(m.name for m in b.models)}"
        )
    return reasons + [
        f"other weights: {pair.name} is {pair.old.file.sha256[:12]} in {a.name} and "
        f"{pair.new.file.sha256[:12]} in {b.name}"
        for pair in _pairs(a, b)
        if pair.old.file.sha256 != pair.new.file.sha256
    ]


def _has_npu(result: Result) -> bool:
    return any(c.engine == "npu" for model in result.models for c in model.configurations)


def _pairs(a: Result, b: Result) -> Iterator[Pair]:
    """Configurations that are in both results, measured or not."""
    models: dict[str, Model] = {model.name: model for model in reversed(b.models)}
    for model in a.models:
        if model.name in models:
            for old in model.configurations:
                new = models[model.name].find(old.engine, old.precision)
                if new is not None:
                    yield Pair(model.name, old, new)


def _changed_context(a: Result, b: Result) -> list[str]:
    if a.raw == b.raw:
        return ["A and B are the same measurement"]
    facts = [(title, attrgetter(path)(a), attrgetter(path)(b)) for title, path in CONTEXT]
    notes = [f"{title}: {old} in A, {new} in B" for title, old, new in facts if old != new]
    old, new = a.after.cpu_mhz_measured, b.after.cpu_mhz_measured
    # An emulated clock depends on the load of the host.
    if old and new and not (a.emulated or b.emulated) and abs(new / old - 1) > 0.02:
        notes.append(f"CPU clock: {old:.0f} MHz in A, {new:.0f} MHz in B")
    return notes


def _only_in_one(a: Result, b: Result) -> list[str]:
    def configurations(result: Result) -> set[str]:
        return {f"{m.name} {c.title}" for m in result.models for c in m.configurations}

    ours, theirs = configurations(a), configurations(b)
    return [f"{name}: only in A" for name in sorted(ours - theirs)] + [
        f"{name}: only in B" for name in sorted(theirs - ours)
    ]


def _inventory(result: Result) -> str:
    names = [f"{model.name} {c.title}" for model in result.models for c in model.measured]
    return ", ".join(names) or "nothing"


# -- one configuration in both results


def _line(pair: Pair, stage: str, confidence: float, limit: float) -> Line:
    """``limit``: a slowdown by more than this factor is a regression."""
    old, new = pair.old.times(stage), pair.new.times(stage)
    ratio = ratio_interval(figures.paired(pair.new, pair.old, stage), confidence=confidence)
    if not ratio.known:
        verdict = UNDECIDED
    elif not ratio.excludes(1):
        verdict = SAME
    else:
        verdict = SLOWER if ratio.estimate > 1 else FASTER
    return Line(
        model=pair.model,
        configuration=pair.new.title,
        stage=stage,
        a_us=median(old),
        b_us=median(new),
        a_runs=len(old),
        b_runs=len(new),
        ratio=ratio,
        verdict=verdict,
        regression=verdict == SLOWER and ratio.estimate > limit,
    )


def _notes(pair: Pair) -> list[str]:
    old, new = pair.old, pair.new
    notes = []
    if {p.path for p in old.pictures} != {p.path for p in new.pictures}:
        notes.append(f"{pair.name}: not the same pictures; only common ones are compared")
    if old.runtime != new.runtime:
        runtimes = f"{old.runtime or 'unknown'} in A, {new.runtime or 'unknown'} in B"
        notes.append(f"{pair.name}: {runtimes}")
    if old.verification and new.verification and old.beside_pc != new.beside_pc:
        notes.append(f"{pair.name}: {old.beside_pc} in A; {new.beside_pc} in B")
    if new.failed or old.failed:
        notes.append(f"{pair.name}: {old.failed} failed runs in A, {new.failed} in B")
    return notes


def _worse_answers(pair: Pair) -> list[str]:
    unlike = pair.new.unlike_pc and pair.old.verification and not pair.old.unlike_pc
    return ([f"{pair.name}: {pair.new.beside_pc}"] if unlike else []) + [
        f"{pair.name}: {picture.label} was {picture.answer}, is now wrong: {other.answer}"
        for picture in pair.old.pictures
        if (other := pair.new.picture(picture.path)) is not None
        and picture.correct is True
        and other.correct is False
    ]


def _lost(pairs: list[Pair]) -> list[str]:
    """Configurations that A measured and that failed in B."""
    return [
        f"{pair.name}: could not be measured in B: {pair.new.failure or 'no samples'}"
        for pair in pairs
        if pair.old.measured and not pair.new.measured
    ]


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return value
