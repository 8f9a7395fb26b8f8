"""The tasks as a user types them: output, exit codes, messages."""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit
from invoke.tasks import Task

import tasks
from pico_image import tasks as rooms
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import ROOT
from pico_image.card.compose import compose
from pico_image.tasks.common import guarded
from tests.support import card_images
from tests.support.model_cards import model_folder
from tests.support.sdk_stand_in import fake_engine
from tests.support.synthetic_results import Keep


def invoke(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_task_of_every_room_is_gathered() -> None:
    found = {
        name: value
        for module in pkgutil.iter_modules(rooms.__path__)
        for name, value in vars(importlib.import_module(f"{rooms.__name__}.{module.name}")).items()
        if isinstance(value, Task)
    }
    assert len(found) > 20
    assert {name: vars(tasks).get(name) for name in found} == found
    assert sorted(found) == tasks.__all__


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("wrong", hint="do it right"), 2),
        (CheckFailed("worse"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(error: BaseException, code: int) -> None:
    def body() -> None:
        raise error

    with pytest.raises(Exit) as caught:
        guarded(body)()
    assert caught.value.code == code


def test_a_bug_keeps_its_traceback() -> None:
    """An exception that is no UserError leaves Invoke as it is; Python then exits with 1."""

    def body() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(body)()


def test_a_site_task_has_the_flags_of_the_site() -> None:
    own = {argument.name for argument in tasks.fetch.get_arguments()}
    site = {"sdk_path", "sdk_url", "base_image", "ubuntu", "context", "verbose"}
    assert own == site | {"variant"}
    several = {argument.name for argument in tasks.build_all.get_arguments()}
    assert several & (site | {"contexts"}) == site - {"context"} | {"contexts"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("build-imgae",), "No idea what 'build-imgae' is!"),
        (("variants", "--jsno"), "No idea what '--jsno' is!"),
        (("inspect-image",), "did not receive required positional arguments: 'image'"),
        (("emulate", "--image"), "needed value and was not given one"),
    ],
)
def test_what_invoke_cannot_read_is_a_mistake_of_the_user(
    words: tuple[str, ...], says: str
) -> None:
    done = invoke(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and says in done.stderr
    assert done.stderr.count("\n") == 2 and "hint: `invoke --list`" in done.stderr
    # Completion of a half-typed line meets the same mistakes, and must not say anything.
    assert invoke("--complete", "--", "invoke", "variants", "--jsno").stderr == ""


def test_variants_lists_boards_and_backends() -> None:
    done = invoke("variants")
    assert done.returncode == 0
    assert "luckfox-pico-mini" in done.stdout
    data = json.loads(invoke("variants", "--json").stdout)
    assert data["emulator"]["board"] == "emulator"


def test_show_config_prints_origins() -> None:
    done = invoke("show-config", "--variant", "luckfox-pico-mini")
    assert done.returncode == 0
    assert "board.soc = rv1103   [configs/boards/_rv1103.yml:" in done.stdout
    data = json.loads(invoke("show-config", "--variant", "emulator", "--json").stdout)
    assert data["board.usable_mib"]["value"] == 44


def test_unknown_variant_is_the_users_error() -> None:
    done = invoke("build-image", "--variant", "luckfox-pico-min")
    assert done.returncode == 2
    assert "did you mean 'luckfox-pico-mini'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show-config", "--variant", "x"), "unknown variant 'x'"),
        (("test", "--level", "some"), "unknown level 'some'"),
        (("clean", "--level", "some"), "unknown level 'some'"),
        (("convert-models", "--mean", "1,1,1"), "describe a model of your own"),
        (("convert-models", "--onnx", "a.onnx", "--tflite", "b.tflite"), "exclude one another"),
        (("convert-models", "--algorithm", "best"), "no algorithm 'best'"),
        (("emulate", "--image", "/nowhere/sdcard.img"), "/nowhere/sdcard.img"),
        (("emulate", "--ssh-port", "abc"), "--ssh-port takes a whole number, not 'abc'"),
        (("build-image", "--jobs", "many"), "--jobs takes a whole number"),
        (("bench", "--host", "127.0.0.1", "--port", "abc"), "--port takes a whole number"),
        (("bench", "--host", "127.0.0.1", "--port", "0"), "port must be from 1 to 65535"),
        (("bench", "--last"), "without --host"),
        (("bench", "--suite", "mlperf"), "without --host"),
        (("bench", "--suite", "some"), "unknown suite 'some'"),
        (("deploy",), "--host is missing"),
        (("collect",), "--host is missing"),
        (("deploy", "--host", "127.0.0.1"), "nothing to deploy"),
        (("deploy", "--host", "127.0.0.1", "--undo", "--programs"), "--undo restores"),
        (("deploy", "--host", "127.0.0.1", "--model", "nobody"), "unknown model 'nobody'"),
        (("verify-board",), "--host is missing"),
        (("verify-board", "--host", "127.0.0.1", "--bisect", "nobody"), "unknown model 'nobody'"),
        (("convert-models", "--bisect", "nobody"), "unknown model 'nobody'"),
        (("convert-models", "--bisect", "dense-control", "--npu"), "--bisect names a model"),
        (("report", "nowhere", "--output", "x"), "could not find the benchmark result nowhere"),
        (("compare", "a", "b", "--threshold", "x"), "--threshold takes a number, not 'x'"),
        (("compare", "a", "b", "--threshold", "nan"), "the threshold must be a percentage"),
    ],
)
def test_bad_input_exits_2_with_one_message(words: tuple[str, ...], message: str) -> None:
    done = invoke(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_truncated_image_is_shown_and_ends_with_2(tmp_path: Path) -> None:
    parts, table = card_images.make_parts(tmp_path / "parts")
    image = tmp_path / "sdcard.img"
    compose(Console(stream=io.StringIO()), parts, table, image)
    assert invoke("inspect-image", str(image)).returncode == 0
    os.truncate(image, table["rootfs"].offset + (5 << 20))
    done = invoke("inspect-image", str(image), "--json")
    assert done.returncode == 2
    assert "cut short" in " ".join(json.loads(done.stdout)["problems"])
    assert "sdcard.img is damaged or incomplete: rootfs: cut short" in done.stderr


def test_an_image_with_what_it_may_not_have_ends_with_2(tmp_path: Path) -> None:
    parts, table = card_images.make_parts(tmp_path / "parts")
    (tmp_path / "adbd").write_text("a program\n")
    subprocess.run(
        [card_images.tool("debugfs", "e2fsprogs"), "-w", "-R", "write adbd /usr/bin/adbd",
         parts["rootfs"]],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    image = tmp_path / "sdcard.img"
    compose(Console(stream=io.StringIO()), parts, table, image)
    done = invoke("inspect-image", str(image), "--json")
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["not_allowed"]
    assert problem.startswith("/usr/bin/adbd: adbd may not be in an image (a root shell without")
    assert problem in done.stderr and "What may be in an image" in done.stderr


def test_bench_without_an_image_says_how_to_build_one(tmp_path: Path) -> None:
    done = invoke("bench", PICO_OUTPUT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "invoke build-image --variant emulator" in done.stderr


def test_clean_says_what_it_would_delete_and_keeps_results(tmp_path: Path) -> None:
    (tmp_path / "emulator").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "verifications").mkdir()
    dry = invoke("clean", "--dry-run", PICO_OUTPUT_DIR=str(tmp_path))
    assert f"would delete {tmp_path}/emulator" in dry.stdout
    assert (tmp_path / "emulator").exists()
    assert invoke("clean", PICO_OUTPUT_DIR=str(tmp_path)).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["results", "verifications"]


def test_doctor_finds_a_missing_compiler(tmp_path: Path) -> None:
    data = json.loads(invoke("doctor", "--json", "--offline").stdout)
    assert {"Python", "qemu-system-arm", "configs/"} <= {item["name"] for item in data}
    done = invoke("doctor", "--offline", PATH=f"{Path(sys.executable).parent}:{tmp_path}")
    assert done.returncode == 0, "only some tasks need one"
    assert "note  arm-linux-gnueabihf-gcc: missing" in done.stdout
    assert "apt-get install gcc-arm-linux-gnueabihf (for try, " in done.stdout


@pytest.mark.parametrize("name", ["build-image", "try", "emulate", "bench", "clean", "doctor"])
def test_every_task_has_a_manual(name: str) -> None:
    done = invoke("--help", name)
    assert done.returncode == 0
    assert "Docstring:" in done.stdout
    assert "none" not in done.stdout.partition("Docstring:")[2].split("Options:")[0]


@pytest.mark.parametrize("place", ["/proc/nowhere", "/sys/kernel", "a file"])
def test_an_output_folder_that_cannot_be_written_is_told(tmp_path: Path, place: str) -> None:
    output = Path(place) if place.startswith("/") else tmp_path / place
    if output.parent == tmp_path:
        output.touch()
    done = invoke("build-image", "--variant", "emulator", PICO_OUTPUT_DIR=str(output))
    assert done.returncode == 2, done.stderr
    assert str(output) in done.stderr and "PICO_OUTPUT_DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variant", ["luckfox-pico-mini", "emulator"])
def test_offline_reaches_the_conversion_of_models(tmp_path: Path, variant: str) -> None:
    """A model that is not converted, and nothing to make it from: told at once, before a build."""
    folders = {"PICO_CACHE_DIR": str(tmp_path / "cache"), "PICO_OUTPUT_DIR": str(tmp_path / "out")}
    # An engine that is not there is told first, before a conversion could take minutes.
    with fake_engine.answering(tmp_path / "engine") as url:
        done = invoke("build-image", "--variant", variant, "--offline", DOCKER_HOST=url, **folders)
    assert done.returncode == 2, done.stderr
    assert "downloads are off" in done.stderr and "invoke fetch" in done.stderr
    assert "could not download" not in done.stderr and "Traceback" not in done.stderr
    lost = invoke(
        "build-image", "--variant", "luckfox-pico-mini", DOCKER_HOST=f"unix://{tmp_path}/none",
        **folders,
    )  # fmt: skip
    assert lost.returncode == 2 and "no container engine answers" in lost.stderr
    assert "convert" not in lost.stderr


def test_report_takes_any_number_of_results(keep: Keep, tmp_path: Path) -> None:
    """`invoke report A B` was "No idea what 'A' is!"."""
    for name in ("a", "b"):
        keep(name, runs=1)
    out = str(tmp_path / "out")
    done = invoke("report", "a", "--output", str(tmp_path / "page"), "b", PICO_OUTPUT_DIR=out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{tmp_path}/page/index.html"
    html = (tmp_path / "page/index.html").read_text()
    assert [name in html for name in ('id="result-1"', 'id="result-2"', 'id="result-3"')] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("second", "status"), [({"runs": 30}, 0), ({"runs": 30, "factor": 1.5}, 1)]
)
def test_compare_exits_1_on_a_regression(
    keep: Keep, tmp_path: Path, second: dict[str, Any], status: int
) -> None:
    keep("a", runs=30)
    keep("b", seed=2, **second)
    done = invoke("compare", "a", "b", PICO_OUTPUT_DIR=str(tmp_path / "out"))
    assert done.returncode == status, done.stderr
    assert ("REGRESSION" in done.stdout) == bool(status)
    assert "Traceback" not in done.stderr


def test_deploy_of_a_users_own_model(tmp_path: Path) -> None:
    """It is found by its name in out/models; nobody answers here, which is told at once."""
    model_folder(tmp_path / "models/mine")
    words = ("deploy", "--host", "127.0.0.1", "--port", "9", "--model", "mine")
    done = invoke(*words, PICO_OUTPUT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "no SSH server answers" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [("history",), ("variants", "--json")])
def test_a_reader_that_ends_early_is_no_traceback(
    keep: Keep, words: tuple[str, ...], unbuffered: str
) -> None:
    """``history | head``: the closed pipe is met in a print, or when Python ends."""
    keep("run", runs=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == ""
    assert process.wait() == 141


def test_history_of_an_unknown_model_exits_2(keep: Keep) -> None:
    keep("run", runs=1)
    result = invoke("history", "--model", "mobilnet-v2")
    assert (result.returncode, result.stdout) == (2, "")
    assert "mobilenet-v2" in result.stderr
    assert invoke("history", "--model", "mobilenet-v2").returncode == 0
