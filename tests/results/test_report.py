"""What reports say, on synthetic results."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.results import figures, report, store
from pico_image.results.report import write_report
from pico_image.results.result import Result
from pico_image.results.statistics import Interval
from tests.support import synthetic_results as synthetic
from tests.support.browser import Text
from tests.support.synthetic_results import Keep


def typed(data: dict[str, Any]) -> Result:
    return store.parse(json.dumps(data).encode(), "result.json")


def page_text(data: dict[str, Any]) -> str:
    """The text of a page without plots, which take their time to draw."""
    result = typed(data)
    view = report.view(result, [[] for _ in result.models])
    assert report.markdown([view])
    return Text(report.html([view])).text


def test_several_results_on_one_page(keep: Keep) -> None:
    keep("one")
    keep("two", emulated=True)
    page = write_report(Console(), ["one", "two"])
    html = page.read_text(encoding="utf-8")
    assert page.parent.name == "one-and-1-more"
    assert re.findall(r'<article id="(.*?)" data-emulated="(.*?)"', html) == [
        ("result-1", "false"),
        ("result-2", "true"),
    ]
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    assert "EMULATED CPU" in html[html.index("<title>") : html.index("</title>")]


def test_without_argument_the_newest_is_shown(keep: Keep) -> None:
    keep("20261101T000000Z-x")
    keep("20261102T000000Z-x", runs=0)  # nothing to draw
    assert write_report(Console(), []).parent.name == "20261102T000000Z-x"


def test_text_of_a_board_stays_text(keep: Keep) -> None:
    """Names come from a card that anyone may have written."""
    result = synthetic.result()
    evil = '<img src=x onerror="alert(1)">|`*'
    result["warnings"] = [evil]
    result["system"]["board"] = evil
    result["models"][0]["title"] = evil
    result["models"][0]["name"] = "../../" + evil
    keep("run", result)
    page = write_report(Console(), ["run"])
    text = Text(page.read_text(encoding="utf-8"))
    assert not [tag for tag, given in text.tags if tag == "img" or "onerror" in given]
    assert evil in text.text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "<img" not in markdown
    files = [path for path in page.parent.parent.rglob("*") if path.is_file()]
    assert all(path.parent == page.parent for path in files), "no file outside of the report"


def test_failures_and_broken_samples_are_told() -> None:
    result = synthetic.result()
    result["outcome"] = "failed"
    result["failures"] = ["mobilenet-v2 NPU int8: rknn_init failed"]
    cpu, _, npu = result["models"][0]["configurations"]
    npu.update(pictures=[], rounds=0, failure="rknn_init failed")
    cpu["file"]["verified"] = "no"
    cpu["facts"]["line"] = "WITHOUT XNNPACK: refused"
    samples = cpu["pictures"][0]["stages"]["total"]["samples"]
    cpu["pictures"][0]["stages"]["total"] = synthetic.figures([*samples[:-2], None, None])
    cpu["pictures"][0]["correct"] = False
    result["clock_set"] = False
    text = page_text(result)
    assert "The benchmark failed" in text
    assert "not measured: rknn_init failed" in text
    assert "2 times are not numbers" in text
    assert "not the one that its card names" in text
    assert "WITHOUT XNNPACK" in text
    assert "the board's clock was not set" in text
    assert "WRONG" in text


def test_what_ran_is_told_in_words() -> None:
    data = synthetic.result()
    data["options"]["mlperf_style"] = True
    data["after"]["npu_mhz"] = 420.0
    data["system"]["deployed"] = "npu-bench: commit 0123abc, 2026-11-25T08:00:00Z"
    text = page_text(data)
    assert "not an MLPerf result" in text
    assert "420 MHz, as the NPU driver states it" in text
    assert "420000000" not in text
    assert "Deployed since npu-bench: commit 0123abc" in text
    assert "3 rounds; in each, for every picture: 1 warm-up, then at least 10 runs and 1 s" in text
    quick = synthetic.result(emulated=True)
    quick["options"]["quick"] = True
    text = page_text(quick)
    assert "quick: every picture once" in text
    assert "MHz measured" not in text, "an emulator has no clock"


@pytest.mark.parametrize("runs", [0, 1])
def test_hardly_any_samples(runs: int) -> None:
    text = page_text(synthetic.result(runs=runs))
    if runs:
        assert "3 runs are too few for any statement" in text
        assert "too few runs" in text
        assert "39.0 to" not in text
    else:
        assert "Nothing of this model was measured" in text


def test_the_verdict_on_the_npus_answers(keep: Keep) -> None:
    """On the page and in its Markdown twin; results of before 1.2 have none, and are read."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "NPU = PC: exact, 2 of 6 vectors"),
        ({"verification": synthetic.verification("wrong")}, "NPU = PC: WRONG, largest step 90"),
        (
            {"verification": synthetic.verification(simulated=True)},
            "SIMULATED NPU = PC: exact, 2 of 6 vectors; no proof for a board",
        ),
        (
            {"verification": None, "verification_failure": "it was killed"},
            "NPU = PC: not compared: it was killed",
        ),
        ({"verification": None}, ""),
    ]
    for number, (changes, line) in enumerate(cases):
        result = synthetic.result()
        for configuration in result["models"][0]["configurations"]:
            if configuration["engine"] == "npu":
                configuration |= changes
        keep(f"run{number}", result)
        page = write_report(Console(), [f"run{number}"])
        text = Text(page.read_text(encoding="utf-8")).text
        twin = page.with_name("report.md").read_text(encoding="utf-8")
        assert (line in text and line in twin) if line else "NPU = PC" not in text + twin
    for configuration in result["models"][0]["configurations"]:
        del configuration["verification"], configuration["verification_failure"]
    old = typed(result).models[0].configurations[2]
    assert old.verification is None and old.beside_pc == ""


