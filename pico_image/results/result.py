"""Benchmark results as typed data. Times are microseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from pico_image.results.statistics import usable

STAGES = ("decode", "prepare", "inference", "post")
TOTAL = "total"
#: The schema leaves some types open, so that newer results stay readable; what is read is checked
#: here. A list as the name of a picture was a traceback in a report, found by changing every value.
CHECKED = ConfigDict(strict=True)


@dataclass(frozen=True, config=CHECKED)
class Picture:
    """One picture in one configuration: samples of each stage and of the total, in order."""

    path: str
    title: str
    stages: Mapping[str, Sequence[float | None]]
    failed: int
    correct: bool | None
    top: Sequence[Mapping[str, Any]]

    def times(self, stage: str) -> list[float]:
        """Usable samples of a stage, ascending."""
        return usable(self.stages.get(stage, ()))

    @property
    def broken(self) -> int:
        """Samples of the total that are no times (a broken clock)."""
        return len(self.stages.get(TOTAL, ())) - len(self.times(TOTAL))

    @property
    def answer(self) -> str:
        """The best class as text, "" when none is known."""
        if not self.top:
            return ""
        best = self.top[0]
        return f"{best.get('label') or 'class'} ({best.get('class')})"


@dataclass(frozen=True, config=CHECKED)
class Configuration:
    """One model on one engine in one precision."""

    title: str
    engine: str
    precision: str
    simulated: bool
    sha256: str
    verified: str
    model_bytes: int | None
    failure: str | None
    runtime: str
    line: str
    load: list[float]
    peak_kib: int | None
    pictures: list[Picture]

    @property
    def measured(self) -> bool:
        """Is there any time at all?"""
        return any(self.times(TOTAL))

    def times(self, stage: str) -> list[float]:
        """Usable samples of a stage over all pictures, ascending."""
        return sorted(t for picture in self.pictures for t in picture.times(stage))

    def picture(self, path: str) -> Picture | None:
        return next((p for p in self.pictures if p.path == path), None)

    @property
    def runs(self) -> int:
        return len(self.times(TOTAL))

    @property
    def failed(self) -> int:
        return sum(p.failed + p.broken for p in self.pictures)


@dataclass(frozen=True, config=CHECKED)
class Agreement:
    """How alike two configurations answer, over all pictures."""

    of: str
    against: str
    pictures: int
    top1_equal: int
    top5_shared: float
    cosine: float | None  # the smallest of all pictures


@dataclass(frozen=True, config=CHECKED)
class Model:
    """One network; ``macs`` multiply-accumulates for one inference, None when not known."""

    name: str
    title: str
    width: int
    height: int
    macs: float | None
    macs_source: str
    configurations: list[Configuration]
    agreements: list[Agreement]

    def find(self, engine: str, precision: str) -> Configuration | None:
        return next(
            (c for c in self.configurations if (c.engine, c.precision) == (engine, precision)),
            None,
        )

    @property
    def measured(self) -> list[Configuration]:
        return [c for c in self.configurations if c.measured]


@dataclass(frozen=True, config=CHECKED)
class Result:
    """One run of npu-bench and where it came from."""

    path: Path
    name: str
    emulated: bool
    simulated_npu: bool
    ended: str
    clock_set: bool
    outcome: str
    models: list[Model]
    warnings: list[str]
    failures: list[str]
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        """``EMULATED CPU``, ``SIMULATED NPU``, both, or "" for a board's own."""
        words = ["EMULATED CPU"] if self.emulated else []
        words += ["SIMULATED NPU"] if self.simulated_npu else []
        return " · ".join(words)

    def believable(self, *configurations: Configuration) -> bool:
        """Are these times a board's, so that ratios of them mean something?"""
        return not self.emulated and not any(c.simulated for c in configurations)

    def fact(self, path: str) -> Any:
        """A member by dotted path (``system.kernel.release``), None when it is not there."""
        value: Any = self.raw
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def number(self, path: str) -> float | None:
        value = self.fact(path)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if math.isfinite(value) else None

    @property
    def variant(self) -> str:
        return str(self.fact("system.image.VARIANT") or "")

    @property
    def board(self) -> str:
        """What ran, for headings."""
        if self.emulated:
            return "QEMU (Cortex-A7)"
        return str(self.fact("system.board") or "unknown board")
