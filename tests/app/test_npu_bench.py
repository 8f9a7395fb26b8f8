"""npu-bench, built for this machine under the sanitizers, with the real ARM runner behind it.

The ARM programs run in user-mode QEMU, which cannot start programs by itself: a script is put
where npu-bench looks for neon-runner and passes everything on. Scripts also imitate faults of a
runner (a crash, a result of another version).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.app.build import SANITIZER_ENV, run
from tests.support.arm import CPUINFO, qemu
from tests.support.model_cards import COLOURS, model_folder
from tests.support.result_schema import validated

pytestmark = pytest.mark.qemu

FEW = ("--rounds", "2", "--min-runs", "3", "--min-secs", "0", "--warmup-runs", "0")


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def programs(arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "root/proc").mkdir(parents=True)
    (folder / "root/proc/cpuinfo").write_text(CPUINFO.format(cpu_part="0xc07"))
    command = [qemu() or "", "-cpu", "cortex-a7", "-L", str(folder / "root")]
    for program in ("neon-runner", "npu/npu-runner"):
        words = shlex.join([*command, str(arm / program)])
        script(folder / Path(program).name, f'exec {words} "$@"\n')
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    model_folder(tmp_path / "models/colours")
    return tmp_path / "models"


def bench(
    host: Path, programs: Path, models: Path, *words: str | Path
) -> subprocess.CompletedProcess[str]:
    output = models.parent / "results"
    return run(
        [
            *(host / "bench/npu-bench", "--programs", programs),
            *("--models", models, "--output", output, *words),
        ]
    )


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result that the last line names."""
    last = done.stdout.splitlines()[-1]
    return validated(Path(last.rsplit(" ", 1)[1]).read_text())


