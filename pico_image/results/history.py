"""All kept results in one table, oldest first. What cannot be read is told, never left out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError
from pico_image.results import reading, wording
from pico_image.results.result import TOTAL
from pico_image.results.statistics import median


@dataclass(frozen=True)
class Entry:
    """One configuration of one result; microseconds, None where there is no sample."""

    result: str
    label: str
    board: str
    image: str
    model: str
    configuration: str
    runs: int
    failed: int
    inference_us: float | None
    total_us: float | None


@dataclass(frozen=True)
class History:
    """Entries, oldest result first, and why some results are missing."""

    entries: list[Entry]
    unreadable: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "entries": [asdict(entry) for entry in self.entries],
            "unreadable": self.unreadable,
        }

    def table(self) -> str:
        """For people; a label stands on every line that it concerns."""
        if not self.entries and not self.unreadable:
            return "no result is kept yet; `invoke bench` makes one"
        heading = (
            "result", "model", "configuration", "runs", "inference p50", "total p50", "label",
        )  # fmt: skip
        rows = [heading]
        for entry in self.entries:
            rows.append(
                (
                    entry.result,
                    entry.model,
                    entry.configuration,
                    str(entry.runs),
                    f"{wording.milliseconds(_number(entry.inference_us))} ms",
                    f"{wording.milliseconds(_number(entry.total_us))} ms",
                    entry.label,
                )
            )
        return "\n".join(
            [
                *wording.aligned(rows, right=(3, 4, 5)),
                *(f"unreadable: {u}" for u in self.unreadable),
            ]
        )


def history(model: str = "") -> History:
    """All results under out/results; ``model`` keeps only those of one model."""
    entries: list[Entry] = []
    unreadable = []
    for path in reading.kept():
        try:
            entries += _entries(path, model)
        except UserError as error:
            unreadable.append(error.message)
    return History(entries, unreadable)


def of(path: Path) -> History:
    """One result in the form of ``history``."""
    return History(_entries(reading.locate(path), ""), [])


def _entries(path: Path, only: str) -> list[Entry]:
    result = reading.load(path)
    image = " ".join(
        str(result.fact(f"system.image.{key}") or "") for key in ("VARIANT", "VERSION", "COMMIT")
    )
    return [
        Entry(
            result=result.name,
            label=result.label,
            board=result.board,
            image=image.strip(),
            model=model.name,
            configuration=configuration.title,
            runs=configuration.runs,
            failed=configuration.failed,
            inference_us=_known(median(configuration.times("inference"))),
            total_us=_known(median(configuration.times(TOTAL))),
        )
        for model in result.models
        if not only or model.name == only
        for configuration in model.configurations
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
