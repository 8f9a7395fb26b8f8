"""Reports of what npu-doctor found, and files that are none of its."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.results import collected
from pico_image.results.report import write_report
from tests.support import synthetic_results
from tests.support.browser import Text
from tests.support.collected_files import document
from tests.support.result_schema import validated
from tests.support.synthetic_results import Keep

pytestmark = pytest.mark.usefixtures("keep")


def written(folder: Path, data: Any, name: str = "board.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data, indent=1))
    return path


def test_what_was_found_is_on_the_page(tmp_path: Path) -> None:
    page = write_report(Console(), [written(tmp_path, document(result=None))])
    assert page.parent.name == "board"
    text = Text(page.read_text(encoding="utf-8"))
    assert text.tables["findings"] == [
        ["Finding", "What", "What helps"],
        [
            "cma problem",
            "1024 KiB of contiguous memory (CMA) are too few",
            "invoke repack --cma 8M",
        ],
        ["clock note", "not set", "date -s sets it"],
    ]
    for words in (
        "What was found on the board", "Luckfox Pico Mini B", "chip (rv1103)",
        "CmaFree is always 0", "/proc/rknpu/load could not be read",
    ):  # fmt: skip
        assert words in text.text
    markdown = (page.parent / "report.md").read_text()
    assert "| **problem**: cma | 1024 KiB of contiguous memory (CMA) are too few |" in markdown
    assert "- known to be wrong: CmaFree is always 0" in markdown


def test_a_file_alone_shows_its_newest_result(tmp_path: Path) -> None:
    page = write_report(Console(), [written(tmp_path, document())])
    text = Text(page.read_text(encoding="utf-8"))
    assert "findings" in text.tables and "times" in text.tables
    assert "board, 20260101T000000Z-001.json" in text.text


def test_beside_results_the_result_within_is_left_out(tmp_path: Path, keep: Keep) -> None:
    keep("run", emulated=True)
    page = write_report(Console(), ["run", written(tmp_path, document())])
    assert page.parent.name == "run-and-1-more"
    html = page.read_text(encoding="utf-8")
    assert html.count("<article") == 1 and 'data-emulated="true"' in html
    assert "What was found on the board" in html


def test_a_damaged_result_within_hides_nothing(tmp_path: Path) -> None:
    newest = {"file": "x.json", "bytes": 3, "content": {"schema": "1.0"}, "broken": ""}
    page = write_report(Console(), [written(tmp_path, document(result=newest))])
    html = page.read_text(encoding="utf-8")
    assert "<article" not in html and "invoke repack --cma 8M" in html


def test_nothing_wrong(tmp_path: Path) -> None:
    fine = [{"level": "ok", "name": "chip", "text": "rv1103", "remedy": None}]
    page = write_report(Console(), [written(tmp_path, document(findings=fine, result=None))])
    assert "Nothing is wrong." in page.read_text(encoding="utf-8")


def test_text_of_a_board_stays_text(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)">|`*'
    finding = {"level": "problem", "name": evil, "text": evil, "remedy": evil}
    page = write_report(Console(), [written(tmp_path, document(findings=[finding], result=None))])
    assert "<img" not in page.read_text(encoding="utf-8")
    assert "<img" not in (page.parent / "report.md").read_text()


def test_names_of_kept_files_are_found(tmp_path: Path) -> None:
    path = collected.keep(document(result=None), "mini", None)
    assert path.parent == tmp_path / "out/board/collected"
    again = collected.keep(document(), "mini", None)
    assert again != path
    assert write_report(Console(), [path.stem]).parent.name == path.stem


def lines(**changes: Any) -> str:
    return json.dumps(document(**changes), indent=1)


STRANGE = {"level": "bad", "name": "a", "text": "", "remedy": None}
#: The text of a file, and what is said of it, line first.
BAD = {
    "cut off": ('{\n "schema": "1.2",\n "kind": "doctor",\n', "4: this is no whole file"),
    "a runner's": (
        '{\n "schema": "1.2",\n "kind": "runner"\n}\n',
        "3: this is no file of npu-doctor but the output of 'runner'",
    ),
    "a list": ("[]\n", "1: this is no file of npu-doctor"),
    "no kind": ('{"schema": "1.2"}\n', "1: this is no file of npu-doctor"),
    "nesting": ("[" * 100_000, "1: this is no file of npu-doctor"),
    "later": (lines(schema="7.0"), "2: schema 7.0; this program reads 1.x"),
    "a level": (lines(findings=[STRANGE]), "level: Input should be"),
    "no finding": (lines(findings=[]), "findings"),
    "a number": (lines(gathered=3), "8: not a valid file of npu-doctor: gathered"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_none(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        collected.load(path)
    assert str(caught.value).startswith(f"{path}:") and message in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "schema": "1.2",\n "kind": "runner"\n}', ":3 is the output of 'runner'"),
        ('{\n "kind": "bench",\n "schema": "7.0"\n}', ":3 has result schema 7.0"),
        ('{\n "schema": "1.2",\n "kind": "doctor",', "line 3"),
    ],
)
def test_a_report_names_file_and_line_of_what_it_cannot_read(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        write_report(Console(), [path])
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_the_schema_knows_the_kind() -> None:
    assert validated(json.dumps(document()))["kind"] == "doctor"


def test_a_result_is_not_taken_for_one(tmp_path: Path) -> None:
    path = written(tmp_path, synthetic_results.result())
    assert not collected.is_collected(path)
    with pytest.raises(UserError, match="but the output of 'bench'"):
        collected.load(path)
