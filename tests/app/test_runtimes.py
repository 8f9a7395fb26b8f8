"""npu-runner with several runtimes of the NPU: which one runs, and why.

It is compiled for this machine and linked with doubles of the runtime
(tests/support/runtime_double.c) that answer rightly, wrongly, nearly, or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.build import APP, cmake, need
from tests.support import rknn_writer
from tests.support.model_cards import CLASSES, add_golden, model_folder

#: The doubles by version. The newest is the one that runs where nobody chose.
NEWEST = "2.3.2"
DOUBLES = {
    "1.6.0": "RIGHT",
    "2.2.0": "RIGHT",
    "1.0.1": "CRASH",
    "1.0.2": "HANG",
    "1.0.3": "NEAR",
    "1.0.4": "REFUSE",
    NEWEST: "WRONG",
}
FEW = ("--warmup-runs", "0", "--min-runs", "1", "--min-secs", "0")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed tree: bin/npu-runner and lib/npu-runner/VERSION/npu-runner."""
    need("gcc", "ar", "cmake", "ninja")
    folder = tmp_path_factory.mktemp("runtimes")
    (folder / "rknn_api.h").write_text('#include "rknn_abi.h"\n')
    for version, behaviour in DOUBLES.items():
        own = folder / "libraries" / version
        own.mkdir(parents=True)
        subprocess.run(
            ["gcc", "-c", "-Wall", "-Wextra", "-Werror", f'-DVERSION="{version}"',
             f"-DBEHAVIOUR={behaviour}", f"-I{APP / 'rknn'}", "-o", own / "double.o",
             "tests/support/runtime_double.c"],
            check=True,
        )  # fmt: skip
        subprocess.run(["ar", "rc", own / "librknnmrt.a", own / "double.o"], check=True)
    libraries = folder / "libraries"
    build = cmake(
        folder / "build",
        *("-DPICO_NPU=ON", "-DPICO_NEON=OFF", "-DPICO_BENCH=ON", "-DPICO_RKNN=vendor"),
        *(f"-DRKNN_INCLUDE={folder}", f"-DRKNN_LIBRARY={libraries / NEWEST / 'librknnmrt.a'}"),
        f"-DRKNN_MORE={';'.join(str(libraries / v) for v in DOUBLES if v != NEWEST)}",
    )
    subprocess.run(
        ["cmake", "--install", build, "--prefix", folder / "usr"], check=True, capture_output=True
    )
    return folder / "usr"


class Board:
    """A root with the NPU's device node, a model, and the runtimes that a test installs."""

    def __init__(self, root: Path, installed: Path) -> None:
        self.root, self.installed = root, installed
        (root / "dev").mkdir(parents=True)
        (root / "dev/rknpu").touch()
        (root / "etc").mkdir()
        self.choice = root / "etc/npu-runtime"
        self.model = self.add_model("colours")

    def add_model(self, name: str) -> Path:
        """An installed model with golden vectors that the right doubles answer to the byte."""
        model = model_folder(self.root / "usr/share/npu-models" / name, size=20, npu=True)
        answers = {}
        for number, vector in enumerate(("000-cat", "001-dog")):
            pixels = np.random.default_rng(number).integers(0, 256, 20 * 20 * 3, np.uint8)
            sums = [(c + 1) * int(pixels.sum(dtype=int)) & 0xFF for c in range(CLASSES)]
            answers[vector] = (pixels.tobytes(), bytes(sums))
        add_golden(model, answers)
        return model

    def install(self, *versions: str) -> Board:
        for version in versions:
            target = self.root / "usr/lib/npu-runner" / version
            target.mkdir(parents=True)
            shutil.copy(self.installed / "lib/npu-runner" / version / "npu-runner", target)
        return self

    def run(
        self, *words: str | Path, program: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [program or self.installed / "bin/npu-runner", *words, "--root", self.root]
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True, text=True, timeout=600, check=False, env={**os.environ},
        )  # fmt: skip

    def classify(self, *words: str | Path, program: Path | None = None) -> dict[str, Any]:
        """The engine of the result; the double's top-1 may well be wrong."""
        image = self.model / "images/red.png"
        done = self.run(
            "--model", self.model / "model.rknn", "--image", image, *FEW, "--json", "-", *words,
            program=program,
        )  # fmt: skip
        assert done.returncode in (0, 1) and done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return {**result["engine"], "warnings": result["warnings"]}

    def refused(self, *words: str | Path, program: Path | None = None) -> str:
        image = self.model / "images/red.png"
        done = self.run(
            "--model", self.model / "model.rknn", "--image", image, *FEW, *words, program=program
        )
        assert done.returncode == 2 and done.stdout == "", done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def board(installed: Path, tmp_path: Path) -> Board:
    return Board(tmp_path / "root", installed)


