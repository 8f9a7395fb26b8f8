"""Rockchip's own runtime over a stub of its driver, and the simulator held against it.

Most of it needs RKNN_RUNTIME_DIR (see ``genuine.py``). What the runtime answered about the shipped
models is recorded, and holds the simulator everywhere.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.models import rknn_file
from tests.app import build, genuine, layout_networks
from tests.app.pictures import scene
from tests.support import board_root, rknn_writer
from tests.support.result_schema import validated

#: Scale and zero point are measured on pictures, and the custom string has a hash of the weights:
#: whether another kind of CPU computes the same bits is not known. They are compared where the
#: payload is the recorded one; all else follows from the network's shape. (The .rknn as a whole
#: differs from one conversion to the next.)
MEASURED = {"scale", "zp", "string"}
#: Where the simulator cannot agree, and why.
APART = {
    (
        "SDK_VERSION",
        "api_version",
    ): "says SIMULATED, so that no simulated time passes for the NPU's",
    ("SDK_VERSION", "drv_version"): "the same",
    ("MEM_SIZE", "total_weight_size"): "in a part of the file that only the vendor can read",
    ("MEM_SIZE", "total_internal_size"): "the same",
    ("MEM_SIZE", "total_dma_allocated_size"): "the same",
}
TO_DEVICE, FROM_DEVICE = 1, 2

Start = Callable[..., genuine.Run]


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> Path:
    """``model.rknn`` of a shipped model; skips where its weights cannot be had."""
    build.vendor_runtime()  # before minutes of conversion
    try:
        return genuine.shipped(request.param)
    except UserError as error:
        pytest.skip(f"{request.param} cannot be made here: {error.message.splitlines()[0]}")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A recorded Pico Mini, for ``--root``: all of its 24 MiB of CMA are free."""
    return shutil.copytree(ROOT / "tests/boards/pico-mini-5.10.160", tmp_path / "board")


@pytest.fixture
def start(model: Path, board: Path, tmp_path: Path) -> Start:
    """Run npu-runner on the stub."""
    runner = genuine.programs() / "npu/npu-runner"

    def run(*words: str | Path, **stub: str) -> genuine.Run:
        log = tmp_path / "requests.log"
        log.unlink(missing_ok=True)
        return genuine.run(
            runner, "--root", board, "--model", model, *words, "--json", "-", log=log, **stub
        )

    return run


@pytest.fixture
def measure(start: Start, tmp_path: Path) -> Start:
    """The same with a first run, a warm-up and two measured ones of a picture without a label."""
    picture = tmp_path / "scene.png"
    scene(90, 70).save(picture)
    few = ("--warmup-runs", "1", "--min-runs", "2", "--min-secs", "0")
    return functools.partial(start, "--image", picture, *few)


def every_model(test: Callable[..., None]) -> Callable[..., None]:
    """Once for each shipped model; needs the vendor's runtime."""
    marks = [pytest.mark.external, pytest.mark.qemu, pytest.mark.slow]
    for mark in (*marks, pytest.mark.parametrize("model", genuine.SHIPPED, indirect=True)):
        test = mark(test)
    return test


