"""Results with one value changed, through comparison and report: an answer or a UserError."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError
from pico_image.results import compare, report, store
from tests.support import synthetic_results
from tests.support.killing import MORE, chance

__all__ = ["chance"]

EXAMPLES = 200 * MORE
GONE = object()
#: What is no figure, no name, too much, or looks like something else.
ODD = [
    *(None, True, -1, 0, 0.5, 1e308, 10**400, 2**63, float("inf"), "", "x", "<script>", "9" * 5000),
    *("é\x00", "\ud800", [], {}, [[]], ["a"], {"a": 1}, [None] * 3, GONE),
]

Place = tuple[str | int, ...]


def short(value: Any) -> Any:
    """The same with two entries of each list: a schema is checked in a tenth of the time."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    return [short(item) for item in value[:2]] if isinstance(value, list) else value


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    if here:
        yield here
    if isinstance(value, (dict, list)):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in entries:
            yield from places(item, (*here, key))


def changed(data: Any, place: Place, value: Any) -> Any:
    made = copy.deepcopy(data)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return made


def test_one_value_changed(tmp_path: Path, chance: random.Random) -> None:
    good, path = short(synthetic_results.result()), tmp_path / "changed" / "result.json"
    path.parent.mkdir()
    honest = tmp_path / "good.json"
    honest.write_text(json.dumps(good))
    where = list(places(good))
    read = refused = 0
    for _ in range(EXAMPLES):
        place, value = chance.choice(where), chance.choice(ODD)
        path.write_text(json.dumps(changed(good, place, value)))
        told = f"{place} = {value!r:.60}"
        try:
            result = store.load(path)
        except UserError as error:
            assert str(path) in str(error), told
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(told) from error
        read += 1
        try:
            compare.compare(honest, path, across=True)
            views = [report.view(result, [[] for _ in result.models])]
            (report.markdown(views) + report.html(views)).encode()
        except UserError:
            pass
        except Exception as error:
            raise AssertionError(told) from error
    assert read > EXAMPLES // 10 and refused > EXAMPLES // 10, (read, refused)
