"""Comparing results and the history of them, on synthetic results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.results import compare as comparing
from pico_image.results.history import history
from pico_image.results.statistics import ratio_interval
from tests.support import synthetic_results as synthetic
from tests.support.synthetic_results import Keep


def verdicts(comparison: comparing.Comparison, stage: str = "inference") -> dict[str, str]:
    return {line.configuration: line.verdict for line in comparison.lines if line.stage == stage}


def only(*kinds: tuple[str, str], **options: Any) -> dict[str, Any]:
    """A result with some configurations only."""
    result = synthetic.result(**options)
    for model in result["models"]:
        model["configurations"] = [
            c for c in model["configurations"] if (c["engine"], c["precision"]) in kinds
        ]
        model["comparisons"] = []
    return result


def set_samples(result: dict[str, Any], kind: tuple[str, str], samples: list[Any]) -> None:
    """The same samples for every picture's inference and total of one configuration."""
    for configuration in result["models"][0]["configurations"]:
        if (configuration["engine"], configuration["precision"]) == kind:
            for picture in configuration["pictures"]:
                for stage in ("inference", "total"):
                    picture["stages"][stage] = synthetic.figures(list(samples))


def test_equal_results_are_the_same_beyond_noise(keep: Keep) -> None:
    keep("a", seed=1)
    keep("b", seed=2)
    comparison = comparing.compare("a", "b")
    assert set(verdicts(comparison).values()) == {"same"}
    assert not comparison.regressions


def test_slower_beyond_the_threshold_is_a_regression(keep: Keep) -> None:
    keep("a", seed=1)
    keep("b", seed=2, factor=1.2)
    comparison = comparing.compare("a", "b", threshold=5)
    assert set(verdicts(comparison).values()) == {"slower"}
    assert any("NPU int8: inference is slower" in text for text in comparison.regressions)
    line = next(line for line in comparison.lines if line.configuration == "NPU int8")
    assert line.ratio.low < 1.2 < line.ratio.high


def test_slower_within_the_threshold_is_told_and_passes(keep: Keep) -> None:
    keep("a", seed=1)
    keep("b", seed=2, factor=1.02)
    comparison = comparing.compare("a", "b", threshold=5)
    assert verdicts(comparison)["NPU int8"] == "slower"
    assert not comparison.regressions
    assert comparing.compare("a", "b", threshold=1).regressions


def test_faster_is_no_regression(keep: Keep) -> None:
    keep("a", seed=1)
    keep("b", seed=2, factor=0.5)
    comparison = comparing.compare("a", "b")
    assert set(verdicts(comparison).values()) == {"faster"}
    assert not comparison.regressions


def test_answers_that_are_no_longer_the_pcs(keep: Keep) -> None:
    for name, verdict in (("a", "exact"), ("b", "within-tolerance"), ("c", "wrong")):
        result = synthetic.result()
        for configuration in result["models"][0]["configurations"]:
            if configuration["engine"] == "npu":
                configuration["verification"] = synthetic.verification(verdict)
        keep(name, result)
    assert not comparing.compare("a", "a").regressions
    fewer = comparing.compare("a", "b")
    assert not fewer.regressions
    assert any("within tolerance, largest step 3" in note for note in fewer.notes)
    worse = comparing.compare("a", "c").regressions
    assert [text for text in worse if "NPU = PC: WRONG, largest step 90" in text] == worse != []
    assert not comparing.compare("c", "c").regressions


def test_one_run_decides_nothing(keep: Keep) -> None:
    keep("a", runs=1)
    keep("b", runs=1, factor=3.0)
    comparison = comparing.compare("a", "b")
    assert set(verdicts(comparison).values()) == {"undecided"}
    assert "too few runs" in comparison.table()
    assert not comparison.regressions


def test_equal_samples_compare_exactly(keep: Keep) -> None:
    for name, time in (("a", 100.0), ("b", 100.0), ("c", 120.0)):
        result = synthetic.result()
        set_samples(result, ("npu", "int8"), [time] * 20)
        keep(name, result)
    assert verdicts(comparing.compare("a", "b"))["NPU int8"] == "same"
    assert verdicts(comparing.compare("a", "c"))["NPU int8"] == "slower"


def test_an_outlier_and_broken_times_change_no_verdict(keep: Keep) -> None:
    times = [100.0 + 0.1 * (number % 7) for number in range(40)]
    clean, dirty = synthetic.result(), synthetic.result()
    set_samples(clean, ("npu", "int8"), times)
    set_samples(dirty, ("npu", "int8"), [*times[:-3], 1e12, None, None])
    keep("a", clean)
    keep("b", dirty)
    comparison = comparing.compare("a", "b")
    assert verdicts(comparison)["NPU int8"] == "same"
    assert any("0 failed runs in A, 6 in B" in note for note in comparison.notes)