def test_every_version_has_a_folder_and_the_newest_is_not_there_twice(installed: Path) -> None:
    folder = installed / "lib/npu-runner"
    assert {path.name for path in folder.iterdir()} == set(DOUBLES)
    newest = folder / NEWEST / "npu-runner"
    assert newest.is_symlink() and newest.resolve() == installed / "bin/npu-runner"


def test_the_newest_runs_where_nobody_chose(board: Board) -> None:
    engine = board.install("1.6.0", NEWEST).classify()
    assert engine["api_version"].startswith(NEWEST)
    assert engine["runtimes"] == {
        "installed": ["1.6.0", NEWEST],
        "runs": NEWEST,
        "chosen_by": "default",
        "why": None,
    }


def test_one_runtime_alone_needs_no_folder(board: Board) -> None:
    assert board.classify()["runtimes"]["installed"] == [NEWEST]


def test_the_boards_choice_runs_and_the_result_says_why(board: Board) -> None:
    why = "driver 0.9.2: 1.6.0 exact, 2.3.2 wrong"
    board.install("1.6.0", NEWEST).choice.write_text(f"1.6.0\n{why}\n")
    engine = board.classify()
    assert engine["api_version"].startswith("1.6.0")
    assert engine["runtimes"]["runs"] == "1.6.0" and engine["runtimes"]["why"] == why
    assert engine["runtimes"]["chosen_by"] == str(board.choice)
    assert not any("chosen with driver" in text for text in engine["warnings"])


def test_a_choice_made_with_another_driver_is_told(board: Board) -> None:
    board.install("1.6.0").choice.write_text("1.6.0\ndriver 0.8.2: 1.6.0 exact\n")
    warnings = board.classify()["warnings"]
    assert any("chosen with driver 0.8.2, this is driver 0.9.2" in text for text in warnings)


def test_a_runtime_that_is_named_overrules_the_choice(board: Board) -> None:
    board.install("1.6.0", "2.2.0", NEWEST).choice.write_text("1.6.0\n")
    engine = board.classify("--runtime", "2.2.0")
    assert engine["runtimes"]["runs"] == "2.2.0" and engine["runtimes"]["why"] is None
    assert engine["runtimes"]["chosen_by"] == "--runtime"
    assert board.classify("--runtime", NEWEST)["runtimes"]["runs"] == NEWEST


def test_what_is_not_installed_is_refused(board: Board) -> None:
    board.install("1.6.0", NEWEST)
    said = board.refused("--runtime", "9.9.9")
    assert "9.9.9, which --runtime names, is not installed" in said
    assert f"installed: 1.6.0, {NEWEST}" in said
    board.choice.write_text("2.2.0\n")
    assert f"2.2.0, which {board.choice} names, is not installed" in board.refused()


@pytest.mark.parametrize("text", ["", "\n", "../1.6.0\n", "1/6\n", "x" * 500, "1.6.0 \n"])
def test_a_damaged_choice_is_refused(board: Board, text: str) -> None:
    board.install("1.6.0", NEWEST).choice.write_text(text)
    said = board.refused()
    assert f"{board.choice} does not begin with the version" in said and "--probe" in said


def test_another_program_never_starts_others(board: Board) -> None:
    """Else a folder with a wrong name would go on and on."""
    other = board.install("1.6.0", NEWEST).root / "usr/lib/npu-runner/1.6.0/npu-runner"
    said = board.refused("--runtime", "2.2.0", program=other)
    assert "linked with the NPU runtime 1.6.0, not with 2.2.0" in said
    shutil.copy(other, board.root / f"usr/lib/npu-runner/{NEWEST}/npu-runner")
    board.choice.write_text(f"{NEWEST}\n")
    assert "not with" in board.refused("--runtime", NEWEST, program=other)


def test_a_model_of_a_newer_toolkit_is_tried_where_a_runtime_is_named(board: Board) -> None:
    other = board.install("1.6.0", NEWEST).root / "usr/lib/npu-runner/1.6.0/npu-runner"
    assert "toolkit 2.3.2, newer than the runtime 1.6.0" in board.refused(program=other)
    assert board.classify("--runtime", "1.6.0", program=other)["toolkit"] == "2.3.2"
    rknn_writer.add_npu_model(board.model, 20, 12, toolkit="2.5.0")
    assert "toolkit 2.5.0, newer than the runtime 2.3.2" in board.refused()


