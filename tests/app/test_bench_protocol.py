"""The protocol of npu-bench: order of configurations, governor, warnings about the machine.

npu-bench runs in a mount namespace that has a board's /sys and /proc/meminfo, so the real paths
are read. In place of a runner a script prints a result with chosen times: these tests look at what
npu-bench makes of samples, not at an emulated processor.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app.build import SANITIZER_ENV, SANITIZER_STATUS, need
from tests.support.model_cards import COLOURS, model_folder
from tests.support.result_schema import validated

CPU0 = "devices/system/cpu/cpu0/cpufreq"
GOVERNOR = f"{CPU0}/scaling_governor"
TEMPERATURE = "class/thermal/thermal_zone0/temp"
#: $1 is a folder with sys/ and meminfo, $2 what is done before npu-bench (the rest) starts.
NAMESPACE = """
set -e
folder=$1 more=$2
shift 2
mount --bind "$folder/sys" /sys
mount --bind "$folder/meminfo" /proc/meminfo
eval "$more"
exec "$@"
"""
#: Another process, which in this mount namespace has the name of the vendor's camera program.
RKIPC = """
sleep 100 & other=$!
echo rkipc >"$folder/comm"
mount --bind "$folder/comm" /proc/$other/comm
trap 'kill $other' EXIT
"$@"
exit $?
"""
#: Logs its arguments and the current governor, then runs the given commands.
RUNNER = """#!/bin/sh
echo "$2" "$(cat /sys/{governor})" "$@" >>"{folder}/log"
{then}
"""
MEMINFO = """MemTotal:          58000 kB
MemFree:           20000 kB
MemAvailable:      {available} kB
SwapTotal:         {swap} kB
SwapFree:          {free} kB
"""
RUN_STAGES = ("decode", "prepare", "inference", "post", "total")


def runner_result(inference: list[float]) -> dict[str, Any]:
    """A runner's result, as far as npu-bench reads it."""
    pictures = [
        {
            "path": f"images/{name}.png",
            "first": None,
            "runs": len(inference),
            "failed": 0,
            "loop": sum(inference),
            "stages": {stage: {"samples": inference} for stage in RUN_STAGES},
            "top": [{"class": number, "label": name, "score": 1.0, "probability": 0.9}],
            "correct": True,
            "logits": [0.0] * 12,
        }
        for number, name in enumerate(COLOURS)
    ]
    return {
        "schema": "1.0",
        "kind": "runner",
        "emulated": False,
        "simulated_npu": False,
        "engine": {"name": "cpu", "runtime": "none", "precision": "int8", "line": "a script"},
        "load": 5.0,
        "memory": {"peak_kib": 1, "available_kib": 1},
        "pictures": pictures,
        "warnings": [],
    }


#: 100 a round, a CV of 1 %.
STEADY = [1000.0, 1020.0] * 50