def test_no_sample_at_all_is_a_lost_configuration(keep: Keep) -> None:
    keep("a")
    result = synthetic.result()
    npu = result["models"][0]["configurations"][2]
    npu.update(pictures=[], rounds=0, failure="rknn_init failed")
    keep("b", result)
    regressions = comparing.compare("a", "b").regressions
    assert regressions == ["mobilenet-v2 NPU int8: could not be measured in B: rknn_init failed"]


def test_a_wrong_answer_is_a_regression(keep: Keep) -> None:
    keep("a")
    result = synthetic.result()
    picture = result["models"][0]["configurations"][2]["pictures"][0]
    picture["correct"] = False
    picture["top"][0].update({"label": "toaster", "class": 859})
    keep("b", result)
    regressions = comparing.compare("a", "b").regressions
    assert any("is now wrong: toaster (859)" in text for text in regressions)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"emulated": True}, "EMULATED CPU"),
        ({"simulated": True}, "SIMULATED NPU"),
        ({"names": ("efficientnet-lite0",)}, "other models"),
    ],
)
def test_other_kinds_are_refused_unless_said(keep: Keep, other: dict[str, Any], why: str) -> None:
    keep("a")
    keep("b", **other)
    with pytest.raises(UserError, match=why) as caught:
        comparing.compare("a", "b")
    assert "--across" in (caught.value.hint or "")
    if "names" in other:
        with pytest.raises(UserError, match="no configuration in common"):
            comparing.compare("a", "b", across=True)
    else:
        comparison = comparing.compare("a", "b", across=True)
        assert why in comparison.label
        assert why in comparison.table()


def test_across_kinds_nothing_is_a_regression(keep: Keep) -> None:
    keep("a")
    keep("b", emulated=True, factor=9.0)
    assert not comparing.compare("a", "b", across=True).regressions


def test_other_weights_under_one_name_are_refused(keep: Keep) -> None:
    keep("a")
    result = synthetic.result()
    result["models"][0]["configurations"][0]["file"]["sha256"] = "f" * 64
    keep("b", result)
    with pytest.raises(UserError, match="other weights: mobilenet-v2 CPU float32"):
        comparing.compare("a", "b")


def test_two_emulated_results_compare_and_say_so(keep: Keep) -> None:
    keep("a", emulated=True, simulated=True)
    keep("b", emulated=True, simulated=True, seed=2)
    comparison = comparing.compare("a", "b")
    assert comparison.label == "EMULATED CPU · SIMULATED NPU"
    assert comparison.label in comparison.table()


def test_what_changed_round_it_is_told(keep: Keep) -> None:
    keep("a")
    result = only(("npu", "int8"))
    result["after"]["npu_frequency"] = "700000000"
    result["models"][0]["configurations"][0]["facts"]["runtime"] = "librknnmrt 1.6.0"
    keep("b", result)
    notes = "\n".join(comparing.compare("a", "b").notes)
    assert "NPU clock: 420000000 in A, 700000000 in B" in notes
    assert "librknnmrt 2.3.2 in A, librknnmrt 1.6.0 in B" in notes
    assert "mobilenet-v2 CPU int8: only in A" in notes


def test_nothing_measured_any_more_is_a_regression(keep: Keep) -> None:
    keep("a")
    keep("b", runs=0)
    comparison = comparing.compare("a", "b")
    assert len(comparison.regressions) == 3
    assert all("could not be measured in B" in text for text in comparison.regressions)
    assert "regression: mobilenet-v2 NPU int8" in comparison.table()
    with pytest.raises(UserError, match="no configuration in common"):
        comparing.compare("b", "a")


def test_other_protocols_are_told(keep: Keep) -> None:
    quick = synthetic.result(runs=10)
    quick["options"].update(quick=True, warmup_runs=0)
    quick["system"]["deployed"] = "npu-bench: commit 0123abc, 2026-11-25T08:00:00Z"
    keep("a")
    keep("b", quick)
    notes = comparing.compare("a", "b").notes
    assert "quick suite: False in A, True in B" in notes
    assert "warm-up runs: 1 in A, 0 in B" in notes
    assert any(note.startswith("deployed since the image: None in A, npu-bench") for note in notes)


def test_a_result_compared_with_itself_says_so(keep: Keep) -> None:
    keep("a")
    comparison = comparing.compare("a", "a")
    assert comparison.notes == ["A and B are the same measurement"]
    assert set(verdicts(comparison).values()) == {"same"}