@every_model
@pytest.mark.parametrize("driver", ["0.8.2", "0.9.2"])
def test_a_run_from_beginning_to_end(
    measure: Start, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From level 4 on the library would submit operator by operator, and print to stdout.
    monkeypatch.setenv("RKNN_LOG_LEVEL", "4")
    done = measure(driver=version_code(driver))
    assert done.status == 0, done.stderr
    result = validated(done.stdout)
    engine = result["engine"]
    assert result["simulated_npu"] is False and engine["driver_version"] == driver
    assert engine["api_version"].startswith("2.") and engine["custom_string"]
    assert all(engine["memory"].values()) and engine["rknpu"]["version"] == "RKNPU driver: v0.9.2"
    assert done.left() == []
    jobs = [number for number, each in enumerate(done.requests) if each["request"] == "SUBMIT"]
    assert len(jobs) == 2 + result["pictures"][0]["runs"] == 4  # the first one, a warm-up
    # Tasks, model, input, output: the last two are the buffers that the runner asks for.
    objects = {each["object"]: each["size"] for each in done.of("MEM_CREATE")}
    (source, source_size), (scores, scores_size) = list(objects.items())[-2:]
    assert source_size >= engine["input"]["bytes"] and scores_size >= engine["output"]["bytes"]
    for begin, end in zip(jobs, [*jobs[1:], len(done.requests)], strict=True):
        before, after = done.requests[begin - 1], done.requests[begin + 1 : end]
        assert (before["request"], before["object"]) == ("MEM_SYNC", source)
        assert before["flags"] == TO_DEVICE and before["size"] >= engine["input"]["bytes"]
        back = next(each for each in after if each["request"] == "MEM_SYNC")
        assert (back["object"], back["flags"]) == (scores, FROM_DEVICE)
        assert back["size"] >= engine["output"]["bytes"]


@every_model
@pytest.mark.parametrize("free_kib", [100, 24564])
def test_each_refused_memory(measure: Start, board: Path, free_kib: int) -> None:
    """Every allocation in turn: the reason in words, and nothing kept.

    Where the figures explain it, that is exit 2 with the size that would do; where enough is free,
    but in pieces, exit 1.
    """
    whole = measure()
    assert whole.status == 0, whole.stderr
    sizes = [each["size"] for each in whole.of("MEM_CREATE")]
    assert len(sizes) >= 4
    meminfo = board / "proc/meminfo"
    for turn in range(1, len(sizes) + 1):
        # On a board what this process has is no longer free.
        free = max(free_kib - sum(sizes[: turn - 1]) // 1024, 0)
        text = re.sub(r"(CmaReleased: +)\d+", rf"\g<1>{free}", meminfo.read_text())
        meminfo.write_text(text)
        done = measure(fail=f"MEM_CREATE:{turn}:{errno.ENOMEM}")
        said = own_words(done)
        assert done.status == (2 if free_kib < sum(sizes) // 1024 else 1), (turn, said)
        assert "contiguous memory" in said and "hint:" in said, (turn, said)
        assert ("repack --cma" in said) == (done.status == 2), (turn, said)
        assert done.stdout == "" and done.left() == [], turn
        assert len(done.of("MEM_CREATE")) == turn - 1 and not done.of("SUBMIT")


@every_model
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ETIMEDOUT])
@pytest.mark.parametrize("turn", [1, 2])
def test_a_submit_that_fails(measure: Start, code: int, turn: int) -> None:
    """In the warm-up, and in the middle of a measurement."""
    done = measure(fail=f"SUBMIT:{turn}:{code}")
    assert done.status == 1, done.stderr
    assert "the NPU failed to run the model" in own_words(done)
    assert done.stdout == "" and done.left() == []
    assert len(done.of("SUBMIT")) == turn - 1


@every_model
def test_a_driver_that_is_too_old(measure: Start, board: Path) -> None:
    board_root.change(board, "proc/rknpu/version", "0.9.2", "0.2.0")
    done = measure(driver=version_code("0.2.0"))
    assert done.status == 2 and done.stdout == ""
    assert re.search(r"driver.*0\.2\.0", own_words(done)) and "0.2.1" in own_words(done)
    assert done.left() == [] and not done.of("MEM_CREATE")


@every_model
def test_verification_reads_what_the_npu_wrote(start: Start, model: Path) -> None:
    """The stub writes a golden answer in place of the NPU, or nothing: known faults of boards."""
    golden = model.parent / "golden"
    vectors = json.loads((golden / "golden.json").read_text(encoding="utf-8"))["vectors"]
    one = ("--verify", golden, "--vectors", "1")
    right = start(*one, answer=str(golden / vectors[0]["output"]))
    assert right.status == 0, right.stderr
    assert validated(right.stdout)["verification"]["verdict"] == "exact"
    wrong = start(*one)
    assert wrong.status == 1 and validated(wrong.stdout)["verification"]["verdict"] == "wrong"
    assert right.left() == wrong.left() == []


def version_code(driver: str) -> str:
    """A driver's version as it tells it: major * 10000 + minor * 100 + patch."""
    major, minor, patch = map(int, driver.split("."))
    return str(major * 10000 + minor * 100 + patch)


def own_words(done: genuine.Run) -> str:
    """What the program says itself, without the lines of the vendor's library."""
    lines = done.stderr.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("npu-runner: ")), len(lines))
    return "\n".join(lines[first:])


# -- the stub itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rknpu_requests.c on the stub, for this machine."""
    build.need("gcc")
    program = tmp_path_factory.mktemp("stub") / "requests"
    sources = [genuine.STUB, genuine.STUB.with_name("rknpu_requests.c")]
    subprocess.run(["gcc", *genuine.STUB_FLAGS, *sources, genuine.WRAP, "-o", program], check=True)
    return program


@pytest.mark.parametrize(
    ("what", "says"),
    {
        "volt": "RKNPU_GET_VOLT (ACTION 4) was asked",
        "file": "/proc/rknpu/volt was opened",
        "twice": "names the memory object 0xc1000000, which is not alive",
        "beyond": "a sync of 4097 bytes at 4096 of an object of 8192",
    }.items(),
)
def test_the_stub_stops_what_would_harm_a_kernel(requests: Path, what: str, says: str) -> None:
    done = subprocess.run([requests, what], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert says in done.stderr


def test_the_stub_answers_and_fails_as_asked(requests: Path, tmp_path: Path) -> None:
    def status(what: str, **env: str) -> int:
        done = subprocess.run([requests, what], env={**os.environ, **env}, check=False)
        return done.returncode

    log = tmp_path / "log"
    assert status("once", RKNPU_STUB_LOG=str(log)) == 0
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["request"] for each in asked] == ["open", "MEM_CREATE", "MEM_SYNC", "MEM_DESTROY"]
    assert (asked[1]["size"], asked[1]["flags"]) == (8192, 2)
    assert status("create", RKNPU_STUB_FAIL=f"MEM_CREATE:1:{errno.ENOMEM}") == errno.ENOMEM
    assert status("create", RKNPU_STUB_FAIL=f"MEM_CREATE:2:{errno.ENOMEM}") == 0
    # The driver compares the whole number, with the argument's size in it.
    assert status("other size") == errno.EINVAL


