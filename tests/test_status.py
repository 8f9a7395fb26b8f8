"""docs/status.md names tests that exist, and each row of its tables has a proof."""

from __future__ import annotations

import re

import pytest

from pico_image.base.files import ROOT

TEXT = (ROOT / "docs/status.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[^`]+)`", TEXT)


def missing(name: str) -> str | None:
    """Why ``FILE.py::function`` is no proof; None for one that is there."""
    path, _, function = name.partition("::")
    if not function.startswith("test_") or not (ROOT / path).is_file():
        return f"{name}: no such file, or no test's name"
    if not re.search(rf"^def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.M):
        return f"{name}: {path} has no such test"
    return None


@pytest.mark.parametrize("name", NAMED)
def test_a_named_proof_is_in_the_tree(name: str) -> None:
    assert missing(name) is None


def test_there_are_proofs_and_a_wrong_one_is_seen() -> None:
    assert len(NAMED) > 40
    for wrong in (
        "tests/test_status.py::test_nothing",
        "tests/none.py::test_a",
        "tests/test_status.py",
        "tests/test_status.py::missing",
    ):
        assert missing(wrong)


def rows_of_tables() -> list[list[str]]:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_has_its_proof() -> None:
    """In a table with the column "proven by" a test; of a board somebody who has one."""
    table = ""
    seen = 0
    for row in rows_of_tables():
        if row[0] in ("what", "toolkit", "word"):
            table = row[0]
        elif table == "what":
            assert "`tests/" in row[1], row
            seen += 1
        elif table == "toolkit" and row[4].startswith("board"):
            assert "https://" in row[4], row
            seen += 1
    assert seen > 25
