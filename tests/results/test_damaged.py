"""Damaged result files: a UserError that names the file, never a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.results import store
from pico_image.results.compare import compare
from pico_image.results.history import history
from pico_image.results.result import SCHEMA_FILE, schema_text
from tests.support import synthetic_results
from tests.support.synthetic_results import Keep


@pytest.mark.parametrize(
    ("key", "value"), [("against", ["a"]), ("of", {}), ("cosine", 10**400), ("top1_equal", "x")]
)
def test_a_wrong_value_in_a_comparison(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "result.json"
    data = synthetic_results.result()
    path.write_text(json.dumps(data))
    assert store.load(path).models
    data["models"][0]["comparisons"][0][key] = value
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="result"):
        store.load(path)


def test_nesting_deeper_than_the_parser(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UserError, match="not a whole benchmark result"):
        store.load(path)


def strangers(value: Any) -> Any:
    """The same with a field in every object that no schema knows."""
    if isinstance(value, dict):
        return {**{key: strangers(item) for key, item in value.items()}, "new in 1.9": [{}]}
    if isinstance(value, list):
        return [strangers(item) for item in value]
    return value


def test_fields_of_a_later_minor_version_are_ignored(tmp_path: Path) -> None:
    data = synthetic_results.result()
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data))
    expected = store.load(path)
    later = strangers({**data, "schema": "1.9"})
    path.write_text(json.dumps(later))
    kept_apart = {"raw", "version"}
    assert store.load(path).model_dump(exclude=kept_apart) == expected.model_dump(
        exclude=kept_apart
    )


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "1", "", None])
def test_other_versions_are_refused_by_name(tmp_path: Path, version: str | None) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**synthetic_results.result(), "schema": version}))
    with pytest.raises(UserError) as caught:
        store.load(path)
    assert str(path) in caught.value.message
    assert repr(version) in caught.value.message or str(version) in caught.value.message


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b'{"schema":',
        b"[" * 200_000,
        b'{"schema": "1.0", "kind": "runner"}',
        b'{"schema": "1.0", "kind": "bench"}',
        None,
    ],
)
def test_a_damaged_result_never_breaks_the_others(keep: Keep, damage: bytes | None) -> None:
    keep("20261101T000000Z-a", runs=6)
    damaged = keep("20261102T000000Z-b") / "result.json"
    damaged.unlink()
    if damage is None:
        damaged.mkdir()
    else:
        damaged.write_bytes(damage)
    good = keep("20261103T000000Z-c", runs=6)
    listed = history()
    assert {entry.result for entry in listed.entries} == {"20261101T000000Z-a", good.name}
    assert len(listed.unreadable) == 1
    assert str(damaged) in listed.unreadable[0]
    assert compare("20261101T000000Z-a", "latest").b == good.name
    (good / "table.txt").write_text("the table")
    run = store.find_run(store.load(good / "result.json"))
    assert run is not None
    assert run.table == "the table"


def test_a_name_that_no_file_can_have(keep: Keep) -> None:
    keep("a")
    with pytest.raises(UserError, match="could not find the benchmark result"):
        store.locate("x" * 5000)


def test_the_schema_is_generated_from_the_model() -> None:
    written = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert written == json.loads(schema_text()), "run: python -m pico_image.results.result"


def test_every_field_of_the_schema_is_documented() -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")

    def names(node: Any) -> set[str]:
        if isinstance(node, list):
            return {name for item in node for name in names(item)}
        if not isinstance(node, dict):
            return set()
        own = set(node.get("properties", {})) | set(node.get("required", []))
        return own | {name for item in node.values() for name in names(item)}

    assert len(names(schema)) > 80
    assert not [name for name in names(schema) if not re.search(rf"\b{name}\b", text)]