# -- which one is right? -------------------------------------------------------------------------


def test_the_right_one_is_found_kept_and_used(board: Board, tmp_path: Path) -> None:
    """Beside one that is wrong, one that crashes and one that refuses to start."""
    board.install("1.0.1", "1.0.4", "1.6.0", NEWEST)
    done = board.run("--probe", "--json", tmp_path / "probe.json")
    assert done.returncode == 0, done.stdout + done.stderr
    why = "driver 0.9.2: 1.0.1 failed, 1.0.4 failed, 1.6.0 exact, 2.3.2 wrong"
    table = {line.split()[0]: line.split(maxsplit=2)[2] for line in done.stdout.splitlines()[1:-1]}
    assert list(table) == ["1.0.1", "1.0.4", "1.6.0", NEWEST]
    assert table["1.0.1"] == "was killed by signal 6"
    assert table["1.0.4"].startswith("ended with status 1: ") and "cannot open" in table["1.0.4"]
    assert table["1.6.0"] == "exact, 2 of 2 vectors"
    assert table[NEWEST].startswith("WRONG, largest step ")
    assert done.stdout.splitlines()[-1] == why
    assert board.choice.read_text() == f"1.6.0\n{why}\n"
    assert f"runtime 1.6.0 is chosen: written to {board.choice}" in done.stderr
    result = json.loads((tmp_path / "probe.json").read_text())
    assert (result["kind"], result["right"], result["driver"]) == ("probe", "1.6.0", "0.9.2")
    outcomes = {entry["runtime"]: entry["outcome"] for entry in result["runtimes"]}
    assert outcomes == {"1.0.1": "failed", "1.0.4": "failed", "1.6.0": "exact", NEWEST: "wrong"}
    (model,) = result["runtimes"][2]["models"]
    assert model["model"] == "colours" and model["verification"]["verdict"] == "exact"
    assert result["runtimes"][0]["models"][0]["verification"] is None
    engine = board.classify()
    assert engine["runtimes"]["runs"] == "1.6.0" and engine["runtimes"]["why"] == why


def test_the_benchmark_uses_the_choice_and_says_so(board: Board, tmp_path: Path) -> None:
    why = "driver 0.9.2: 1.6.0 exact, 2.3.2 wrong"
    board.install("1.6.0", NEWEST).choice.write_text(f"1.6.0\n{why}\n")
    done = board.run(
        *("--quick", "--engine", "npu", "--pictures", "1", "--output", tmp_path / "results"),
        *("--programs", board.installed / "bin", "--models", board.model.parent),
        program=board.installed / "bin/npu-bench",
    )
    (path,) = (tmp_path / "results").glob("*.json")
    result = json.loads(path.read_text())
    (npu,) = (c for c in result["models"][0]["configurations"] if c["facts"])
    assert npu["facts"]["runtimes"]["runs"] == "1.6.0" and npu["facts"]["runtimes"]["why"] == why
    assert npu["verification"]["verdict"] == "exact"
    says = f"runtime  colours NPU int8: 1.6.0 of 2, chosen by {board.choice} ({why})"
    assert says in done.stdout.splitlines(), done.stdout + done.stderr


def test_one_that_hangs_is_killed_and_the_others_go_on(board: Board) -> None:
    # The double that is right needs some hundredths of a second of the 15.
    done = board.install("1.0.2", "1.6.0").run("--probe", "--max-secs", "15", "--vectors", "1")
    assert done.returncode == 0, done.stderr
    assert "1.0.2      colours" in done.stdout
    assert "did not end in 15 s and was killed" in done.stdout
    assert "exact, 1 of 2 vectors" in done.stdout
    assert board.choice.read_text().startswith("1.6.0\n")


def test_an_interruption_ends_it_with_nothing_written(board: Board) -> None:
    """Also of a runtime that hangs and does not obey."""
    board.install("1.0.2", "1.6.0").choice.write_text("1.6.0\n")
    words = [board.installed / "bin/npu-runner", "--probe", "--root", board.root]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True) as probe:
        assert probe.stderr is not None
        assert "probe      runtime 1.0.2" in probe.stderr.readline()
        probe.send_signal(signal.SIGINT)
        assert probe.wait(timeout=600) == 130
    assert board.choice.read_text() == "1.6.0\n"


def test_of_equal_ones_the_newest_is_taken(board: Board) -> None:
    done = board.install("1.6.0", "2.2.0", NEWEST).run("--probe")
    assert done.returncode == 0 and board.choice.read_text().startswith("2.2.0\n"), done.stderr


