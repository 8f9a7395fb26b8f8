"""What is faster or slower beyond noise between two results, and what all kept results say.

Two configurations differ when the bootstrap interval of the ratio of their medians does not
hold 1. A difference counts as a regression when it is also larger than a threshold: within one
run the noise is small enough that differences nobody cares about are certain ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pico_image.base.errors import CheckFailed, UserError
from pico_image.results import figures, kinship, reading, wording
from pico_image.results.result import TOTAL, Configuration, Model, Result
from pico_image.results.statistics import CONFIDENCE, Interval, median, ratio_interval

#: Percent; the default of ``--threshold``.
THRESHOLD = 5.0
STAGES_COMPARED = ("inference", TOTAL)
FASTER, SLOWER, SAME, UNDECIDED = "faster", "slower", "same", "undecided"


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
    notes: list[str] = field(default_factory=list)
    regressions: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise CheckFailed when there is a regression."""
        if self.regressions:
            raise CheckFailed("; ".join(self.regressions))

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; what is not known (NaN) becomes null."""
        return dict(_plain(asdict(self)))

    def table(self) -> str:
        """For people."""
        rows = [("model", "configuration", "stage", "A [ms]", "B [ms]", "B / A", "verdict")]
        for line in self.lines:
            verdict = line.verdict + (" REGRESSION" if line.regression else "")
            rows.append(
                (
                    line.model,
                    line.configuration,
                    line.stage,
                    wording.milliseconds(line.a_us),
                    wording.milliseconds(line.b_us),
                    wording.ratio(line.ratio),
                    verdict,
                )
            )
        text = [f"A {self.a}", f"B {self.b}", *([self.label] if self.label else []), ""]
        text += wording.aligned(rows, right=(3, 4))
        text += ["", *(f"note: {note}" for note in self.notes)]
        text += [f"regression: {what}" for what in self.regressions]
        text.append(
            f"ratios of medians, picture by picture; intervals by bootstrap, "
            f"{100 * self.confidence:.4g} % each so that all hold together with "
            f"{100 * CONFIDENCE:.0f} %; a regression is slower beyond noise and by more than "
            f"{self.threshold:g} %"
        )
        return "\n".join(line.rstrip() for line in text)


def compare(
    a: Path | str, b: Path | str, *, threshold: float = THRESHOLD, across: bool = False
) -> Comparison:
    """Compare result B with result A (files, folders, or names under out/results).

    ``threshold`` in percent. Raises UserError when a result is missing or broken, or when the
    two do not belong together (a board and an emulator, other models) and ``across`` is not set;
    with it they are compared, labelled, and nothing counts as a regression.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise UserError(
            f"the threshold must be a percentage of 0 or more, not {threshold}",
            hint="--threshold 5 means: a slowdown of more than 5 % fails",
        )
    first, second = (reading.load(reading.locate(name)) for name in (a, b))
    mixed = kinship.mixture(first, second)
    if mixed and not across:
        raise UserError(
            f"{first.name} and {second.name} do not compare: {'; '.join(mixed)}",
            hint="compare results of one kind, or say --across to see the figures side by side",
        )
    label = " · ".join(filter(None, [kinship.joint_label(first, second), *mixed]))
    pairs = list(_pairs(first, second))
    if not pairs and (mixed or not _lost(first, second)):
        raise UserError(
            f"{first.name} and {second.name} have no configuration in common that was measured",
            hint=f"A has {_inventory(first)}; B has {_inventory(second)}",
        )
    # Bonferroni: with a dozen intervals of 95 % each, one excludes 1 by chance every other time.
    confidence = 1 - (1 - CONFIDENCE) / (max(1, len(pairs)) * len(STAGES_COMPARED))
    lines, notes, regressions = [], kinship.changed_context(first, second), []
    for model, old, new in pairs:
        notes += _notes(model, old, new)
        for stage in STAGES_COMPARED:
            line = _line(model, old, new, stage, confidence, threshold, judged=not mixed)
            lines.append(line)
            if line.regression:
                regressions.append(
                    f"{model.name} {new.title}: {stage} is slower, {wording.ratio(line.ratio)}"
                )
        if not mixed:
            regressions += _worse_answers(model, old, new)
    notes += _only_in_one(first, second)
    if not mixed:
        regressions += _lost(first, second)
    return Comparison(
        a=first.name,
        b=second.name,
        label=label,
        threshold=threshold,
        confidence=confidence,
        lines=lines,
        notes=notes,
        regressions=regressions,
    )


def _line(
    model: Model,
    old: Configuration,
    new: Configuration,
    stage: str,
    confidence: float,
    threshold: float,
    *,
    judged: bool,
) -> Line:
    strata = figures.paired(new, old, stage)
    ratio = ratio_interval(strata, confidence=confidence)
    if not ratio.known:
        verdict = UNDECIDED
    elif not ratio.excludes(1):
        verdict = SAME
    else:
        verdict = SLOWER if ratio.estimate > 1 else FASTER
    return Line(
        model=model.name,
        configuration=new.title,
        stage=stage,
        a_us=median(old.times(stage)),
        b_us=median(new.times(stage)),
        a_runs=len(old.times(stage)),
        b_runs=len(new.times(stage)),
        ratio=ratio,
        verdict=verdict,
        regression=judged and verdict == SLOWER and ratio.estimate > 1 + threshold / 100,
    )


def _pairs(a: Result, b: Result) -> Iterator[tuple[Model, Configuration, Configuration]]:
    """Configurations that both measured, on at least one common picture."""
    names = {model.name for model in b.models}
    for model in a.models:
        if model.name in names:
            for old, new in kinship.common(model, kinship.model_of(b, model.name)):
                if figures.paired(old, new, TOTAL):
                    yield model, old, new


def _inventory(result: Result) -> str:
    found = [f"{model.name} {c.title}" for model in result.models for c in model.measured]
    return ", ".join(found) or "nothing"


def _notes(model: Model, old: Configuration, new: Configuration) -> list[str]:
    name = f"{model.name} {new.title}"
    notes = []
    if {p.path for p in old.pictures} != {p.path for p in new.pictures}:
        notes.append(f"{name}: not the same pictures; only common ones are compared")
    if old.runtime != new.runtime:
        notes.append(f"{name}: {old.runtime or 'unknown'} in A, {new.runtime or 'unknown'} in B")
    if new.failed or old.failed:
        notes.append(f"{name}: {old.failed} failed runs in A, {new.failed} in B")
    return notes


def _worse_answers(model: Model, old: Configuration, new: Configuration) -> list[str]:
    found = []
    for picture in old.pictures:
        other = new.picture(picture.path)
        if other is not None and picture.correct is True and other.correct is False:
            found.append(
                f"{model.name} {new.title}: {picture.title} was {picture.answer}, "
                f"is now wrong: {other.answer}"
            )
    return found


def _lost(a: Result, b: Result) -> list[str]:
    """Configurations that A measured and that failed in B."""
    names = {model.name for model in b.models}
    return [
        f"{model.name} {new.title}: could not be measured in B: {new.failure or 'no samples'}"
        for model in a.models
        if model.name in names
        for old, new in kinship.common(model, kinship.model_of(b, model.name))
        if old.measured and not new.measured
    ]


def _only_in_one(a: Result, b: Result) -> list[str]:
    def configurations(result: Result) -> set[str]:
        return {f"{m.name} {c.title}" for m in result.models for c in m.configurations}

    ours, theirs = configurations(a), configurations(b)
    return [f"{name}: only in A" for name in sorted(ours - theirs)] + [
        f"{name}: only in B" for name in sorted(theirs - ours)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
