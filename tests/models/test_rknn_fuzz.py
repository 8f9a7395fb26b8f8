"""Bad bytes in .rknn files: a UserError or an answer, never another exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pico_image.base.errors import UserError
from pico_image.models import rknn_file
from tests.support import rknn_writer

#: A fixed budget, the same examples in every run.
FIXED = settings(max_examples=400)
GOOD = rknn_writer.rknn(32, 10)
BODY_LENGTH = int.from_bytes(GOOD[16:24], "little")
TRAILER: dict[str, Any] = json.loads(GOOD[rknn_file.BODY + BODY_LENGTH + 8 :])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def use(path: Path, data: bytes) -> bool:
    """Everything that is done with a file; True when it was accepted."""
    path.write_bytes(data)
    try:
        model = rknn_file.read(path)
        rknn_file.describe(model)
        rknn_file.refuse_unfit(model, runtime="2.3.2")
    except UserError as error:
        assert str(path) in str(error)
        return False
    return True


def with_trailer(text: bytes) -> bytes:
    start = rknn_file.BODY + BODY_LENGTH
    return GOOD[:start] + len(text).to_bytes(8, "little") + text


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a tree."""
    found = [at]
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            found += places(inner, (*at, key))
    return found


def replaced(at: tuple[Any, ...], new: Any) -> bytes:
    tree: Any = json.loads(json.dumps(TRAILER))
    if not at:
        return json.dumps(new).encode()
    holder = tree
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = new
    return json.dumps(tree).encode()


def test_the_unchanged_file_is_accepted(tmp_path: Path) -> None:
    assert use(tmp_path / "m.rknn", GOOD)


@FIXED
@given(st.integers(0, len(GOOD) - 1))
def test_no_prefix_is_taken_for_whole(tmp_path: Path, length: int) -> None:
    assert not use(tmp_path / "m.rknn", GOOD[:length])


@FIXED
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8))
@example([(23, 255)])  # a body of 2^63 bytes: OverflowError before
def test_changed_bytes(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    use(tmp_path / "m.rknn", bytes(data))


@FIXED
@given(st.sampled_from(places(TRAILER)), JSON)
@example(("norm_tensor",), 3)  # TypeError before
@example(("graph", 0), "input")  # AttributeError before
@example(("norm_tensor", 0, "size", 0), float("inf"))  # OverflowError before
@example(("version",), "2.\u00b2")  # ValueError before: isdigit takes a superscript
def test_any_value_anywhere_in_the_trailer(tmp_path: Path, at: tuple[Any, ...], new: Any) -> None:
    use(tmp_path / "m.rknn", with_trailer(replaced(at, new)))


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting_in_the_custom_string(tmp_path: Path, depth: int) -> None:
    nested = rknn_file.CUSTOM_MARK + b"[" * depth + b"]" * depth + b"}\0"
    body = bytes(8) + nested
    head = rknn_file.MAGIC + (0x1004).to_bytes(8, "little") + len(body).to_bytes(8, "little")
    text = json.dumps(TRAILER).encode()
    data = head.ljust(rknn_file.BODY, b"\0") + body + len(text).to_bytes(8, "little") + text
    assert use(tmp_path / "m.rknn", data)
    custom = rknn_file.read(tmp_path / "m.rknn").custom
    assert (custom is None) == (depth > 10)
