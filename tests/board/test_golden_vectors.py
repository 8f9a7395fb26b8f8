"""`invoke verify-board`: verdicts, exit codes, what is kept, and what a user can mend."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from pico_image.base.errors import CheckFailed, UserError
from pico_image.board import bisection, deploy, golden
from pico_image.board.ssh import Unreachable
from tests.board.boards import Board, Line
from tests.board.double import Double
from tests.support.model_cards import COLOURS, add_golden, model_folder, scores
from tests.support.tflite_writer import SCORE_SCALE

#: A result of `npu-runner --verify`; docs/results.md describes it.
RESULT: dict[str, Any] = {
    "schema": "1.1",
    "kind": "verification",
    "program": {"name": "npu-runner", "version": "0.1.0"},
    "simulated_npu": False,
    "model": {"path": "model.rknn"},
    "verification": {
        "verdict": "within-tolerance",
        "line": "within tolerance, largest step 1 of 8 allowed",
        "simulated": False,
        "tolerance_steps": 8,
        "run": 6,
        "listed": 6,
        "exact_bytes": 5990,
        "bytes": 6000,
        "largest_step": 1,
        "least_cosine": 0.99991,
        "top1_equal": 6,
        "vectors": [],
    },
}


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    return Double.start(tmp_path / "board", monkeypatch)


def answering(double: Double, status: int = 0, said: str = "", **facts: Any) -> None:
    """An npu-runner that gives RESULT with other ``facts``, or none where they are None."""
    result = {**RESULT, "verification": {**RESULT["verification"], **facts}}
    (double.root / "answer").write_text(json.dumps(result))
    double.program(
        "npu-runner",
        f"cat {double.root}/answer; [ -z '{said}' ] || echo 'npu-runner: error: {said}' >&2\n"
        f"exit {status}",
    )


def verify(**flags: Any) -> int:
    """The exit status of the task."""
    try:
        tasks.verify_board(Context(), **{"host": "board", "model": [], **flags})
    except Exit as error:
        print(error)
        return int(error.code)
    return 0


def test_the_verdict_of_each_model_is_shown_and_kept(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(double)
    double.model("one")
    double.model("two")
    assert verify() == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert [
        "one",
        "within-tolerance",
        "99.83",
        "%",
        "1",
        "of",
        "8",
        "0.99991",
        "6",
        "of",
        "6",
    ] in rows
    [folder] = (double.root / "out/verifications").iterdir()
    assert folder.name.endswith("-double") and f"results: {folder}" in said
    assert sorted(path.name for path in folder.iterdir()) == ["one.json", "two.json"]
    assert json.loads((folder / "one.json").read_text()) == RESULT
    assert verify(model=["two"], json=True) == 0
    assert list(json.loads(capsys.readouterr().out)["models"]) == ["two"]


def test_a_wrong_answer_exits_1(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    double.model("one")
    answering(double, 1, "the answers are not those", verdict="wrong", least_cosine=None)
    assert verify() == 1
    said = capsys.readouterr().out
    assert "WRONG" in said and "answers otherwise than rknn-toolkit2's simulator: one" in said
    assert "invoke verify-board --host board --bisect one" in said
    assert len(list((double.root / "out/verifications").iterdir())) == 1


@pytest.mark.parametrize(
    ("status", "said", "code", "message"),
    [
        (2, "golden/golden.json belongs to another model", 2, "belongs to another model"),
        (2, "model.rknn is not the file that model.json names", 2, "is not the file"),
        (2, "the NPU driver is not loaded: /dev/rknpu is missing", 2, "driver is not loaded"),
        (2, "--verify: npu-runner --help lists the options", 2, "deploy --host board --programs"),
        (1, "the NPU failed to run the model: -1", 1, "failed to run the model"),
        (137, "", 1, "(status 137)"),
    ],
)  # fmt: skip
def test_what_npu_runner_says_is_passed_on(
    double: Double,
    capsys: pytest.CaptureFixture[str],
    status: int,
    said: str,
    code: int,
    message: str,
) -> None:
    double.model("one")
    answering(double, status, said)
    (double.root / "answer").write_text("")
    assert verify() == code
    heard = capsys.readouterr()
    assert message in heard.out + heard.err
    assert not (double.root / "out/verifications").exists()


def test_one_model_without_a_verdict_leaves_the_others_theirs(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(double)
    double.model("one")
    (double.model("old") / "golden/golden.json").unlink()
    assert verify() == 2
    heard = capsys.readouterr()
    assert "within-tolerance" in heard.out
    assert "has no golden vectors of old" in heard.out
    assert "deploy --host board --model old" in heard.out
    [folder] = (double.root / "out/verifications").iterdir()
    assert [path.name for path in folder.iterdir()] == ["one.json"]


def test_a_board_that_restarts_is_one_message(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.model("one")
    double.program("npu-runner", f"touch {double.root}/lost; exit 143")
    assert verify() == 2
    said = capsys.readouterr().out
    assert "the connection to root@board was lost" in said
    assert "while one was verified: did the board restart?" in said and "run it again" in said
    assert said.count("error:") == 1


def test_boards_and_models_that_are_not_there(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify() == 2 and "has no npu-runner" in capsys.readouterr().out
    answering(double)
    assert verify() == 2 and "has no model for the NPU" in capsys.readouterr().out
    double.model("one")
    assert verify(model=["two"]) == 2
    assert "has no model two for the NPU" in capsys.readouterr().out
    assert verify(bisect="two") == 2 and "two" in capsys.readouterr().out
    assert verify(bisect="one", model=["one"]) == 2
    assert verify(host="") == 2 and "--host is missing" in capsys.readouterr().out
    (double.root / "etc/pico-image-release").unlink()
    assert verify() == 2 and "none of our images" in capsys.readouterr().out


def coloured(folder: Path, shift: int = 0) -> Path:
    """The small classifier of colours with a golden vector, whose answer is ``shift`` steps off."""
    model_folder(folder, npu=True)
    pixels = np.full((16, 16, 3), COLOURS["red"], np.uint8)
    codes = np.rint(scores(COLOURS["red"]) / SCORE_SCALE) - 3 + shift
    add_golden(folder, {"red": (pixels.tobytes(), codes.astype(np.int8).tobytes())})
    return folder


@pytest.mark.qemu
@pytest.mark.slow
def test_verdicts_over_the_real_ssh(board: Board, tmp_path: Path) -> None:
    models = {
        "good": coloured(tmp_path / "good"),
        "other": coloured(tmp_path / "other", shift=40),
    }
    deploy.deploy(board.connection, models=models)
    try:
        outcome = golden.verify(board.connection, ["good", "other"])
        good, other = outcome.verifications
        assert good.right and good.simulated and other.verdict == "wrong"
        assert outcome.table().startswith("SIMULATED NPU")
        with pytest.raises(CheckFailed, match="otherwise .*: other"):
            outcome.check()
        board.sh("echo >>/usr/share/npu-models/good/model.rknn")
        with pytest.raises(UserError, match="cannot verify good"):
            golden.verify(board.connection, ["good"]).check()
    finally:
        deploy.undo(board.connection)


@pytest.mark.qemu
@pytest.mark.slow
def test_a_prefix_is_gone_after_its_run_and_after_a_cut(board: Board, tmp_path: Path) -> None:
    folder = coloured(tmp_path / "good")
    (folder / "filler").write_bytes(bytes(500_000))
    script = bisection.SCRIPT.format(rknn="model.rknn", golden="golden")
    left = "ls -A /userdata | grep pico-bisect || true"
    packed = bisection.packed(folder)
    assert golden.run(board.connection, "good", script, packed).right
    assert board.sh(left) == ""
    with (
        Line(board.connection.port, 200_000) as line,
        pytest.raises(Unreachable, match="was lost"),
    ):
        golden.run(board.over(line.port), "good", script, packed)
    deadline = time.monotonic() + 300
    while board.sh(left):
        assert time.monotonic() < deadline
        time.sleep(0.2)