def test_table_and_result(host: Path, programs: Path, models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    done = bench(host, programs, models, *FEW, "--json", copy)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith(f"npu-bench: result {tmp_path}/results/")
    assert lines[-1].endswith("Z-001.json")
    headings = [line for line in lines if line.startswith("colours 16 · 0 MMAC · ")]
    assert [line.split(" · ")[2].split()[0] for line in headings] == [
        f"{name}.png" for name in COLOURS
    ]
    assert (
        lines.count("Run           CPU total  CPU inference      CPU total  CPU inference   [us]")
        == 3
    )
    for row in ("1 ", "6 ", "mean", "min", "p50", "p90", "p99", "CV", "n/failed"):
        assert sum(line.startswith(row) for line in lines) >= 3, row
    assert "NPU" not in done.stdout
    assert "round 2/2  colours  CPU int8" in done.stderr

    result = result_of(done)
    assert result == validated(copy.read_text())
    assert result["outcome"] == "ok" and result["failures"] == []
    assert result["options"]["rounds"] == 2
    (model,) = result["models"]
    assert [config["title"] for config in model["configurations"]] == ["CPU float32", "CPU int8"]
    for config in model["configurations"]:
        assert config["file"]["verified"] == "yes"
        assert config["facts"]["xnnpack"]["used"] is True
        assert config["load"]["n"] == 2
        for number, picture in enumerate(config["pictures"]):
            assert picture["correct"] is True
            assert picture["stages"]["inference"]["n"] == 6
            assert picture["first"]["inference"]["n"] == (2 if number == 0 else 0)
            median = picture["stages"]["inference"]["median"]
            want = 2 * model["macs"] / median / 1e3
            assert picture["giga_operations_per_second"] == pytest.approx(want, rel=1e-3)
    assert len(model["comparisons"]) == 3
    for comparison in model["comparisons"]:
        assert comparison["top1_equal"] is True and comparison["cosine"] > 0.99
        samples = {
            config["title"]: next(
                picture["stages"]["total"]["median"]
                for picture in config["pictures"]
                if picture["path"] == comparison["picture"]
            )
            for config in model["configurations"]
        }
        assert comparison["speedup_total"] == pytest.approx(
            samples["CPU float32"] / samples["CPU int8"], rel=1e-3
        )


def test_statistics_against_numpy(host: Path, programs: Path, models: Path) -> None:
    import numpy as np

    done = bench(host, programs, models, *FEW)
    for config in result_of(done)["models"][0]["configurations"]:
        for picture in config["pictures"]:
            for stage in picture["stages"].values():
                samples = np.array(stage["samples"])
                for key, value in (
                    ("median", np.median(samples)),
                    ("p90", np.percentile(samples, 90)),
                    ("p99", np.percentile(samples, 99)),
                    ("mean", samples.mean()),
                    ("stddev", samples.std(ddof=1)),
                ):
                    assert stage[key] == pytest.approx(value, abs=2e-3), key
                assert stage["cv"] == pytest.approx(samples.std(ddof=1) / samples.mean(), rel=1e-3)


def test_npu_columns(host: Path, programs: Path, tmp_path: Path) -> None:
    """The simulated NPU beside both CPU precisions; labelled, and no speed-up of it."""
    models = tmp_path / "models"
    model_folder(models / "mobilenet-v2-colours", npu=True)
    done = bench(host, programs, models, *FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    heading = "Run           CPU total  CPU inference      CPU total  CPU inference"
    assert lines.count(f"{heading}      NPU total  NPU inference   [us]") == 3
    titles = [line for line in lines if line.startswith("mobilenet-v2-colours 16 ·")]
    assert len(titles) == 3 and all(title.endswith("SIMULATED NPU") for title in titles)
    assert sum(line.startswith("NPU int8 against CPU float32: top-1 equal") for line in lines) == 3
    assert sum(line.startswith("NPU int8 against CPU int8: top-1 equal") for line in lines) == 3
    assert done.stdout.count("NPU 67600 total 14960 inference") == 3
    assert "of peak" not in done.stdout
    result = result_of(done)
    assert result["simulated_npu"] is True
    assert any("SIMULATED" in text for text in result["warnings"])
    npu = result["models"][0]["configurations"][2]
    assert npu["title"] == "NPU int8" and npu["simulated"] is True
    assert npu["facts"]["api_version"].startswith("SIMULATED")
    for picture in npu["pictures"]:
        assert picture["correct"] is True
        assert picture["giga_operations_per_second"] is None
        assert picture["share_of_npu_peak"] is None
    for comparison in result["models"][0]["comparisons"]:
        assert comparison["cosine"] > 0.99 and comparison["top1_equal"] is True
        assert (comparison["speedup_total"] is None) == (comparison["of"] == "NPU int8")


@pytest.fixture
def verifiable(golden_model: Path, tmp_path: Path) -> Path:
    """A folder of models: one that has golden vectors, which the simulator answers to the byte."""
    shutil.copytree(golden_model, tmp_path / "models/colours")
    return tmp_path / "models"


def npu_configuration(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (config,) = result_of(done)["models"][0]["configurations"]
    assert config["title"] == "NPU int8"
    return dict(config)


def test_answers_are_compared_before_measuring(
    host: Path, programs: Path, verifiable: Path
) -> None:
    for words, line in (
        (("--quick",), "exact, 2 of 3 vectors"),
        (FEW, "exact, 3 of 3 vectors"),
    ):
        done = bench(host, programs, verifiable, "--engine", "npu", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"SIMULATED NPU = PC: {line}; no proof for a board\n" in done.stdout
        steps = [line for line in done.stderr.splitlines() if line.startswith(("verify", "round"))]
        assert steps[0] == "verify     colours  NPU int8" and steps[1].startswith("round 1/")
        config = npu_configuration(done)
        verification = config["verification"]
        assert verification["line"] == line and verification["verdict"] == "exact"
        assert verification["simulated"] is True
        assert config["verification_failure"] is None
        assert config["pictures"][0]["stages"]["total"]["n"] >= 1


def test_answers_that_are_not_the_pcs(
    host: Path, programs: Path, verifiable: Path, tmp_path: Path
) -> None:
    """Of the simulator they are a warning; with those of an NPU the benchmark fails at its end."""
    answer = verifiable / "colours/golden/001-dog.i8"
    answer.write_bytes(answer.read_bytes()[::-1])
    done = bench(host, programs, verifiable, "--engine", "npu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SIMULATED NPU = PC: WRONG, largest step " in done.stdout
    says = "its answers are not the PC's: WRONG, largest step "
    assert any(
        text.startswith(f"colours NPU int8 (simulated): {says}")
        for text in result_of(done)["warnings"]
    )

    # The verdict of an NPU, whose simulation here is only in that word.
    real = shlex.quote(str(programs / "npu-runner"))
    script(
        tmp_path / "board/npu-runner",
        f'case "$*" in *--verify*) {real} "$@" | sed "/simulated\\"/s/true/false/" ;; '
        f'*) exec {real} "$@" ;; esac\n',
    )
    done = bench(host, tmp_path / "board", verifiable, "--engine", "npu", "--quick")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"npu-bench: FAILED: colours NPU int8: {says}")
    assert "\nNPU = PC: WRONG, largest step " in done.stdout
    config = npu_configuration(done)
    assert config["verification"]["verdict"] == "wrong"
    assert config["rounds"] == 1 and config["failure"] is None
    shutil.rmtree(verifiable / "colours/golden")
    done = bench(host, programs, verifiable, "--engine", "npu", "--quick")
    assert done.returncode == 0
    assert "NPU = PC: not compared: the model has no golden vectors" in done.stdout
    config = npu_configuration(done)
    assert config["verification"] is None and config["verification_failure"] is None


NO_VERDICTS = {
    "crash": ("kill -SEGV $$", "npu-runner was killed by signal 11"),
    "garbage": ("echo '{\"verification\": '", "without a verdict"),
    "no verdict": ('echo \'{"verification": {"line": "x"}}\'', "without a verdict"),
    "refused": ("echo 'npu-runner: error: of another model' >&2; exit 2", "of another model"),
}


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_answers_that_cannot_be_compared(
    host: Path, programs: Path, verifiable: Path, tmp_path: Path, name: str
) -> None:
    text, says = NO_VERDICTS[name]
    real = shlex.quote(str(programs / "npu-runner"))
    script(
        tmp_path / "faulty/npu-runner",
        f'case "$*" in *--verify*) {text} ;; *) exec {real} "$@" ;; esac\n',
    )
    done = bench(host, tmp_path / "faulty", verifiable, "--engine", "npu", "--quick")
    assert done.returncode == 1
    assert says in done.stdout.splitlines()[-1]
    config = npu_configuration(done)
    assert config["verification"] is None and says in config["verification_failure"]
    assert config["rounds"] == 1 and config["failure"] is None
    assert "NPU = PC: not compared: npu-runner" in done.stdout


def test_quick_and_json_on_stdout(host: Path, programs: Path, models: Path) -> None:
    done = bench(host, programs, models, "--quick", "--json", "-")
    assert done.returncode == 0, done.stderr
    result = validated(done.stdout)
    assert result["options"]["quick"] is True
    assert result["models"][0]["configurations"][0]["pictures"][0]["stages"]["total"]["n"] == 1
    assert done.stderr.splitlines()[-1].startswith("npu-bench: result ")


def test_fewer_pictures(host: Path, programs: Path, models: Path) -> None:
    done = bench(host, programs, models, "--quick", "--pictures", "2", "--engine", "cpu")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert result["options"]["pictures"] == 2
    card = json.loads((models / "colours/model.json").read_text())
    assert len(card["images"]) > 2
    first = [image["path"] for image in card["images"][:2]]
    for config in result["models"][0]["configurations"]:
        if config["rounds"]:
            assert [picture["path"] for picture in config["pictures"]] == first
    done = bench(host, programs, models, "--pictures", "0")
    assert done.returncode == 2 and "--pictures 0: must be a whole number from 1" in done.stdout


def test_mlperf_style_is_only_a_style(host: Path, programs: Path, models: Path) -> None:
    """Options after it refine it: nobody waits 5 x 10 s here for each picture."""
    few = ("--rounds", "1", "--min-secs", "0.1")
    done = bench(host, programs, models, "--mlperf-style", *few, "--engine", "cpu")
    assert done.returncode == 0
    assert "this is not an MLPerf result" in done.stdout
    options = result_of(done)["options"]
    assert options["mlperf_style"] is True and options["warmup_runs"] == 5
    for config in result_of(done)["models"][0]["configurations"]:
        for picture in config["pictures"]:
            # MLPerf Tiny's rule is about the loop on the wall clock: samples are less.
            assert len(picture["loops"]) == 1 and picture["loops"][0] >= 0.1e6
            assert sum(picture["stages"]["total"]["samples"]) <= picture["loops"][0]


def test_results_are_numbered(host: Path, programs: Path, models: Path) -> None:
    """A clock that stands still or jumps back never costs an earlier result."""
    for _ in range(2):
        assert bench(host, programs, models, "--quick", "--engine", "cpu").returncode == 0
    names = sorted(path.name for path in (models.parent / "results").glob("*.json"))
    assert len(names) == 2


def test_wrong_answer(host: Path, programs: Path, models: Path) -> None:
    shutil.rmtree(models / "colours")
    model_folder(models / "colours", images=[{"path": "images/blue.png", "title": "", "top1": [7]}])
    done = bench(host, programs, models, "--quick")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("npu-bench: FAILED: colours CPU float32: wrong top-1 on images/blue.png")
    assert "(and 1 more)" in last
    assert done.stdout.count("WRONG") == 2
    result = result_of(done)
    assert result["outcome"] == "failed" and len(result["failures"]) == 2


def test_a_file_that_its_card_does_not_describe(host: Path, programs: Path, models: Path) -> None:
    with (models / "colours/int8.tflite").open("ab") as stream:
        stream.write(b"x")
    done = bench(host, programs, models, "--quick")
    assert done.returncode == 1
    assert "SHA-256 differs" in done.stdout.splitlines()[-1]
    by_title = {c["title"]: c for c in result_of(done)["models"][0]["configurations"]}
    assert by_title["CPU int8"]["file"]["verified"] == "no"
    assert by_title["CPU int8"]["pictures"] == []
    assert by_title["CPU float32"]["rounds"] == 1


FAULTS = {
    "crash": ("kill -SEGV $$\n", "killed by signal 11"),
    "memory": ("kill -KILL $$\n", "killed by signal 9 (out of memory?)"),
    "garbage": ("echo '{\"schema\": '\n", "this is not JSON"),
    "other version": ('echo \'{"schema": "2.0", "kind": "runner"}\'\n', "schema 2.0"),
    "nothing": ("exit 0\n", "ended with status 0"),
    "refused": ("echo 'neon-runner: error: no such luck' >&2; exit 2\n", "no such luck"),
    "no pictures": ('echo \'{"schema": "1.0", "pictures": []}\'\n', "without all pictures"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_runners_that_fail(host: Path, models: Path, tmp_path: Path, name: str) -> None:
    text, says = FAULTS[name]
    script(tmp_path / "faulty/neon-runner", text)
    done = bench(host, tmp_path / "faulty", models, "--quick")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("npu-bench: FAILED: colours CPU float32: ")
    assert says in done.stdout.splitlines()[-1]
    assert result_of(done)["outcome"] == "failed"


def test_what_memory_cannot_hold_is_not_started(host: Path, tmp_path: Path) -> None:
    """Told with both numbers; the configurations that fit run, and the result says all of it."""
    folder = model_folder(tmp_path / "models/colours", npu=True)
    started = tmp_path / "started"
    for name in ("neon-runner", "npu-runner"):
        text = f'echo "$0" >>{shlex.quote(str(started))}; exit 3\n'
        script(tmp_path / "programs" / name, text)
    with (tmp_path / "programs/neon-runner").open("r+b") as program:
        program.truncate(1 << 40)  # sparse; no machine that runs these tests has a TiB
    done = bench(host, tmp_path / "programs", tmp_path / "models", *FEW)
    assert done.returncode == 1, done.stdout + done.stderr
    for title, name in (("float32", "fp32"), ("int8", "int8")):
        found = re.search(
            f"failed: colours CPU {title}: not enough memory: neon-runner with its model needs "
            r"at least (\d+) KiB, (\d+) KiB are available",
            done.stdout,
        )
        assert found, done.stdout
        weights = (folder / f"{name}.tflite").stat().st_size
        assert int(found[1]) == ((1 << 40) + weights) // 1024 + 2048
        assert 0 < int(found[2]) < int(found[1])
    assert "failed: colours NPU int8: npu-runner ended with status 3" in done.stdout
    assert started.read_text().split() == [str(tmp_path / "programs/npu-runner")]
    assert result_of(done)["outcome"] == "failed"


def test_bad_input(host: Path, programs: Path, models: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    shutil.copytree(models, broken)
    (broken / "colours/model.json").write_text('{\n"schema": 1,\n')
    for done, says in (
        (bench(host, programs, empty), f"there is no model in {empty}"),
        (bench(host, programs, tmp_path / "absent"), "could not read the models"),
        (bench(host, programs, broken), "model.json:2: this is not JSON"),
        (bench(host, programs, models, "--model", "nobody"), "no model named nobody"),
        (bench(host, programs, models, "--engine", "npu"), "no installed program can run"),
        (bench(host, empty, models), "no installed program can run"),
        (bench(host, programs, models, "--rounds", "0"), "--rounds 0"),
        (bench(host, programs, models, "--engine", "gpu"), "allowed are cpu and npu"),
        (bench(host, programs, models, "--output", "/dev/null"), "/dev/null"),
        (bench(host, programs, models, "--output", "/proc/nowhere"), "/proc/nowhere"),
        (bench(host, programs, models, "--quick", "--json", "/dev/full"), "No space left"),
    ):
        assert done.returncode == 2, done.stderr
        last = done.stdout.splitlines()[-1]
        assert last.startswith("npu-bench: FAILED: ") and says in last


def test_two_at_once(host: Path, models: Path, tmp_path: Path) -> None:
    script(tmp_path / "slow/neon-runner", "touch $0.running; exec sleep 600\n")
    first = subprocess.Popen(
        [host / "bench/npu-bench", "--programs", tmp_path / "slow", "--models", models,
         "--output", tmp_path / "results"],
        env={**os.environ, **SANITIZER_ENV},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "slow/neon-runner.running").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = bench(host, tmp_path / "slow", models)
        assert second.returncode == 2
        assert f"another npu-bench (process {first.pid}) is measuring" in second.stdout
    finally:
        first.send_signal(signal.SIGINT)
        stdout, _ = first.communicate(timeout=300)
    assert first.returncode == 130
    assert stdout == "npu-bench: FAILED: interrupted\n"
    assert list((tmp_path / "results").glob("*.json")) == []


def test_schema_refuses_what_it_should() -> None:
    import jsonschema

    from tests.support.result_schema import SCHEMA

    validator = jsonschema.Draft202012Validator(SCHEMA)
    for broken in ({}, {"schema": "2.0", "kind": "bench"}, {"schema": "1.0", "kind": "bench"}):
        assert not validator.is_valid(json.loads(json.dumps(broken)))
