"""`invoke verify-board`: verdicts, exit codes, what is kept, and what a user can mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from tests.board.double import Double

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
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    return Double.start(tmp_path / "board", monkeypatch)


def answering(board: Double, status: int = 0, said: str = "", **facts: Any) -> None:
    """An npu-runner that gives RESULT with other ``facts``, or none where they are None."""
    result = {**RESULT, "verification": {**RESULT["verification"], **facts}}
    (board.root / "answer").write_text(json.dumps(result))
    board.program(
        "npu-runner",
        f"cat {board.root}/answer; [ -z '{said}' ] || echo 'npu-runner: error: {said}' >&2\n"
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
    board: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(board)
    board.model("one")
    board.model("two")
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
    [folder] = (board.root / "out/verifications").iterdir()
    assert folder.name.endswith("-double") and f"results: {folder}" in said
    assert sorted(path.name for path in folder.iterdir()) == ["one.json", "two.json"]
    assert json.loads((folder / "one.json").read_text()) == RESULT
    assert verify(model=["two"], json=True) == 0
    assert list(json.loads(capsys.readouterr().out)["models"]) == ["two"]


def test_a_wrong_answer_exits_1(board: Double, capsys: pytest.CaptureFixture[str]) -> None:
    board.model("one")
    answering(board, 1, "the answers are not those", verdict="wrong", least_cosine=None)
    assert verify() == 1
    said = capsys.readouterr().out
    assert "WRONG" in said and "answers otherwise than rknn-toolkit2's simulator: one" in said
    assert len(list((board.root / "out/verifications").iterdir())) == 1


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
    board: Double,
    capsys: pytest.CaptureFixture[str],
    status: int,
    said: str,
    code: int,
    message: str,
) -> None:
    board.model("one")
    answering(board, status, said)
    (board.root / "answer").write_text("")
    assert verify() == code
    heard = capsys.readouterr()
    assert message in heard.out + heard.err
    assert not (board.root / "out/verifications").exists()


def test_one_model_without_a_verdict_leaves_the_others_theirs(
    board: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(board)
    board.model("one")
    (board.model("old") / "golden/golden.json").unlink()
    assert verify() == 2
    heard = capsys.readouterr()
    assert "within-tolerance" in heard.out
    assert "has no golden vectors of old" in heard.out
    assert "deploy --host board --model old" in heard.out
    [folder] = (board.root / "out/verifications").iterdir()
    assert [path.name for path in folder.iterdir()] == ["one.json"]


def test_a_board_that_restarts_is_one_message(
    board: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    board.model("one")
    board.program("npu-runner", f"touch {board.root}/lost; exit 143")
    assert verify() == 2
    said = capsys.readouterr().out
    assert "the connection to root@board was lost" in said
    assert "while one was verified: did the board restart?" in said and "run it again" in said
    assert said.count("error:") == 1


def test_boards_and_models_that_are_not_there(
    board: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify() == 2 and "has no npu-runner" in capsys.readouterr().out
    answering(board)
    assert verify() == 2 and "has no model for the NPU" in capsys.readouterr().out
    board.model("one")
    assert verify(model=["two"]) == 2
    assert "has no model two for the NPU" in capsys.readouterr().out
    assert verify(bisect="two") == 2 and "two" in capsys.readouterr().out
    assert verify(bisect="one", model=["one"]) == 2
    assert verify(host="") == 2 and "--host is missing" in capsys.readouterr().out
    (board.root / "etc/pico-image-release").unlink()
    assert verify() == 2 and "none of our images" in capsys.readouterr().out
