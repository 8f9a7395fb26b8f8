"""Rockchip's older runtime beside the newer one, both over the stub of their driver.

RKNN_RUNTIME_DIR needs a subfolder 1.6.0 with the three files of package/rknn-runtime-legacy:
librknnmrt.a, LICENSE, flatcc-0.6.1.tar.gz.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from tests.app import build, genuine
from tests.app.pictures import scene
from tests.support.arm import qemu
from tests.support.result_schema import validated

pytestmark = [pytest.mark.external, pytest.mark.qemu, pytest.mark.slow]

OLDER, NEWEST = "1.6.0", "2.3.2"
MODEL = "efficientnet-lite0"


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """npu-runner with each of the two runtimes, on the stub, by version."""
    runtime = build.vendor_runtime()
    if not (runtime / OLDER).is_dir():
        pytest.skip(f"RKNN_RUNTIME_DIR has no folder {OLDER}")
    folder = tmp_path_factory.mktemp("older")
    libraries = folder / OLDER
    libraries.mkdir()
    shutil.copy(runtime / OLDER / "librknnmrt.a", libraries)
    # As the package does: the static library lacks flatcc's verifier.
    with tarfile.open(runtime / OLDER / "flatcc-0.6.1.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    flatcc, verifier, stub = folder / "flatcc-0.6.1", folder / "verifier.o", folder / "stub.o"
    for command in (
        [genuine.COMPILER, "-O2", f"-I{flatcc}/include", "-c", flatcc / "src/runtime/verifier.c",
         "-o", verifier],
        ["arm-linux-gnueabihf-ar", "rcs", libraries / "libflatcc-verifier.a", verifier],
        [genuine.COMPILER, *genuine.STUB_FLAGS, "-c", genuine.STUB, "-o", stub],
    ):  # fmt: skip
        subprocess.run([str(word) for word in command], check=True)
    done = build.cmake(
        folder / "build",
        *build.vendor_options(runtime),
        f"-DRKNN_MORE={libraries}",
        f"-DCMAKE_EXE_LINKER_FLAGS={stub} {genuine.WRAP}",
    )
    return {NEWEST: done / "npu/npu-runner", OLDER: done / f"npu/{OLDER}/npu-runner"}


@pytest.fixture(scope="module")
def model() -> Path:
    build.vendor_runtime()  # before minutes of conversion
    return genuine.shipped(MODEL)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "tests/boards/pico-mini-5.10.160", tmp_path / "board")


def test_a_model_of_the_newer_toolkit_runs_on_the_older_runtime(
    runners: dict[str, Path], model: Path, board: Path, tmp_path: Path
) -> None:
    """Structurally: it opens, describes, binds, runs and gives everything back."""
    picture = tmp_path / "scene.png"
    scene(90, 70).save(picture)
    words = (
        *("--root", board, "--model", model, "--image", picture, "--json", "-"),
        *("--warmup-runs", "0", "--min-runs", "1", "--min-secs", "0"),
    )
    engines = {}
    for version, program in runners.items():
        log = tmp_path / f"{version}.log"
        done = genuine.run(program, *words, "--runtime", version, log=log)
        assert done.status == 0, done.stderr
        assert done.left() == []
        engines[version] = validated(done.stdout)["engine"]
        assert engines[version]["api_version"].startswith(f"{version} (")
        assert engines[version]["runtimes"]["runs"] == version
    older, newest = engines[OLDER], engines[NEWEST]
    assert older["input"] == newest["input"]
    # The older one does not pad the row of scores to 64 bytes, which an NPU may write: the driver
    # rounds every buffer up to whole pages.
    scores = newest["output"]["dims"][-1]
    assert (older["output"]["bytes"], newest["output"]["bytes"]) == (scores, -(-scores // 64) * 64)
    assert older["output"] | {"bytes": 0} == newest["output"] | {"bytes": 0}


def test_it_refuses_the_model_where_nobody_named_it(
    runners: dict[str, Path], model: Path, board: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "scene.png"
    scene(90, 70).save(picture)
    words = ("--root", board, "--model", model, "--image", picture)
    done = genuine.run(runners[OLDER], *words, log=tmp_path / "log")
    assert done.status == 2 and f"newer than the runtime {OLDER}" in done.stderr


@pytest.mark.parametrize("right", [OLDER, NEWEST])
def test_the_right_one_is_chosen(
    runners: dict[str, Path], model: Path, board: Path, right: str
) -> None:
    """The stub writes a golden answer under one runtime and nothing under the other."""
    build.need("gcc")
    golden = model.parent / "golden"
    vectors = json.loads((golden / "golden.json").read_text(encoding="utf-8"))["vectors"]
    for version, program in runners.items():
        script = board / "usr/lib/npu-runner" / version / "npu-runner"
        script.parent.mkdir(parents=True)
        answer = f"export RKNPU_STUB_ANSWER='{golden / vectors[0]['output']}'\n"
        text = answer if version == right else ""
        script.write_text(f'#!/bin/sh\n{text}exec {qemu()} -cpu cortex-a7 {program} "$@"\n')
        script.chmod(0o755)
    (board / "etc").mkdir(exist_ok=True)
    words = ("--root", board, "--probe", "--model", model, "--vectors", "1")
    # Itself under user-mode QEMU, it can start scripts, but no programs for ARM.
    done = subprocess.run(
        [*map(str, (qemu(), "-cpu", "cortex-a7", runners[NEWEST], *words))],
        capture_output=True, text=True, timeout=900, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    says = {
        OLDER: "driver 0.8.2: 1.6.0 exact, 2.3.2 wrong",
        NEWEST: "driver 0.8.2: 1.6.0 wrong, 2.3.2 exact",
    }[right]
    assert done.stdout.splitlines()[-1] == says
    assert (board / "etc/npu-runtime").read_text() == f"{right}\n{says}\n"