def test_nan_as_some_write_it_is_no_figure(keep: Keep) -> None:
    """NaN is no JSON; Python reads it all the same, and it went through every comparison."""
    folder = keep("a")
    data = synthetic.result()
    for configuration in data["models"][0]["configurations"]:
        configuration["pictures"][0]["stages"]["total"]["samples"][0] = math.nan
    data["after"]["temperature_celsius"] = math.inf
    (folder / "result.json").write_text(json.dumps(data))
    comparison = comparing.compare("a", "a")
    assert all(line.verdict == "same" for line in comparison.lines)
    assert comparison.lines[1].a_runs == 119


def test_json_has_no_nan(keep: Keep) -> None:
    keep("a", runs=1)
    keep("b", runs=1)
    text = json.dumps(comparing.compare("a", "b").as_json(), allow_nan=False)
    assert json.loads(text)["lines"][0]["ratio"]["low"] is None


def test_many_intervals_are_each_wider(keep: Keep) -> None:
    """Bonferroni: with 6 intervals of 95 %, one in four comparisons of equals would find some."""
    keep("a", runs=12)
    keep("b", seed=2, runs=12)
    comparison = comparing.compare("a", "b")
    assert len(comparison.lines) == 6
    assert comparison.confidence == pytest.approx(1 - 0.05 / 6)
    line = comparison.lines[0]
    single = ratio_interval([(sorted(range(50, 74)), sorted(range(40, 64)))], confidence=0.95)
    wide = ratio_interval(
        [(sorted(range(50, 74)), sorted(range(40, 64)))], confidence=comparison.confidence
    )
    assert wide.high - wide.low > single.high - single.low
    assert line.a_runs == line.b_runs == 36


@pytest.mark.parametrize("threshold", [-1.0, math.nan, math.inf])
def test_threshold_must_make_sense(keep: Keep, threshold: float) -> None:
    keep("a")
    with pytest.raises(UserError, match="threshold"):
        comparing.compare("a", "a", threshold=threshold)


def test_latest_is_the_newest(keep: Keep) -> None:
    keep("20261101T000000Z-x")
    keep("20261102T000000Z-x", seed=3)
    comparison = comparing.compare("20261101T000000Z-x", "latest")
    assert comparison.b == "20261102T000000Z-x"


def test_missing_results_are_named(keep: Keep) -> None:
    with pytest.raises(UserError, match="could not find the benchmark result nowhere"):
        comparing.compare("nowhere", "latest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": "1.0", "kind"', "not a whole benchmark result"),
        ("[]", "not a benchmark result"),
        ("", "not a whole benchmark result"),
        ('{"schema": "2.0"}', "result schema 2.0"),
        ('{"schema": "1.0", "kind": "bench"}', "not a valid result"),
    ],
)
def test_broken_results_are_refused_by_name(
    keep: Keep, tmp_path: Path, text: str, message: str
) -> None:
    keep("a")
    broken = tmp_path / "broken.json"
    broken.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        comparing.compare("a", broken)
    assert "broken.json" in str(caught.value)


def test_history_shows_all_and_tells_what_it_cannot_read(keep: Keep) -> None:
    keep("20261101T000000Z-emulator", emulated=True, simulated=True)
    keep("20261102T000000Z-board")
    (keep("20261103T000000Z-cut") / "result.json").write_text('{"schema":')
    found = history()
    assert [e.result for e in found.entries] == ["20261101T000000Z-emulator"] * 3 + [
        "20261102T000000Z-board"
    ] * 3
    assert "20261103T000000Z-cut" in found.unreadable[0]
    table = found.table()
    lines = table.splitlines()
    assert all("EMULATED CPU" in line for line in lines if "Z-emulator" in line)
    assert not any("EMULATED" in line for line in lines if "Z-board" in line)
    assert "unreadable" in table
    json.dumps(found.as_json(), allow_nan=False)


def test_history_of_nothing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    assert "invoke bench" in history().table()


def test_history_of_an_unknown_model_names_those_that_are_there(keep: Keep) -> None:
    keep("a", names=("mobilenet-v2", "efficientnet-lite0"))
    assert {entry.model for entry in history().of_model("mobilenet-v2").entries} == {"mobilenet-v2"}
    with pytest.raises(UserError, match="'mobilnet-v2'") as caught:
        history().of_model("mobilnet-v2")
    assert "did you mean 'mobilenet-v2'?" in str(caught.value.hint)
    assert "efficientnet-lite0" in str(caught.value.hint)
    with pytest.raises(UserError, match="'x'"):
        history().of_model("x")
