"""Our programs on recorded boards: what they read, what they never open, what they explain.

The simulator's npu-runner runs the code here that a board runs, with the memory and the driver that
the board's files tell. In npu-bench the runners are ARM programs in user-mode QEMU.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app.build import run
from tests.support import other_user, recorded_boards, rknn_writer
from tests.support.arm import CPUINFO, qemu, run_arm
from tests.support.model_cards import CLASSES, model_folder
from tests.support.recorded_boards import MAX, MINI, NAMES, board, deadly, opened_below
from tests.support.result_schema import validated

pytestmark = pytest.mark.qemu

FEW = ("--warmup-runs", "0", "--min-runs", "2", "--min-secs", "0")
#: What themrleon's Pico Mini B shows with rk_dma_heap_cma=1M; see tests/boards/README.md.
ONE_MIB = "MemTotal: 57372 kB\nCmaTotal: 1024 kB\nCmaReleased: 1012 kB\nCmaFree: 0 kB\n"


@dataclass(frozen=True)
class Rig:
    arm: Path
    host: Path
    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def model(self) -> Path:
        return self.models / "colours"

    def runner(self, program: str, file: str, root: Path, *words: str) -> Any:
        image = self.model / "images/red.png"
        return run_arm(
            [self.arm / program, "--model", self.model / file, "--image", image, *FEW,
             "--root", root, "--json", "-", *words]
        )  # fmt: skip

    def npu(self, root: Path) -> Any:
        return self.runner("npu/npu-runner", "model.rknn", root)

    def neon(self, root: Path) -> Any:
        return self.runner("neon-runner", "int8.tflite", root)

    def bench(self, root: Path) -> Any:
        programs = self.folder / "programs"
        (programs / "root/proc").mkdir(parents=True, exist_ok=True)
        (programs / "root/proc/cpuinfo").write_text(CPUINFO.format(cpu_part="0xc07"))
        for name, program in (("neon-runner", "neon-runner"), ("npu-runner", "npu/npu-runner")):
            script = programs / name
            script.write_text(
                f"#!/bin/sh\nexec {qemu()} -cpu cortex-a7 -L {programs}/root "
                f'{self.arm / program} "$@"\n'
            )
            script.chmod(0o755)
        return run(
            [self.host / "bench/npu-bench", "--quick", "--programs", programs, "--models",
             self.models, "--output", self.folder / "results", "--root", root, "--json", "-"]
        )  # fmt: skip

    def doctor(self, root: Path) -> Any:
        return run([self.host / "doctor/npu-doctor", "--root", root, "--output", "-"])


#: Every program that reads a board's files, and how it is run on one.
PROGRAMS: dict[str, Callable[[Rig, Path], Any]] = {
    "npu-runner": Rig.npu,
    "neon-runner": Rig.neon,
    "npu-bench": Rig.bench,
    "npu-doctor": Rig.doctor,
}


@pytest.fixture
def rig(arm: Path, host: Path, tmp_path: Path) -> Rig:
    # 20 pixels: rows are padded to 32.
    model_folder(tmp_path / "models/colours", size=20, npu=True)
    return Rig(arm, host, tmp_path)


def test_boards_are_recorded() -> None:
    assert NAMES == (MAX, MINI)


def test_the_watch_sees_what_is_opened(tmp_path: Path) -> None:
    for name in ("volt", "load"):
        (tmp_path / name).write_text("0")
    with opened_below(tmp_path) as opened:
        (tmp_path / "volt").read_text()
    assert opened == {"volt"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_forbidden_files_are_never_opened(rig: Rig, program: str, name: str) -> None:
    root = board(rig.folder / "board", name, {"proc/rknpu/volt": "0\n"})
    with opened_below(root / "proc/rknpu") as opened:
        done = PROGRAMS[program](rig, root)
    assert done.returncode == 0, done.stderr
    known = {"version", "freq", "load", "power"} if program != "neon-runner" else set()
    assert opened - {""} == known


@pytest.mark.parametrize(
    ("name", "version", "free"), [(MAX, "0.8.2", 67572), (MINI, "0.9.2", 24564)]
)
def test_facts_of_a_board(rig: Rig, name: str, version: str, free: int) -> None:
    done = rig.npu(board(rig.folder / "board", name))
    assert done.returncode == 0, done.stderr
    result = validated(done.stdout)
    assert result["engine"]["rknpu"] == {
        "cma_free_kib": free,
        "rkipc_runs": False,
        "version": f"RKNPU driver: v{version}",
        "freq": "420000000",
        "load": "NPU load:  0%",
        "power": "off",
    }
    assert result["emulated"] is True, "its times are not the board's"


def test_bench_on_a_board(rig: Rig) -> None:
    root = board(rig.folder / "board", MINI)
    done = rig.bench(root)
    assert done.returncode == 0, done.stdout + done.stderr
    result = validated(done.stdout)
    system = result["system"]
    assert system["board"] == "Luckfox Pico Mini"
    assert system["memory_kib"] == 34316 and system["cma_kib"] == 24576
    assert system["npu_driver"] == "RKNPU driver: v0.9.2"
    assert "rk_dma_heap_cma=24M" in system["command_line"]
    assert system["emulated"] is True and str(root) in system["emulated_because"]
    # What the driver says is asked for when nothing can be lost.
    assert "npu_mhz" not in result["before"] and result["after"]["npu_mhz"] == 420
    assert result["after"]["cma_free_kib"] == 24564
    assert result["governor"] == {"found": "ondemand", "used": "performance"}
    governor = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    assert governor.read_text().strip() == "ondemand"
    titles = [c["title"] for c in result["models"][0]["configurations"] if c["rounds"] == 1]
    assert titles == ["CPU float32", "CPU int8", "NPU int8"]


def test_a_fact_that_kills_costs_a_null(rig: Rig) -> None:
    root = board(rig.folder / "board")
    with deadly(root / "proc/rknpu/load") as killed:
        done = rig.npu(root)
    assert done.returncode == 0, done.stderr
    assert len(killed) == 1
    result = validated(done.stdout)
    facts = result["engine"]["rknpu"]
    assert facts["load"] is None
    assert facts["version"] == "RKNPU driver: v0.9.2" and facts["power"] == "off"
    assert result["pictures"][0]["correct"] is True
    assert (
        "/proc/rknpu/load could not be read: the process that read it was killed by signal 9"
        in result["warnings"]
    )


def test_the_benchmark_survives_facts_that_kill(rig: Rig) -> None:
    root = board(rig.folder / "board")
    with deadly(root / "proc/rknpu/freq") as killed:
        done = rig.bench(root)
    assert done.returncode == 0, done.stdout + done.stderr
    result = validated(done.stdout)
    # Of the runner once, of npu-bench twice: npu_frequency and npu_mhz.
    assert len(killed) == 3
    after = result["after"]
    assert after["npu_frequency"] is None and after["npu_mhz"] is None
    assert after["npu_load"] == "NPU load:  0%" and result["outcome"] == "ok"
    assert sum("killed by signal 9" in text for text in result["warnings"]) >= 2


@pytest.mark.parametrize(
    ("name", "fine"),
    [
        (MAX, {"chip: rv1106", "driver-version: 0.8.2 with kernel 5.10.110, as on other boards",
               "cma: 67572 of 67584 KiB of contiguous memory are free"}),
        (MINI, {"chip: rv1103", "driver-version: 0.9.2 with kernel 5.10.160, as on other boards",
                "cma: 24564 of 24576 KiB of contiguous memory are free", "cpu-clock: 1104 MHz",
                "root: /dev/mmcblk1p7", "oem: /dev/block/by-name/oem on /oem"}),
    ],
)  # fmt: skip
def test_what_the_doctor_finds_on_a_board(rig: Rig, name: str, fine: set[str]) -> None:
    """No problem; notes only of what nobody recorded and of what is not installed there."""
    done = rig.doctor(board(rig.folder / "board", name))
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)["findings"]
    ok = {f"{f['name']}: {f['text']}" for f in findings if f["level"] == "ok"}
    assert fine | {"npu-clock: 420 MHz", "device: /dev/rknpu can be used"} <= ok
    not_recorded = {"kernel-log", "clock", "root", "cpu-clock", "memory"}
    not_installed = {"programs", "image", "models", "result", "verification", "governor"}
    assert {f["name"] for f in findings if f["level"] != "ok"} <= not_recorded | not_installed


def test_the_doctor_survives_facts_that_kill(rig: Rig) -> None:
    root = board(rig.folder / "board")
    with deadly(root / "proc/rknpu/load") as killed:
        done = rig.doctor(root)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(killed) == 2  # as npu_load of the state, too
    assert document["facts"]["npu"]["load"] is None and document["facts"]["npu"]["power"] == "off"
    assert document["not_read"] == [
        "/proc/rknpu/load could not be read: the process that read it was killed by signal 9"
    ]


def test_model_that_fits(rig: Rig) -> None:
    """CmaFree is 0 on every one of these boards, and that is no reason to refuse a model."""
    rknn_writer.add_npu_model(rig.model, 20, CLASSES, body_bytes=3 << 20)
    for name in NAMES:
        done = rig.npu(board(rig.folder / name, name))
        assert done.returncode == 0, done.stderr


#: Changes of a board's files.
NO_DRIVER: Mapping[str, str | None] = {"dev/rknpu": None, "proc/rknpu/version": None}


@dataclass(frozen=True)
class Bad:
    """A board or a model that cannot do, and what is said about it."""

    says: str
    hint: str
    files: Mapping[str, str | None]
    model: dict[str, Any]


def compatible(*names: str) -> dict[str, str | None]:
    return {"proc/device-tree/compatible": "".join(f"{name}\0" for name in names)}


BAD = {
    "another chip": Bad(
        "this board is radxa,rock-5b, not an RV1103 or RV1106", "made for the NPU of those two",
        compatible("radxa,rock-5b", "rockchip,rk3588"), {},
    ),
    "board with a b chip": Bad(
        "this board is rockchip,rv1106b-evb: the NPU of the b variants is another one", "",
        compatible("rockchip,rv1106b-evb", "rockchip,rv1106b"), {},
    ),
    "model for a b chip": Bad(
        "is made for rv1103b", "convert it again", {}, {"platform": "rv1103b"}
    ),
    "no driver": Bad(
        "the NPU's driver is not loaded: there is no /dev/rknpu", "/etc/init.d/S21appinit start",
        NO_DRIVER, {},
    ),
    "no device node": Bad(
        "there is no /dev/rknpu, although the NPU's driver is loaded", "devtmpfs",
        {"dev/rknpu": None}, {},
    ),
    "old driver": Bad(
        "the NPU's driver is 0.1.9, the runtime needs 0.2.1 or newer", "a module (rknpu.ko)",
        {"proc/rknpu/version": "RKNPU driver: v0.1.9\n"}, {},
    ),
    "1 MiB": Bad(
        "; it needs about 5.0 MiB of contiguous memory (CMA), of 1.0 MiB 1.0 are free",
        "enlarge it: invoke repack --cma 6M",
        {"proc/meminfo": ONE_MIB}, {"body_bytes": 3 << 20},
    ),
    "no size that fits": Bad(
        "; it needs about 50.0 MiB of contiguous memory (CMA), of 1.0 MiB 1.0 are free",
        "the model does not fit this board: of its 57 MiB the system needs about 10, so that CMA "
        "can have at most 47 MiB",
        {"proc/meminfo": ONE_MIB}, {"body_bytes": 48 << 20},
    ),
    "rkipc holds it": Bad(
        "; it needs about 5.0 MiB of contiguous memory (CMA), of 24.0 MiB 2.0 are free",
        "rkipc, the camera program, runs and may hold it: RkLunch-stop.sh ends it; or enlarge it: "
        "invoke repack --cma 27M",
        {
            "proc/meminfo": "MemTotal: 34316 kB\nCmaTotal: 24576 kB\nCmaReleased: 2048 kB\n"
            "CmaFree: 0 kB\n",
            "proc/412/comm": "rkipc\n",
        },
        {"body_bytes": 3 << 20},
    ),
    "no room for a buffer": Bad(
        "no contiguous memory for the model's output (64 bytes); it needs 1.0 MiB of contiguous "
        "memory (CMA), of 1.0 MiB 1.0 are free",
        "invoke repack --cma 2M",
        {"proc/meminfo": "MemTotal: 57372 kB\nCmaTotal: 1028 kB\nCmaReleased: 1028 kB\n"},
        {"body_bytes": 1 << 20},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_boards_and_models_that_cannot_do(rig: Rig, name: str) -> None:
    bad = BAD[name]
    rknn_writer.add_npu_model(rig.model, 20, CLASSES, **bad.model)
    done = rig.npu(board(rig.folder / "board", MINI, bad.files))
    assert done.returncode == 2, done.stderr
    assert bad.says in done.stderr and bad.hint in done.stderr
    assert done.stderr.count("npu-runner: error:") == 1 and done.stdout == ""


def test_no_permission(rig: Rig) -> None:
    root = board(rig.folder / "board")
    (root / "dev/rknpu").chmod(0)
    words = other_user.words() if os.geteuid() == 0 else []
    done = subprocess.run(
        [*words, qemu() or "", str(rig.arm / "npu/npu-runner"), "--model",
         str(rig.model / "model.rknn"), "--image", str(rig.model / "images/red.png"),
         "--root", str(root)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "/dev/rknpu cannot be opened: Permission denied" in done.stderr


def test_a_benchmark_without_the_npu_keeps_the_rest(rig: Rig) -> None:
    done = rig.bench(board(rig.folder / "board", MINI, NO_DRIVER))
    assert done.returncode == 1, done.stderr
    (path,) = (rig.folder / "results").glob("*.json")
    result = validated(path.read_text())
    fp32, int8, npu = result["models"][0]["configurations"]
    assert fp32["rounds"] == int8["rounds"] == 1
    assert "the NPU's driver is not loaded" in npu["failure"]
    assert result == json.loads(done.stdout)


def test_no_board_has_a_file_that_the_list_lacks() -> None:
    """A recorded file that no program reads says nothing."""
    text = (Path(__file__).parents[2] / "app/common/board_files.c").read_text()
    for name in NAMES:
        top = recorded_boards.BOARDS / name
        for path in top.rglob("*"):
            if path.is_file():
                assert path.name in text, path