@dataclass
class Rig:
    """A board's /sys in a folder, a runner that is a script, and npu-bench between them."""

    program: Path
    folder: Path

    def put(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def governor(self) -> str:
        return (self.folder / "sys" / GOVERNOR).read_text().strip()

    def runner(self, then: str) -> None:
        text = RUNNER.format(governor=GOVERNOR, folder=self.folder, then=then)
        self.put("bin/neon-runner", text)
        (self.folder / "bin/neon-runner").chmod(0o755)

    def answers(self, samples: list[float]) -> None:
        self.put("answer", json.dumps(runner_result(samples)))
        self.runner(f'cat "{self.folder}/answer"')

    def log(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    def command(self, *words: str, before: str = "") -> list[str]:
        unshare = ["unshare", "--mount"]
        if os.geteuid() != 0:
            unshare.insert(1, "--map-root-user")
        return [
            *unshare,
            *("sh", "-c", NAMESPACE, "sh", str(self.folder), before),
            *(str(self.program), "--programs", str(self.folder / "bin")),
            *("--models", str(self.folder / "models"), "--output", str(self.folder / "results")),
            *words,
        ]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            env={**os.environ, **SANITIZER_ENV},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def bench(self, *words: str, before: str = "") -> dict[str, Any]:
        """Run it; the result, which must be valid."""
        done = subprocess.run(
            self.command(*words, before=before),
            env={**os.environ, **SANITIZER_ENV},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode not in (SANITIZER_STATUS, 130), done.stderr[-4000:]
        assert done.returncode >= 0, done.stderr[-4000:]
        last = done.stdout.splitlines()[-1]
        assert last.startswith("npu-bench: result "), done.stdout + done.stderr
        return validated(Path(last.rsplit(" ", 1)[1]).read_text())


@pytest.fixture
def rig(host: Path, tmp_path: Path) -> Rig:
    need("unshare", "mount")
    made = Rig(host / "bench/npu-bench", tmp_path)
    model_folder(tmp_path / "models/colours")
    made.put(f"sys/{GOVERNOR}", "ondemand\n")
    made.put(f"sys/{TEMPERATURE}", "41000\n")
    made.put("meminfo", MEMINFO.format(available=30000, swap=0, free=0))
    made.answers(STEADY)
    return made


def said(result: dict[str, Any]) -> list[str]:
    """The warnings, but for that of the clock: this machine's may change."""
    return [text for text in result["warnings"] if "CPU clock changed" not in text]


def test_a_quiet_machine_has_no_warning(rig: Rig) -> None:
    result = rig.bench("--rounds", "1")
    assert said(result) == []
    assert result["governor"] == {"found": "ondemand", "used": "performance"}
    assert result["before"]["governor"] == result["after"]["governor"] == "performance"
    assert result["before"]["temperature_celsius"] == 41
    assert result["before"]["available_kib"] == 30000
    file = result["models"][0]["configurations"][1]["file"]
    assert file["bytes"] == (rig.folder / "models/colours/int8.tflite").stat().st_size


def test_rounds_are_interleaved(rig: Rig) -> None:
    """A drift hits all configurations alike: no configuration runs twice in a row."""
    model_folder(rig.folder / "models/other")
    rig.bench("--rounds", "3", "--warmup-runs", "4", "--min-runs", "7", "--min-secs", "0.5")
    once = [
        f"{rig.folder}/models/{model}/{file}.tflite"
        for model in ("colours", "other")
        for file in ("fp32", "int8")
    ]
    assert [line[0] for line in rig.log()] == once * 3
    for line in rig.log():
        assert line[1] == "performance"
        text = " ".join(line)
        assert "--warmup-runs 4 --min-runs 7 --min-secs 0.5 --max-secs 60" in text


def test_mlperf_style_asks_for_its_loops(rig: Rig) -> None:
    """Single stream, five loops of ten seconds and more, warmed up; the answers by the same run."""
    result = rig.bench("--mlperf-style")
    assert len(rig.log()) == 5 * 2
    for line in rig.log():
        text = " ".join(line)
        assert "--warmup-runs 5 --min-runs 1 --min-secs 10 --max-secs 60 --threads 1" in text
    for configuration in result["models"][0]["configurations"]:
        assert configuration["rounds"] == 5
        for picture in configuration["pictures"]:
            assert picture["correct"] is True
            assert len(picture["loops"]) == 5
            assert picture["stages"]["inference"]["median"] == 1010
            assert picture["stages"]["inference"]["p90"] == 1020


WARNINGS: dict[str, tuple[Callable[[Rig], None], tuple[str, ...], str, str]] = {
    "temperature": (
        lambda rig: rig.put(f"sys/{TEMPERATURE}", "91400\n"), (), "", "91 degrees Celsius"
    ),
    "swap": (
        lambda rig: rig.put("meminfo", MEMINFO.format(available=30000, swap=9000, free=8000)),
        (), "", "swap is in use",
    ),
    "rkipc": (lambda rig: None, (), RKIPC, "rkipc runs"),
    "variation": (
        lambda rig: rig.answers([1000.0, 1060.0] * 50), (), "", "inference times vary by 2.9% (CV)"
    ),
    "samples": (lambda rig: rig.answers(STEADY[:99]), (), "", "fewer than 100 runs: p99"),
    "governor": (
        lambda rig: None, ("--keep-governor",), "", 'the CPU governor is "ondemand"'
    ),
    "stubborn governor": (
        lambda rig: None,
        (),
        f"mount --bind -o ro $folder/sys/{GOVERNOR} /sys/{GOVERNOR}",
        'the CPU governor stays "ondemand"',
    ),
    "governor under way": (
        lambda rig: rig.runner(f'echo powersave >/sys/{GOVERNOR}; cat "{rig.folder}/answer"'),
        (), "", 'the CPU governor became "powersave"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(rig: Rig, name: str) -> None:
    """Each by what it is about; without that test_a_quiet_machine_has_no_warning."""
    prepare, options, before, text = WARNINGS[name]
    prepare(rig)
    warnings = said(rig.bench("--rounds", "1", *options, before=before))
    assert any(text in warning for warning in warnings), warnings
    about = {warning for warning in warnings if text not in warning}
    if name == "stubborn governor":
        about = {w for w in about if 'the CPU governor is "ondemand"' not in w}
    assert not about, "only what was made wrong is warned of"


def test_governor_that_is_right_is_left_alone(rig: Rig) -> None:
    rig.put(f"sys/{GOVERNOR}", "performance\n")
    result = rig.bench("--rounds", "1")
    assert result["governor"] == {"found": "performance", "used": "performance"}
    assert rig.governor() == "performance"


def test_a_fixed_clock_has_no_governor(rig: Rig) -> None:
    (rig.folder / "sys" / GOVERNOR).unlink()
    result = rig.bench("--rounds", "1")
    assert result["governor"] == {"found": None, "used": None}
    assert said(result) == []


def test_governor_comes_back(rig: Rig) -> None:
    rig.bench("--rounds", "1")
    assert rig.governor() == "ondemand"
    assert rig.log()[0][1] == "performance"


def test_governor_comes_back_after_a_failure(rig: Rig) -> None:
    rig.runner("exit 1")
    done = subprocess.run(rig.command(), env={**os.environ, **SANITIZER_ENV}, capture_output=True)
    assert done.returncode == 1
    assert rig.governor() == "ondemand"


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def name_of(process: Path) -> str:
    """What a process's ``comm`` says; nothing when it has ended, be it while it is asked."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return process.read_text()
    return ""


@pytest.mark.parametrize(
    "signals",
    [("SIGINT",), ("SIGTERM",), ("SIGHUP",), ("SIGKILL",), ("SIGINT", "SIGINT")],
    ids=lambda names: "+".join(names),
)
def test_governor_comes_back_after(rig: Rig, signals: tuple[str, ...]) -> None:
    """Also where no handler runs; and no runner goes on beside the next benchmark."""
    rig.runner(
        f"echo $$ >{rig.folder}/pid; mv {rig.folder}/pid {rig.folder}/running; exec sleep 900"
    )
    bench = rig.start()
    try:
        until((rig.folder / "running").exists, "the runner was not started")
        assert rig.governor() == "performance"
        for name in signals:
            bench.send_signal(getattr(signal, name))
        stdout, _ = bench.communicate(timeout=300)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == (-signal.SIGKILL if signals == ("SIGKILL",) else 130), stdout
    until(lambda: rig.governor() == "ondemand", "the governor was not put back")
    runner = Path("/proc") / (rig.folder / "running").read_text().strip() / "comm"
    until(lambda: name_of(runner) != "sleep\n", "the runner goes on")
    assert not list((rig.folder / "results").glob("*.json"))


def test_models_without_pictures_are_left_out(rig: Rig) -> None:
    """A user's own model has none, and must not keep the others from being measured."""
    model_folder(rig.folder / "models/bare", images=[])
    result = rig.bench("--rounds", "1")
    assert [model["name"] for model in result["models"]] == ["colours"]
    assert said(result) == [
        f"{rig.folder}/models/bare/model.json names no images to run on: left out"
    ]
    done = subprocess.run(rig.command("--model", "bare"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "names no images to run on" in done.stdout


def test_what_was_deployed_is_told(rig: Rig) -> None:
    rig.put("deployed", "neon-runner: commit 0123abc, 2026-11-25T08:00:00Z\n")
    assert rig.bench("--rounds", "1")["system"]["deployed"] is None
    etc = "mkdir $folder/etc; mv $folder/deployed $folder/etc/pico-deployed; "
    etc += "mount --bind $folder/etc /etc"
    result = rig.bench("--rounds", "1", before=etc)
    assert result["system"]["deployed"].startswith("neon-runner: commit 0123abc")
