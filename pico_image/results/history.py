"""All kept results in one table, oldest first. Those that cannot be read are listed, too."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from pico_image.base.errors import UserError
from pico_image.results import figures, store
from pico_image.results.result import TOTAL, Result
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

    def of_model(self, name: str) -> History:
        """Only the entries of one model. Raises UserError when no result has it."""
        names = sorted({entry.model for entry in self.entries})
        if names and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"no kept result has a model {name!r}",
                hint=f"{guess}models with results: {', '.join(names)}",
            )
        return replace(self, entries=[entry for entry in self.entries if entry.model == name])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """For people; every line of an emulated or simulated result has its label."""
        if not self.entries and not self.unreadable:
            return "no result is kept yet; `invoke bench` makes one"
        heading = (
            "result", "model", "configuration", "runs", "inference p50", "total p50", "label",
        )  # fmt: skip
        rows = [heading]
        rows += [
            (
                entry.result,
                entry.model,
                entry.configuration,
                str(entry.runs),
                _milliseconds(entry.inference_us),
                _milliseconds(entry.total_us),
                entry.label,
            )
            for entry in self.entries
        ]
        table = figures.aligned(rows, right=(3, 4, 5))
        return "\n".join([*table, *(f"unreadable: {reason}" for reason in self.unreadable)])


def history() -> History:
    """All results under out/results."""
    entries: list[Entry] = []
    unreadable = []
    for path in store.kept():
        try:
            entries += _entries(store.load(path))
        except UserError as error:
            unreadable.append(error.message)
    return History(entries, unreadable)


def of(result: Result) -> History:
    """One result in the form of ``history``."""
    return History(list(_entries(result)), [])


def _entries(result: Result) -> Iterator[Entry]:
    image = result.image
    for model in result.models:
        for configuration in model.configurations:
            yield Entry(
                result=result.name,
                label=result.label,
                board=result.board,
                image=" ".join(filter(None, (image.variant, image.version, image.commit))),
                model=model.name,
                configuration=configuration.title,
                runs=configuration.runs,
                failed=configuration.failed,
                inference_us=_known(median(configuration.times("inference"))),
                total_us=_known(median(configuration.times(TOTAL))),
            )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _milliseconds(us: float | None) -> str:
    return f"{figures.milliseconds(math.nan if us is None else us)} ms"