def test_equal_samples_can_be_drawn(keep: Keep) -> None:
    result = synthetic.result()
    for configuration in result["models"][0]["configurations"]:
        for picture in configuration["pictures"]:
            for stage in picture["stages"]:
                picture["stages"][stage] = synthetic.figures([5000.0] * 10)
    keep("run", result)
    text = Text(write_report(Console(), ["run"]).read_text(encoding="utf-8")).text
    assert "no spread" in text


def test_report_is_the_same_each_time(keep: Keep, tmp_path: Path) -> None:
    keep("run")
    first = write_report(Console(), ["run"], tmp_path / "1").read_bytes()
    assert write_report(Console(), ["run"], tmp_path / "2").read_bytes() == first


def test_output_must_be_a_folder(keep: Keep, tmp_path: Path) -> None:
    keep("run")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match="is not a folder"):
        write_report(Console(), ["run"], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_no_result_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    with pytest.raises(UserError, match="no benchmark result") as caught:
        write_report(Console(), [])
    assert "invoke bench" in (caught.value.hint or "")


def test_runner_output_is_no_result() -> None:
    with pytest.raises(UserError, match="not of npu-bench"):
        typed({"schema": "1.0", "kind": "runner"})


def test_speedups_are_withheld_for_the_simulated_engine_only() -> None:
    result = typed(synthetic.result(simulated=True))
    rows = {(row.of, row.against): row for row in figures.speedups(result, result.models[0])}
    assert rows["NPU int8", "CPU float32"].withheld == "withheld: simulated NPU"
    cpu = rows["CPU int8", "CPU float32"]
    assert not cpu.withheld
    assert cpu.inference.estimate == pytest.approx(640 / 262, rel=0.01)


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [("420000000", 420.0), ("420 MHz", 420.0), ("Core: 700000000 Hz", 700.0), (None, math.nan)],
)
def test_npu_clock_as_drivers_write_it(frequency: str | None, expected: float) -> None:
    data = synthetic.result()
    data["before"]["npu_frequency"] = data["after"]["npu_frequency"] = frequency
    result = typed(data)
    npu = result.models[0].configurations[2]
    assert figures.clock_of(result, npu)[0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (1_481_000.0, "1481"),
        (14_960.0, "15.0"),
        (1_234.0, "1.23"),
        (12.3, "0.0123"),
        (math.nan, "-"),
    ],
)
def test_milliseconds(us: float, text: str) -> None:
    assert figures.milliseconds(us) == text


def test_digits_follow_the_interval() -> None:
    assert figures.ratio(Interval(39.0123, 38.99, 39.03)).endswith("39.012 (38.990 to 39.030)")
    assert figures.ratio(Interval(39.0, 30.0, 50.0)).endswith("39 (30 to 50)")
    assert "too few" in figures.ratio(Interval(2.0, math.nan, math.nan))
    assert figures.ratio(Interval(math.nan, math.nan, math.nan)) == "-"
