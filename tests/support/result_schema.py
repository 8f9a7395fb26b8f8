"""The published schema of results, which everything that the programs write must satisfy."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from pico_image.base.files import ROOT

SCHEMA = json.loads((ROOT / "app/bench/result.schema.json").read_text(encoding="utf-8"))


def validated(text: str) -> dict[str, Any]:
    """Parse a result and check it against the schema."""
    result: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(result, SCHEMA, cls=jsonschema.Draft202012Validator)
    return result
