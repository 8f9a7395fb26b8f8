"""neon-runner as it ships, under user-mode QEMU with a Cortex-A7's cpuinfo."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.app.pictures import encoded, photograph
from tests.support import tflite_writer
from tests.support.arm import qemu, run_arm
from tests.support.model_cards import CLASSES, COLOURS, model_folder, scores, softmax
from tests.support.result_schema import validated

pytestmark = pytest.mark.qemu

FEW = ("--warmup-runs", "0", "--min-runs", "2", "--min-secs", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "colours")


def neon(arm: Path, *words: str | Path, program: str = "neon-runner") -> Any:
    return run_arm([arm / program, *words])


def test_is_static_and_small(arm: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "neon-runner"
    subprocess.run(["arm-linux-gnueabihf-strip", "-o", stripped, arm / "neon-runner"], check=True)
    assert stripped.stat().st_size <= 5_000_000
    headers = subprocess.run(
        ["arm-linux-gnueabihf-readelf", "-lA", stripped], capture_output=True, text=True, check=True
    ).stdout
    assert "INTERP" not in headers and "Tag_Advanced_SIMD_arch: NEON" in headers


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_answers_and_result(arm: Path, folder: Path, tmp_path: Path, kind: str) -> None:
    model = folder / f"model-{kind}.tflite"
    model.write_bytes(tflite_writer.classifier(kind, 16, CLASSES))
    images = [word for name in COLOURS for word in ("--image", folder / f"images/{name}.png")]
    done = neon(arm, "--model", model, *images, *FEW, "--json", "-", "--logits", "--top-k", "3")
    assert done.returncode == 0, done.stderr
    result = validated(done.stdout)
    assert result["engine"]["xnnpack"]["used"] is True
    assert result["engine"]["precision"] == kind
    assert result["engine"]["xnnpack"]["total_nodes"] == 2
    assert result["engine"]["xnnpack"]["nodes"] == (2 if kind == "float32" else 1)
    for picture, colour in zip(result["pictures"], COLOURS.values(), strict=True):
        want = scores(colour)
        # Quantised: half a step of the input, the weights and the scores each.
        tolerance = 1e-4 if kind == "float32" else 0.1
        assert np.abs(np.array(picture["logits"]) - want).max() < tolerance
        best = [entry["class"] for entry in picture["top"]]
        assert best[0] == int(np.argmax(want)) and len(best) == 3
        assert picture["top"][0]["label"] == f"colour {best[0]}"
        assert abs(picture["top"][0]["probability"] - softmax(want).max()) < tolerance
        assert picture["correct"] is True and picture["runs"] == 2
        assert len(picture["stages"]["total"]["samples"]) == 2
        parts = [picture["stages"][name]["samples"][0] for name in ("decode", "prepare")]
        parts += [picture["stages"][name]["samples"][0] for name in ("inference", "post")]
        assert sum(parts) <= picture["stages"]["total"]["samples"][0] + 1
    assert [picture["first"] is None for picture in result["pictures"]] == [False, True, True]
    assert result["load"] > 0


def test_text_for_people(arm: Path, folder: Path) -> None:
    done = neon(arm, "--model", folder / "fp32.tflite", "--image", folder / "images/red.png", *FEW)
    assert done.returncode == 0, done.stderr
    for expected in (
        "XNNPACK runs 2 of 2 nodes",
        "TensorFlow Lite 2.14.1",
        "first run",
        "top-1      right (expected 0 colour 0)",
        "median        p90        p99       mean      CV  [us]",
    ):
        assert expected in done.stdout
    for stage in ("decode", "prepare", "inference", "post", "total"):
        assert f"\n{stage} " in done.stdout
    assert "fewer than 100 runs" in done.stderr


def test_pictures_of_other_kinds(arm: Path, folder: Path, tmp_path: Path) -> None:
    """Grey, CMYK, 1x1, 20000 wide and raw pictures are classified like any other."""
    red = Image.new("RGB", (20000, 30), COLOURS["red"])
    red.save(tmp_path / "wide.jpg")
    Image.new("RGB", (1, 1), COLOURS["red"]).save(tmp_path / "one.png")
    red.crop((0, 0, 50, 30)).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    (tmp_path / "raw.rgb").write_bytes(bytes(COLOURS["red"]) * 256)
    (tmp_path / "grey.jpg").write_bytes(encoded(photograph(40, 40).convert("L"), "JPEG"))
    names = ["wide.jpg", "one.png", "cmyk.jpg", "raw.rgb", "grey.jpg"]
    images = [word for name in names for word in ("--image", tmp_path / name)]
    done = neon(arm, "--model", folder / "fp32.tflite", *images, *FEW, "--json", "-")
    assert done.returncode == 0, done.stderr
    pictures = validated(done.stdout)["pictures"]
    assert [picture["top"][0]["class"] for picture in pictures[:4]] == [0, 0, 0, 0]
    assert [picture["format"] for picture in pictures] == ["JPEG", "PNG", "JPEG", "RGB", "JPEG"]


def test_no_xnnpack_is_said_and_gives_the_same(arm: Path, folder: Path) -> None:
    common = ("--model", folder / "fp32.tflite", "--image", folder / "images/blue.png", *FEW)
    on = neon(arm, *common, "--json", "-", "--logits")
    off = neon(arm, *common, "--json", "-", "--logits", "--no-xnnpack")
    assert on.returncode == off.returncode == 0
    with_it, without = validated(on.stdout), validated(off.stdout)
    assert without["engine"]["xnnpack"] == {
        "used": False,
        "nodes": 0,
        "total_nodes": 2,
        "partitions": 0,
        "reason": "asked not to (--no-xnnpack)",
    }
    assert any("XNNPACK is not used" in text for text in without["warnings"])
    assert "warning: XNNPACK is not used" in off.stderr
    a, b = (np.array(r["pictures"][0]["logits"]) for r in (with_it, without))
    assert np.abs(a - b).max() < 1e-5


def test_a_delegate_that_refuses_is_told(arm: Path, folder: Path) -> None:
    done = neon(
        arm, "--model", folder / "fp32.tflite", "--image", folder / "images/red.png", *FEW,
        program="tests/neon-runner-refused",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WITHOUT XNNPACK: it did not start" in done.stdout
    assert "warning: XNNPACK is not used: it did not start" in done.stderr


def test_a_model_that_xnnpack_cannot_run(arm: Path, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tflite_writer.without_xnnpack_operators())
    Image.new("RGB", (9, 9)).save(tmp_path / "p.png")
    done = neon(arm, "--model", tmp_path / "m.tflite", "--image", tmp_path / "p.png", *FEW)
    assert done.returncode == 0
    assert "WITHOUT XNNPACK: it supports no operator of this model" in done.stdout
    assert "no model card" in done.stderr


def test_a_model_is_mapped_not_read(arm: Path, folder: Path, tmp_path: Path) -> None:
    """150 MB of weights that nothing uses must not become 150 MB of memory."""
    model = tflite_writer.Model()
    a = model.tensor("a", "float32", [1, 4, 4, 3])
    model.tensor("unused", "uint8", [150 << 20], value=np.zeros(150 << 20, np.uint8))
    axes = model.tensor("axes", "int32", [2], value=np.array([1, 2]))
    b = model.tensor("b", "float32", [1, 3])
    model.operator(
        tflite_writer.REDUCE_MAX, [a, axes], [b], tflite_writer.REDUCER_OPTIONS,
        tflite_writer.Table({0: ("B", 0)}),
    )  # fmt: skip
    (tmp_path / "big.tflite").write_bytes(model.write([a], [b]))
    done = neon(
        arm, "--model", tmp_path / "big.tflite", "--image", folder / "images/red.png", *FEW,
        "--json", "-",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert validated(done.stdout)["memory"]["peak_kib"] < 100 << 10


BAD_MODELS = {
    "two_inputs": "has 2 inputs and 1 outputs",
    "picture_to_picture": "is not a classifier",
    "grey_input": "1 channels",
    "row_input": "does not take one picture",
    "integer_input": "takes INT32 and gives INT32",
    "unknown_operator": "Didn't find op for builtin opcode",
    "weights_outside": "192 bytes of weight buffer 1 outside the flatbuffer",
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_that_cannot_be_run(arm: Path, folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "m.tflite").write_bytes(getattr(tflite_writer, name)())
    done = neon(arm, "--model", tmp_path / "m.tflite", "--image", folder / "images/red.png", *FEW)
    assert done.returncode == 2, done.stderr
    assert BAD_MODELS[name] in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_damaged_models(arm: Path, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "fp32.tflite").read_bytes()
    damaged = {
        "empty": b"",
        "text": b"this is no model at all",
        "rknn": b"RKNN\0\0\0\0" + bytes(100),
        **{f"cut-{part}": whole[: len(whole) * part // 10] for part in (1, 3, 5, 7, 9)},
    }
    for name, content in damaged.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        done = neon(arm, "--model", path, "--image", folder / "images/red.png", *FEW)
        assert done.returncode == 2, (name, done.returncode, done.stderr)
        assert str(path) in done.stderr
        assert done.stderr.count("error:") == 1
    assert (
        "npu-runner"
        in neon(
            arm, "--model", tmp_path / "rknn.tflite", "--image", folder / "images/red.png"
        ).stderr
    )


def test_a_card_of_another_model(arm: Path, folder: Path, tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", size=8)
    picture = folder / "images/red.png"
    done = neon(
        arm, "--model", folder / "fp32.tflite", "--card", other / "model.json", "--image", picture
    )
    assert done.returncode == 2 and "its card says 8x8" in done.stderr


def test_labels_of_the_wrong_length(arm: Path, folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("only\nthree\nlabels\n")
    done = neon(
        arm, "--model", folder / "fp32.tflite", "--image", folder / "images/red.png",
        "--labels", labels,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{labels} has 3 labels, but the model has {CLASSES} classes" in done.stderr


def test_bad_pictures(arm: Path, folder: Path, tmp_path: Path) -> None:
    text, cut = tmp_path / "text.jpg", tmp_path / "cut.jpg"
    text.write_text("no picture")
    cut.write_bytes(encoded(photograph(200, 200), "JPEG")[:2000])
    for path, says in (
        (text, "neither JPEG nor PNG"),
        (cut, "damaged JPEG"),
        (tmp_path / "absent.png", "could not open"),
    ):
        done = neon(arm, "--model", folder / "fp32.tflite", "--image", path, *FEW)
        assert done.returncode == 2 and says in done.stderr and str(path) in done.stderr


def test_wrong_answer_fails_with_its_result(arm: Path, tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path / "m", images=[{"path": "images/red.png", "title": "", "top1": [5]}]
    )
    done = neon(
        arm, "--model", folder / "int8.tflite", "--image", folder / "images/red.png", *FEW,
        "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert done.returncode == 1
    assert "wrong top-1" in done.stderr and "expected 5 colour 5" in done.stderr
    assert "top-1      WRONG" in done.stdout
    result = validated((tmp_path / "r.json").read_text())
    assert result["pictures"][0]["correct"] is False


def test_full_disk(arm: Path, folder: Path, tmp_path: Path) -> None:
    common = ("--model", folder / "int8.tflite", "--image", folder / "images/red.png", *FEW)
    done = neon(arm, *common, "--json", "/dev/full")
    assert done.returncode == 2 and "No space left" in done.stderr
    done = neon(arm, *common, "--json", tmp_path / "no-folder" / "r.json")
    assert done.returncode == 2 and "no-folder/r.json" in done.stderr
    emulator = qemu()
    assert emulator is not None
    with Path("/dev/full").open("w") as full:
        status = subprocess.run(
            [emulator, arm / "neon-runner", *common],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert status.returncode == 2 and b"standard output" in status.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption(arm: Path, folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    emulator = qemu()
    assert emulator is not None
    result = tmp_path / "r.json"
    result.write_text("earlier")
    child = subprocess.Popen(
        [
            emulator, arm / "neon-runner", "--model", folder / "int8.tflite", "--image",
            folder / "images/red.png", "--min-secs", "900", "--max-secs", "900", "--json", result,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stderr is not None
    child.stderr.readline()  # TensorFlow Lite's greeting: the model is being loaded
    os.kill(child.pid, number)
    _, stderr = child.communicate(timeout=600)
    assert child.returncode == 130 and "interrupted" in stderr
    assert result.read_text() == "earlier"


def test_neon_resizes_to_the_same_bytes_as_c(arm: Path, host: Path, tmp_path: Path) -> None:
    from tests.app.build import run
    from tests.app.pictures import save, scene

    paths = [
        save(scene(width, height), tmp_path / f"{width}.png")
        for width, height in [(1, 1), (5, 3), (100, 80), (451, 300), (999, 1001), (8000, 9)]
    ]
    for size in (("224", "224"), ("7", "5"), ("3", "300")):
        for rule in ("center-crop", "stretch"):
            outputs = []
            for name, runner in (("c", run), ("neon", run_arm)):
                build = host if name == "c" else arm
                target = tmp_path / f"{name}-{size[0]}-{rule}"
                target.mkdir()
                done = runner(
                    [build / "tests/picture-tool", target, *size, rule, "0.8", "scaled", *paths]
                )
                assert done.stdout.count("ok ") == len(paths), done.stdout + done.stderr
                outputs.append([(target / f"{i}.rgb").read_bytes() for i in range(len(paths))])
            assert outputs[0] == outputs[1]