# -- the simulator -------------------------------------------------------------------------------


def simulated(host: Path, model: Path) -> genuine.Answers:
    done = build.run([host / "tests/attributes-tool", model])
    assert done.returncode == 0, done.stderr
    found: genuine.Answers = json.loads(done.stdout)
    return found


def compare(ours: genuine.Answers, theirs: genuine.Answers, ignored: Collection[str] = ()) -> None:
    """Every field of every answer but those of APART, and but ``ignored`` ones."""
    assert list(ours) == list(theirs)
    for query, answer in theirs.items():
        for field in {*answer, *ours[query]} - {*ignored}:
            if (query, field) not in APART:
                assert ours[query].get(field, "absent") == answer.get(field, "absent"), (
                    query,
                    field,
                )


def recorded(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(genuine.RECORD.read_text(encoding="utf-8"))[kind]
    return found


def not_comparable(kept: Mapping[str, Any], model: Path) -> set[str]:
    """The fields that another conversion may have measured otherwise."""
    same = kept["payload_sha256"] == rknn_file.read(model).payload_sha256
    if not same:
        print(f"not compared, as {model} has another payload than the recorded one: {MEASURED}")
    return set() if same else MEASURED


@every_model
def test_the_simulator_answers_as_the_runtime(host: Path, model: Path, tmp_path: Path) -> None:
    ours, theirs = simulated(host, model), genuine.answers(model, tmp_path / "log")
    compare(ours, theirs)
    for query, field in APART:
        assert ours[query][field] != theirs[query][field], f"{query} {field} need not be apart"
    number = re.match(r"[\d.]+", theirs["SDK_VERSION"]["api_version"])
    assert number is not None
    assert f"SIMULATED {number[0]} " in ours["SDK_VERSION"]["api_version"]


@every_model
def test_the_record_is_what_the_runtime_answers(model: Path, tmp_path: Path) -> None:
    card = json.loads((model.parent / "model.json").read_text(encoding="utf-8"))
    kept = recorded("models").get(card["name"])
    if kept is None:
        pytest.skip(f"{card['name']} is not recorded: python -m tests.app.genuine")
    compare(kept["answers"], genuine.answers(model, tmp_path / "log"), not_comparable(kept, model))


@pytest.mark.external
@pytest.mark.qemu
@pytest.mark.parametrize("name", layout_networks.NETWORKS)
def test_the_record_of_layouts_is_what_the_runtime_answers(name: str, tmp_path: Path) -> None:
    build.vendor_runtime()
    model, kept = genuine.layouts()[name], recorded("layouts")[name]
    assert genuine.tensors(model) == kept["tensors"]
    compare(kept["answers"], genuine.answers(model, tmp_path / "log"), MEASURED)


@pytest.mark.slow
def test_the_simulator_answers_as_recorded(host: Path) -> None:
    """About the model that every run of the tests converts."""
    name = "efficientnet-lite0"
    model, kept = genuine.shipped(name), recorded("models")[name]
    compare(simulated(host, model), kept["answers"], not_comparable(kept, model))


@pytest.mark.parametrize("name", layout_networks.NETWORKS)
def test_layouts_as_recorded(host: Path, tmp_path: Path, name: str) -> None:
    """A file with the same public description as the recorded network's, in the simulator."""
    kept = recorded("layouts")[name]
    source, scores = kept["tensors"]
    model = tmp_path / "model.rknn"
    model.write_bytes(
        rknn_writer.rknn(
            0, 0, shape=source["shape"], output=scores["shape"], vx_type=scores["type"]
        )
    )
    sidecar = rknn_writer.sidecar(0, 0)
    for kind in ("input", "output"):
        answer = kept["answers"][f"NATIVE_{kind.upper()}_ATTR"]
        sidecar[kind] |= {"scale": answer["scale"], "zero_point": answer["zp"]}
    (tmp_path / "model.rknn.json").write_text(json.dumps(sidecar))
    # After a pooling layer the runtime pads to 32 channels, not to 16. The public part of the file
    # does not name the last layer; no classifier ends in one.
    pooled = {"dims", "n_elems", "size", "size_with_stride"} if name == "pool" else set()
    compare(simulated(host, model), kept["answers"], pooled)
