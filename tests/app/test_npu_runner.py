"""npu-runner with the simulator, under user-mode QEMU; and against the vendor's own files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pico_image.config import capacity
from tests.app.build import APP, cmake, need, vendor_options, vendor_runtime
from tests.app.pictures import photograph, scene
from tests.support import rknn_writer
from tests.support.arm import run_arm
from tests.support.model_cards import CLASSES, COLOURS, model_folder, scores
from tests.support.result_schema import validated
from tests.support.tflite_writer import SCORE_SCALE

pytestmark = pytest.mark.qemu

FEW = ("--warmup-runs", "0", "--min-runs", "2", "--min-secs", "0")
#: The mini runtime's exports (facts of librknnmrt 2.3.2): nothing else may be needed.
EXPORTS = {
    *("rknn_init", "rknn_dup_context", "rknn_destroy", "rknn_query", "rknn_inputs_set"),
    *("rknn_outputs_get", "rknn_outputs_release", "rknn_run", "rknn_wait", "rknn_create_mem"),
    *("rknn_create_mem2", "rknn_create_mem_from_fd", "rknn_create_mem_from_phys"),
    *("rknn_destroy_mem", "rknn_set_weight_mem", "rknn_set_internal_mem", "rknn_set_io_mem"),
    *("rknn_set_input_shape", "rknn_set_input_shapes", "rknn_mem_sync"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 20 pixels: rows are padded to 32.
    return model_folder(tmp_path_factory.mktemp("models") / "colours", size=20, npu=True)


def npu(arm: Path, *words: str | Path, **options: Any) -> Any:
    return run_arm([arm / "npu/npu-runner", *words], **options)


def test_answers_and_result(arm: Path, folder: Path) -> None:
    images = [word for name in COLOURS for word in ("--image", folder / f"images/{name}.png")]
    done = npu(arm, "--model", folder / "model.rknn", *images, *FEW, "--json", "-", "--logits")
    assert done.returncode == 0, done.stderr
    result = validated(done.stdout)
    assert result["simulated_npu"] is True
    engine = result["engine"]
    assert engine["name"] == "npu" and engine["api_version"].startswith("SIMULATED")
    assert engine["runtime"].startswith("RKNN runtime SIMULATED")
    assert engine["custom_string"] == '{"pico_image": "made by a test"}'
    assert engine["input"]["w_stride"] == 32 and engine["input"]["type"] == "UINT8"
    assert engine["output"]["bytes"] == 64
    assert any("SIMULATED" in text for text in result["warnings"])
    for picture, colour in zip(result["pictures"], COLOURS.values(), strict=True):
        want = scores(colour)
        assert np.abs(np.array(picture["logits"]) - want).max() < 2 * SCORE_SCALE
        assert picture["correct"] is True


def test_the_text_cannot_be_taken_for_a_measurement(arm: Path, folder: Path) -> None:
    done = npu(arm, "--model", folder / "model.rknn", "--image", folder / "images/red.png", *FEW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("SIMULATED NPU", "EMULATED CPU"))
    assert "SIMULATED NPU: the times below mean nothing" in done.stdout


def test_the_log_level_is_cleared(arm: Path, folder: Path) -> None:
    """At level 4 the vendor's library submits single operators and prints to stdout."""
    done = npu(
        arm, "--model", folder / "model.rknn", "--image", folder / "images/red.png", *FEW,
        "--json", "-", env={"RKNN_LOG_LEVEL": "4"},
    )  # fmt: skip
    assert done.returncode == 0
    validated(done.stdout)


def test_same_picture_as_the_cpu(arm: Path, folder: Path, tmp_path: Path) -> None:
    """The NPU's normalisation of raw pixels and the CPU's quantised input are one thing."""
    scene(90, 70).save(tmp_path / "scene.png")
    photograph(300, 200).save(tmp_path / "photo.jpg")
    words = ("--image", tmp_path / "scene.png", "--image", tmp_path / "photo.jpg", *FEW)
    both = []
    for program, model in (("npu/npu-runner", "model.rknn"), ("neon-runner", "int8.tflite")):
        done = run_arm(
            [arm / program, "--model", folder / model, *words, "--json", "-", "--logits"]
        )
        assert done.returncode == 0, done.stderr
        both.append([np.array(p["logits"]) for p in validated(done.stdout)["pictures"]])
    for a, b in zip(*both, strict=True):
        assert np.abs(a - b).max() < 1e-6


def test_compare_layouts(arm: Path, folder: Path, tmp_path: Path) -> None:
    done = npu(
        arm, "--model", folder / "model.rknn", "--image", folder / "images/red.png",
        "--compare-layouts",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"layouts    0 of {CLASSES} scores differ between layout 3 (64 bytes) "
        f"and 3 ({CLASSES} bytes)\n"
    )
    four = model_folder(tmp_path / "four", size=20)
    rknn_writer.add_npu_model(four, 20, CLASSES, output=[1, CLASSES, 1, 1])
    done = npu(
        arm, "--model", four / "model.rknn", "--image", four / "images/red.png",
        "--compare-layouts",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 of 12 scores differ between layout 2 (16 bytes) and 1 (16 bytes)" in done.stdout
    done = npu(arm, "--model", four / "model.rknn", "--image", four / "images/red.png", *FEW)
    assert done.returncode == 0 and "top-1      right" in done.stdout
    done = run_arm(
        [arm / "neon-runner", "--model", four / "int8.tflite", "--image", four / "images/red.png",
         "--compare-layouts"]
    )  # fmt: skip
    assert done.returncode == 2 and "an option of npu-runner" in done.stderr


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "platform": ({"platform": "rk3588"}, "made for rk3588"),
    "twin": ({"platform": "rv1103b"}, "the b variants have another one"),
    "newer": ({"toolkit": "2.5.0"}, "newer than the runtime SIMULATED 2.3.2"),
    "container": ({"container": 6}, "container version 0x6"),
    "two inputs": ({"inputs": 2}, "has 2 inputs"),
    "dynamic": ({"output": [1, 0]}, "dynamic shape"),
    "float output": ({"vx_type": "float32"}, "is FLOAT32"),
    "detector": ({"output": [1, CLASSES, 4, 4]}, "cannot open"),
}


