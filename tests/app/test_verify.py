"""``npu-runner --verify`` on the simulator, under user-mode QEMU: answers right and wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.app.conftest import GOLDEN_NAMES, GOLDEN_SIZE
from tests.support import rknn_writer
from tests.support.arm import run_arm
from tests.support.model_cards import CLASSES, add_golden, model_folder
from tests.support.result_schema import validated

pytestmark = pytest.mark.qemu


@pytest.fixture
def folder(golden_model: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    shutil.copytree(golden_model, tmp_path / "colours")
    return tmp_path / "colours"


def verify(arm: Path, folder: Path, *words: str | Path, golden: Path | None = None) -> Any:
    return run_arm(
        [
            *(arm / "npu/npu-runner", "--model", folder / "model.rknn"),
            *("--verify", golden or folder / "golden", *words),
        ]
    )


def change(path: Path, index: int, steps: int) -> None:
    """Move one value of an answer away from the nearer end of its range."""
    data = bytearray(path.read_bytes())
    value = int(np.frombuffer(bytes(data), np.int8)[index])
    data[index] = (value - steps if value > 0 else value + steps) & 0xFF
    path.write_bytes(bytes(data))


def relist(folder: Path, **changes: Any) -> None:
    path = folder / "golden/golden.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_answers_that_are_the_same(arm: Path, folder: Path, tmp_path: Path) -> None:
    done = verify(arm, folder, "--json", tmp_path / "verification.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("SIMULATED NPU: ") and lines[0].endswith("not about a board")
    assert lines[-1] == "verdict    exact, 3 of 3 vectors"
    assert [line.split() for line in lines[-4:-1]] == [
        [name, str(CLASSES), "0", "1.000000", "equal"] for name in GOLDEN_NAMES
    ]
    result = validated((tmp_path / "verification.json").read_text())
    assert result["kind"] == "verification" and result["simulated_npu"] is True
    assert result["engine"]["api_version"].startswith("SIMULATED")
    verification = result["verification"]
    assert verification["verdict"] == "exact" and verification["simulated"] is True
    assert verification["runtime"].startswith("SIMULATED")
    assert (verification["run"], verification["listed"]) == (3, 3)
    assert verification["exact_bytes"] == verification["bytes"] == 3 * CLASSES
    assert verification["largest_step"] == 0 and verification["top1_equal"] == 3
    assert [entry["name"] for entry in verification["vectors"]] == list(GOLDEN_NAMES)


def test_json_alone_and_fewer_vectors(arm: Path, folder: Path) -> None:
    done = verify(arm, folder, "--json", "-", "--vectors", "2")
    assert done.returncode == 0, done.stderr
    verification = validated(done.stdout)["verification"]
    assert verification["line"] == "exact, 2 of 3 vectors"
    assert len(verification["vectors"]) == 2


def test_a_changed_answer(arm: Path, folder: Path) -> None:
    change(folder / "golden/001-dog.i8", 4, 2)
    done = verify(arm, folder, "--json", "-")
    assert done.returncode == 0, done.stderr
    verification = validated(done.stdout)["verification"]
    assert verification["verdict"] == "within-tolerance"
    assert verification["exact_bytes"] == 3 * CLASSES - 1
    assert verification["largest_step"] == verification["vectors"][1]["largest_step"] == 2
    assert verification["vectors"][0]["exact_bytes"] == CLASSES

    change(folder / "golden/001-dog.i8", 7, 30)
    done = verify(arm, folder, "--json", "-")
    assert done.returncode == 1
    assert "WRONG, largest step 30 of 8 allowed" in done.stderr
    verification = validated(done.stdout)["verification"]
    assert verification["verdict"] == "wrong" and verification["largest_step"] == 30
    done = verify(arm, folder)
    assert done.returncode == 1
    assert "verdict    WRONG, largest step 30 of 8 allowed" in done.stdout


def test_whose_vectors(arm: Path, folder: Path, tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", size=GOLDEN_SIZE)
    rknn_writer.add_npu_model(other, GOLDEN_SIZE, CLASSES, platform="rv1106")
    add_golden(other, {"a": (bytes(3 * GOLDEN_SIZE * GOLDEN_SIZE), bytes(range(CLASSES)))})
    done = verify(arm, folder, golden=other / "golden")
    assert done.returncode == 2
    assert f"{other}/golden/golden.json is of another model" in done.stderr

    with (folder / "model.rknn").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"\0")
    done = verify(arm, folder)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{folder}/model.rknn has changed since it was converted" in done.stderr
    assert "invoke deploy --model colours" in done.stderr


def test_another_toolkit(arm: Path, folder: Path) -> None:
    relist(folder, toolkit="2.3.0")
    done = verify(arm, folder)
    assert done.returncode == 2
    assert "has answers of rknn-toolkit2 2.3.0, but" in done.stderr
    assert "was made by 2.3.2" in done.stderr


def test_folders_that_are_no_good(arm: Path, folder: Path) -> None:
    vectors = json.loads((folder / "golden/golden.json").read_text())["vectors"]
    for broken, says in (
        ({"vectors": [vectors[0] | {"input": "../000-cat.raw"}]}, "must be a name without folders"),
        ({"vectors": [vectors[0] | {"output": ".."}]}, "must be a name without folders"),
        ({"vectors": [vectors[0] | {"output": "absent.i8"}]}, "could not open"),
        ({"vectors": []}, '"vectors" must be a list'),
        ({"vectors": vectors, "schema": 2}, "schema 2; this program reads 1"),
        ({"schema": 1, "output_shape": [1, CLASSES + 1]}, f"its output {CLASSES} values"),
    ):
        relist(folder, **broken)
        done = verify(arm, folder)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr and f"{folder}/golden/" in done.stderr
    relist(folder, vectors=vectors, output_shape=[1, CLASSES])
    (folder / "golden/held-out-002.u8").write_bytes(b"short")
    done = verify(arm, folder)
    assert done.returncode == 2
    assert (
        f"held-out-002.u8 has 5 bytes, but {3 * GOLDEN_SIZE * GOLDEN_SIZE} are in a vector"
        in done.stderr
    )
    shutil.rmtree(folder / "golden")
    done = verify(arm, folder)
    assert done.returncode == 2
    assert f"could not open {folder}/golden/golden.json" in done.stderr


def test_options(arm: Path, folder: Path) -> None:
    done = verify(arm, folder, "--image", folder / "images/red.png")
    assert done.returncode == 2 and "leave out --image" in done.stderr
    done = verify(arm, folder, "--vectors", "0")
    assert done.returncode == 2 and "--vectors 0" in done.stderr
    model = ("--model", folder / "int8.tflite", "--verify", folder / "golden")
    done = run_arm([arm / "neon-runner", *model])
    assert done.returncode == 2 and "--verify is an option of npu-runner" in done.stderr
