"""Models that users bring, from the file to what a board gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.config.configuration import Config, load
from pico_image.models import convert, rknn_file, user_files
from pico_image.models.convert import Published
from pico_image.models.pipeline import Stages
from pico_image.models.user_files import UserModel
from pico_image.models.worker.jobs import TfliteFacts

Inside = Callable[..., Any]


def plain(file: Path) -> UserModel:
    return UserModel(file, [127] * 3, [128] * 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("127", "has 1 values"),
        ("1,2", "has 2 values"),
        ("1,2,3,4", "has 4 values"),
        ("", "has 0 values"),
        ("a,b,c", "not a list of numbers"),
        ("nan,1,2", "no finite number"),
        ("1,inf,2", "no finite number"),
    ],
)
def test_mean_of_the_wrong_length(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        user_files.channel_values(text, "--mean")
    assert "--mean" in caught.value.message


def test_std_of_zero() -> None:
    with pytest.raises(UserError, match="above zero"):
        user_files.channel_values("1,0,1", "--std")
    assert user_files.channel_values("0, 0,0", "--mean") == [0, 0, 0]


def test_an_algorithm_of_another_npu_is_refused_before_any_work(
    console: Console, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no algorithm 'gdq'") as caught:
        user_files.onnx_plan(console, plain(tmp_path / "no.onnx"), tmp_path, "gdq")
    assert "kl_divergence" in (caught.value.hint or "")


def test_labels_that_are_not_there_are_told_before_any_work(
    console: Console, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"could not find the labels .*none\.txt"):
        user_files.onnx_plan(
            console, replace(plain(tmp_path / "no.onnx"), labels=tmp_path / "none.txt"), tmp_path
        )


@pytest.mark.slow
def test_an_onnx_classifier_from_file_to_board(
    console: Console,
    config: Config,
    stages: Stages,
    own_cache: Path,
    tmp_path: Path,
    inside: Inside,
) -> None:
    onnx = tmp_path / "My Net.onnx"
    inside("graph_cases", "tiny_classifier", path=str(onnx))
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")

    def converted(labels: Path, algorithm: str = "normal") -> Published:
        pictures = stages.prepared / "calibration"
        model = UserModel(onnx, [127] * 3, [128] * 3, labels)
        plan = user_files.onnx_plan(console, model, pictures, algorithm)
        return convert.publish(console, config, plan)

    result = converted(labels)
    folder = Path(result.folder)
    assert result.name == "my-net"
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert card["classes"] == 5
    assert card["input"]["width"] == card["input"]["height"] == 32
    assert set(card["files"]) == {"fp32", "int8", "npu"}
    assert (folder / "labels.txt").read_text() == "a\nb\nc\nd\ne\n"
    assert (folder / card["images"][0]["path"]).is_file()
    assert rknn_file.read(folder / "model.rknn").tensors("output")[0].shape == [1, 5]
    assert set(result.scores) == {"fp32", "int8", "npu"}
    assert Path(str(result.page)).is_file()
    told = json.loads((folder / "model.rknn.json").read_text(encoding="utf-8"))
    # With mmse the toolkit tells no scale; those that are seen fit the golden answers.
    converted(labels, "mmse")
    seen = json.loads((folder / "model.rknn.json").read_text(encoding="utf-8"))
    assert seen["payload_sha256"] != told["payload_sha256"]
    assert seen["output"]["scale"] != told["output"]["scale"]
    golden = json.loads((folder / "golden/golden.json").read_text(encoding="utf-8"))
    assert golden["model_sha256"] == seen["rknn_sha256"]
    assert len(golden["vectors"]) == 4
    for entry in golden["vectors"]:
        answer = (folder / "golden" / entry["output"]).read_bytes()
        steps = [byte - 256 if byte > 127 else byte for byte in answer]
        assert steps.index(max(steps)) == entry["top1"]
    short = tmp_path / "short.txt"
    short.write_text("a\nb\n")
    with pytest.raises(UserError, match="has 2 labels"):
        converted(short)


def test_onnx_files_that_are_no_good(
    console: Console, stages: Stages, own_cache: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07junk")
    folder = stages.prepared / "calibration"
    with pytest.raises(UserError, match=r"broken\.onnx"):
        user_files.onnx_plan(console, plain(broken), folder)
    with pytest.raises(UserError, match="could not find the ONNX model"):
        user_files.onnx_plan(console, plain(tmp_path / "no.onnx"), folder)
    with pytest.raises(UserError, match="calibration folder .* does not exist"):
        user_files.onnx_plan(console, plain(broken), tmp_path / "no")
    left = [path.name for path in (own_cache / "built").rglob("*.part")]
    assert left == []


def test_a_tflite_is_taken_as_it_is(
    console: Console, config: Config, own_cache: Path, tmp_path: Path, inside: Inside
) -> None:
    source = tmp_path / "Tiny.tflite"
    inside("worker_cases", "tiny_tflite", path=str(source))
    result = user_files.take_tflite(console, plain(source))
    folder = Path(result.folder)
    assert (folder / "fp32.tflite").read_bytes() == source.read_bytes()
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert card["classes"] == 5
    assert list(card["files"]) == ["fp32"]
    assert "needs the model as ONNX" in str(result.npu)
    # A former conversion under this name leaves nothing that could be taken for this model's.
    (folder / "model.rknn").write_bytes(b"of another model")
    (folder / "golden").mkdir()
    (folder / "notes.txt").write_text("the user's own")
    user_files.take_tflite(console, plain(source))
    left = {path.name for path in folder.iterdir()}
    assert left == {"fp32.tflite", "labels.txt", "model.json", "notes.txt"}
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert list(card["files"]) == ["fp32"]


def test_a_single_class_is_refused(
    console: Console, own_cache: Path, tmp_path: Path, inside: Inside
) -> None:
    inside("graph_cases", "tiny_classifier", path=str(tmp_path / "one.onnx"), classes=1)
    with pytest.raises(UserError, match=r"one\.onnx is no model for the board: classes is 1"):
        user_files.onnx_plan(console, plain(tmp_path / "one.onnx"), tmp_path)
    inside("worker_cases", "tiny_tflite", path=str(tmp_path / "one.tflite"), classes=1)
    with pytest.raises(UserError, match=r"one\.tflite is no model for the board: classes is 1"):
        user_files.take_tflite(console, plain(tmp_path / "one.tflite"))


def test_weights_outside_the_flatbuffer_are_told_and_moved_inside(
    console: Console, config: Config, own_cache: Path, tmp_path: Path, inside: Inside
) -> None:
    source = tmp_path / "outside.tflite"
    inside("worker_cases", "outside_weights", path=str(source))
    with pytest.raises(UserError, match="lies outside the flatbuffer"):
        user_files.inspect_model(console, config, source)
    result = user_files.take_tflite(console, plain(source))
    moved = Path(result.folder) / "fp32.tflite"
    facts = user_files.inspect_model(console, config, moved)
    assert isinstance(facts, TfliteFacts) and facts.buffer_faults == []


def test_a_tflite_that_is_none(
    console: Console, config: Config, own_cache: Path, tmp_path: Path
) -> None:
    source = tmp_path / "bad.tflite"
    source.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
    with pytest.raises(UserError, match="cut short or damaged"):
        user_files.take_tflite(console, plain(source))
    source.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="not a TensorFlow Lite model"):
        user_files.take_tflite(console, plain(source))


def test_a_model_file_may_name_an_onnx_file_and_pictures_beside_it(
    console: Console, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    folder = tmp_path / "configs" / "models"
    (folder / "mine.yml").write_text(
        "extends: _imagenet\ntitle: Mine\nlicence: MIT\narchitecture: onnx\nmacs: 1\n"
        "weights: {file: mine.onnx}\ncalibration: {folder: pictures}\n"
        "labels: {file: labels.txt}\n"
    )
    with pytest.raises(UserError, match=r"could not find .*mine\.onnx, which .*mine\.yml names"):
        convert.plan(console, load(tmp_path), "mine")
    (folder / "mine.onnx").touch()
    (folder / "pictures").mkdir()
    (folder / "labels.txt").touch()
    plan = convert.plan(console, load(tmp_path), "mine")
    assert plan.spec.weights.file == str(folder / "mine.onnx")
    assert plan.spec.calibration.folder == str(folder / "pictures")
    assert plan.archives == {}


@settings(max_examples=150)
@given(data=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8")))
def test_labels_of_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    try:
        names = user_files.read_labels(path, 2)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert len(names) == 2
