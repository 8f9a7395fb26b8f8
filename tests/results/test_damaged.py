"""Damaged result files: a UserError that names the file, never a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.results import reading
from tests.support import synthetic_results


@pytest.mark.parametrize(
    ("key", "value"), [("against", ["a"]), ("of", {}), ("cosine", 10**400), ("top1_equal", "x")]
)
def test_a_wrong_value_in_a_comparison(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "result.json"
    data = synthetic_results.result()
    path.write_text(json.dumps(data))
    assert reading.load(path).models
    data["models"][0]["comparisons"][0][key] = value
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="result"):
        reading.load(path)


def test_nesting_deeper_than_the_parser(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UserError, match="no whole benchmark result"):
        reading.load(path)


def strangers(value: Any) -> Any:
    """The same with a field in every object that no schema knows."""
    if isinstance(value, dict):
        return {**{key: strangers(item) for key, item in value.items()}, "new in 1.9": [{}]}
    if isinstance(value, list):
        return [strangers(item) for item in value]
    return value


def test_fields_of_a_later_minor_version_are_ignored(tmp_path: Path) -> None:
    data = synthetic_results.result()
    expected = reading.from_json(data, tmp_path / "result.json")
    later = strangers({**data, "schema": "1.9"})
    # Stages, too, may become more; each is statistics.
    for model in later["models"]:
        for configuration in model["configurations"]:
            for picture in configuration["pictures"]:
                for name in ("stages", "first"):
                    del picture[name]["new in 1.9"]
                    picture[name]["transfer"] = picture[name]["total"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(later))
    found = reading.load(path)
    for model, other in zip(found.models, expected.models, strict=True):
        assert (model.macs, model.agreements) == (other.macs, other.agreements)
        for ours, theirs in zip(model.configurations, other.configurations, strict=True):
            assert (ours.title, ours.load, ours.sha256) == (
                theirs.title,
                theirs.load,
                theirs.sha256,
            )
            for picture, same in zip(ours.pictures, theirs.pictures, strict=True):
                assert (picture.stages, picture.answer) == (same.stages, same.answer)
    assert (found.emulated, found.warnings) == (expected.emulated, expected.warnings)


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "1", "", None])
def test_other_versions_are_refused_by_name(tmp_path: Path, version: str | None) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**synthetic_results.result(), "schema": version}))
    with pytest.raises(UserError) as caught:
        reading.load(path)
    assert str(path) in caught.value.message
    assert repr(version) in caught.value.message or str(version) in caught.value.message


def test_every_field_of_the_schema_is_documented() -> None:
    schema = json.loads((ROOT / "app/bench/result.schema.json").read_text(encoding="utf-8"))
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