@pytest.mark.parametrize("name", BAD)
def test_models_that_cannot_be_run(arm: Path, folder: Path, tmp_path: Path, name: str) -> None:
    changes, says = BAD[name]
    bad = model_folder(tmp_path / "bad", size=20)
    rknn_writer.add_npu_model(bad, 20, CLASSES, **changes)
    done = npu(arm, "--model", bad / "model.rknn", "--image", folder / "images/red.png", *FEW)
    assert done.returncode in (1, 2) and done.returncode == (1 if name == "detector" else 2)
    assert says in done.stderr
    assert done.stdout == ""


def test_damaged_models(arm: Path, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "model.rknn").read_bytes()
    for name, content in {
        "text": b"no model",
        "tflite": (folder / "int8.tflite").read_bytes(),
        "cut": whole[:-10],
        "half": whole[: len(whole) // 2],
        "head": whole[:40],
    }.items():
        path = tmp_path / f"{name}.rknn"
        path.write_bytes(content)
        done = npu(arm, "--model", path, "--image", folder / "images/red.png", *FEW)
        assert done.returncode == 2 and str(path) in done.stderr, (name, done.stderr)


def test_bad_pictures(arm: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (1, 1), COLOURS["red"]).save(tmp_path / "one.png")
    model = ("--model", folder / "model.rknn")
    done = npu(arm, *model, "--image", tmp_path / "text.jpg", *FEW)
    assert done.returncode == 2 and "neither JPEG nor PNG" in done.stderr
    assert npu(arm, *model, "--image", tmp_path / "one.png", *FEW).returncode == 0


def test_estimates_are_those_of_the_host() -> None:
    """A size of CMA that the runner names is one that a variant may have, and the other way."""
    text = (APP / "npu/preflight.c").read_text()
    for name, value in (
        ("EXTRA_MIB", capacity.NPU_EXTRA_MIB),
        ("SYSTEM_MIB", capacity.SYSTEM_MIB),
    ):
        found = re.search(rf"\b{name} = (\d+)", text)
        assert found and float(found[1]) == value, name


# -- against the vendor's files ------------------------------------------------------------------


def needed_symbols(build: Path) -> set[str]:
    """The runtime's functions that our objects call."""
    names = subprocess.run(
        ["arm-linux-gnueabihf-nm", "--undefined-only", build / "npu/libpico-npu.a"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return {word for word in names.split() if word.startswith("rknn_")} - {
        "rknn_file_check",
        "rknn_file_check_version",
    }


def test_needs_only_what_the_mini_runtime_exports(arm: Path) -> None:
    assert "rknn_run" in needed_symbols(arm) and needed_symbols(arm) <= EXPORTS


@pytest.mark.external
def test_compiles_against_the_vendors_header(tmp_path: Path) -> None:
    """-Werror with the real header; no symbol that the real static library lacks."""
    folder = vendor_runtime()
    build = tmp_path / "vendor"
    options = vendor_options(folder)
    # The library is made for uClibc: linking a program needs that libc, compiling does not.
    commands: list[list[str]] = [
        ["cmake", "-S", "app", "-B", str(build), "-GNinja", *options],
        ["ninja", "-C", str(build), "npu/libpico-npu.a"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    exported = subprocess.run(
        ["arm-linux-gnueabihf-nm", "--defined-only", folder / "librknnmrt.a"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    real = {line.split()[-1] for line in exported.splitlines() if " T rknn_" in line}
    assert real >= EXPORTS
    assert needed_symbols(build) <= real


def test_is_small_without_the_runtime(tmp_path: Path) -> None:
    """Linked with functions that do nothing in place of the runtime."""
    need("arm-linux-gnueabihf-gcc")
    source = "".join(f"int {name}(void) {{ return -1; }}\n" for name in sorted(EXPORTS))
    source += 'const char version[] = "librknnmrt version: 2.3.2 (nothing)";\n'
    (tmp_path / "stub.c").write_text(source)
    (tmp_path / "rknn_api.h").write_text('#include "rknn_abi.h"\n')
    for command in (
        ["arm-linux-gnueabihf-gcc", "-c", "stub.c", "-o", "stub.o"],
        ["arm-linux-gnueabihf-ar", "rc", "librknnmrt.a", "stub.o"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    build = cmake(tmp_path / "build", *vendor_options(tmp_path))
    stripped = tmp_path / "npu-runner"
    subprocess.run(
        ["arm-linux-gnueabihf-strip", "-o", stripped, build / "npu/npu-runner"], check=True
    )
    # glibc alone is 440,000 of them. Golden vectors, explanations of failures and --probe took
    # 20,000; 719,580 with GCC 12, the rest is room for other compilers.
    assert stripped.stat().st_size <= 728_000