def test_exact_is_better_than_within_tolerance(board: Board) -> None:
    board.install("1.0.3", NEWEST)
    done = board.run("--probe")
    assert done.returncode == 0 and "1.0.3 within-tolerance, 2.3.2 wrong" in done.stdout
    assert board.choice.read_text().startswith("1.0.3\n")
    assert board.install("1.6.0").run("--probe").returncode == 0
    assert board.choice.read_text().startswith("1.6.0\n")


def test_none_is_right(board: Board) -> None:
    """The table is shown, nothing is changed, and what to do next is said."""
    board.install("1.0.1", NEWEST).choice.write_text(f"{NEWEST}\nby hand\n")
    done = board.run("--probe")
    assert done.returncode == 1 and "WRONG" in done.stdout
    said = "none of the installed NPU runtimes is right: driver 0.9.2: 1.0.1 failed, 2.3.2 wrong"
    assert said in done.stderr and "verify-board --bisect" in done.stderr
    assert board.choice.read_text() == f"{NEWEST}\nby hand\n"


def test_a_runtime_is_as_good_as_with_its_worst_model(board: Board) -> None:
    """And a model that no runtime can be asked about says nothing on any of them."""
    other = board.add_model("shapes")
    shutil.copy(other / "golden/000-cat.i8", other / "golden/001-dog.i8")
    done = board.install("1.6.0", NEWEST).run("--probe")
    assert done.returncode == 1 and "1.6.0 wrong" in done.stdout
    with (other / "model.rknn").open("ab") as stream:
        stream.write(b"changed on the card")
    done = board.run("--probe")
    assert done.returncode == 0 and board.choice.read_text().startswith("1.6.0\n"), done.stderr
    assert done.stdout.count("ended with status 2") == 2


def test_one_model_by_its_path(board: Board) -> None:
    wrong = board.add_model("shapes")
    shutil.copy(wrong / "golden/000-cat.i8", wrong / "golden/001-dog.i8")
    done = board.install("1.6.0", NEWEST).run("--probe", "--model", board.model / "model.rknn")
    assert done.returncode == 0 and "1.6.0 exact" in done.stdout


def test_a_damaged_choice_is_written_anew(board: Board) -> None:
    board.install("1.6.0", NEWEST).choice.write_text("nonsense!\n")
    assert board.run("--probe").returncode == 0
    assert board.choice.read_text().startswith("1.6.0\n")


def test_where_nothing_can_be_tried(board: Board) -> None:
    board.install("1.6.0", NEWEST)
    (board.root / "dev/rknpu").unlink()
    done = board.run("--probe")
    assert done.returncode == 2 and done.stdout == ""
    assert "no NPU runtime could be tried" in done.stderr and "/dev/rknpu" in done.stderr
    shutil.rmtree(board.model / "golden")
    done = board.run("--probe")
    assert done.returncode == 2 and "no model with golden vectors" in done.stderr
    assert not board.choice.exists()


def test_a_choice_that_cannot_be_written_is_told(board: Board) -> None:
    board.install("1.6.0", NEWEST)
    shutil.rmtree(board.root / "etc")
    done = board.run("--probe")
    assert done.returncode == 2 and "1.6.0 exact, 2.3.2 wrong" in done.stdout
    assert str(board.choice) in done.stderr
    assert "the right runtime is 1.6.0: run npu-runner --probe as root" in done.stderr


def test_what_does_not_go_with_it(board: Board) -> None:
    for words in (("--image", "x"), ("--verify", "x"), ("--runtime", "1.6.0")):
        done = board.run("--probe", *words)
        assert done.returncode == 2 and "leave out --image" in done.stderr


def test_a_library_of_another_version_than_its_folders_name_ends_the_build(
    installed: Path, tmp_path: Path
) -> None:
    folder = installed.parent
    wrong = tmp_path / "1.5.0"
    shutil.copytree(folder / "libraries/1.6.0", wrong)
    done = subprocess.run(
        ["cmake", "-S", APP, "-B", tmp_path / "build", "-GNinja", "-DPICO_NPU=ON",
         "-DPICO_BENCH=OFF", "-DPICO_RKNN=vendor", f"-DRKNN_INCLUDE={folder}",
         f"-DRKNN_LIBRARY={folder / 'libraries' / NEWEST / 'librknnmrt.a'}",
         f"-DRKNN_MORE={wrong}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "is runtime 1.6.0" in " ".join(done.stderr.split())
