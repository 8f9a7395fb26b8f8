"""QEMU, or the program that waits for it, killed at random moments of a benchmark or a console.

On this machine a result is kept whole or not at all, the image stays as it was, and nothing is
left that the next run stumbles over. What the board keeps is test_power_cut.py's.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from pico_image.base import files
from pico_image.base.files import output_dir, sha256_file
from tests.emulator import killed
from tests.support.emulated import Kit
from tests.support.killing import PROOFS, Child, Moments, chance
from tests.support.model_cards import model_folder
from tests.support.result_schema import validated

__all__ = ["chance"]

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

#: Of a benchmark, and of a console; half of them of QEMU, half of the program that started it. A
#: benchmark takes about 12 seconds, 30 on a busy machine.
KILLS = 40 if PROOFS else 2


@pytest.fixture(scope="module")
def small(kit: Kit, output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that runs its benchmark of a tiny model at boot."""
    folder = tmp_path_factory.mktemp("small")
    model = model_folder(folder / "models" / "colours")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        return kit.build(
            {"colours": model}, packages=["neon-runner", "npu-bench"], bench_at_boot=True
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of what is killed."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    return folder


def machines(place: Path) -> list[int]:
    """Every QEMU whose card is below ``place``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            if b"qemu-system-arm" in words and f"file={place}/".encode() in words:
                found.append(int(folder.name))
    return found


def kept() -> list[Path]:
    base = output_dir() / "results"
    return sorted(base.iterdir()) if base.exists() else []


def check_whole(folders: list[Path]) -> None:
    for folder in folders:
        result = validated((folder / "result.json").read_text(encoding="utf-8"))
        assert result["outcome"] == "ok"
        names = {path.name for path in folder.iterdir()}
        assert names == {"result.json", "table.txt", "console.log", "build-info.json"}
        assert json.loads((folder / "build-info.json").read_text())["variant"] == "emulator-test"
        assert "colours" in (folder / "table.txt").read_text()


def test_a_killed_benchmark_leaves_whole_results_or_none(
    small: Path, place: Path, chance: random.Random
) -> None:
    before = {path.name: sha256_file(path) for path in small.iterdir()}
    answer = place.parent / "answer"
    moments = Moments(chance, Child(killed.benchmark, small, answer).wait())
    assert answer.read_text() == "done"
    check_whole(kept())
    hits = tries = 0
    while hits < KILLS:
        who = ("qemu", "host")[hits % 2]
        tries += 1
        assert tries < 4 * KILLS + 10, "too few kills came before the end"
        answer.unlink(missing_ok=True)
        already = kept()
        child = Child(killed.benchmark, small, answer)
        moment = moments.next()
        if who == "host":
            hit = child.kill_after(moment, tools=False)
        else:
            hit = _kill_machine(child, place, moment)
            child.wait()
            if answer.read_text() != "done":
                assert "the emulated machine did not give" in answer.read_text()
        moments.learn(hit, child)
        hits += hit
        new = [path for path in kept() if path not in already]
        whole = [path for path in new if not path.name.startswith(".part-")]
        check_whole(whole)
        assert len(new) <= 1 and (who == "host" or new == whole)
        assert {path.name: sha256_file(path) for path in small.iterdir()} == before
        _nothing_runs(place)
        if who == "host":
            _forget_soon(place)
            _forget_soon(output_dir() / "results", ".part-*")
        else:
            assert list(place.iterdir()) == [], "what it worked with is still there"
    already = kept()
    Child(killed.benchmark, small, answer).wait()
    assert answer.read_text() == "done"
    check_whole(kept())
    assert len([path for path in kept() if path not in already]) == 1
    assert list(place.iterdir()) == []


def test_a_killed_console_leaves_nothing(small: Path, place: Path, chance: random.Random) -> None:
    before = sha256_file(small / "sdcard.img")
    answer = place.parent / "answer"
    for number in range(KILLS):
        who = ("qemu", "host")[number % 2]
        child = Child(killed.emulate, small, answer)
        moment = chance.uniform(0, 6)
        if who == "host":
            assert child.kill_after(moment, tools=False)
        else:
            while not _kill_machine(child, place, moment):
                assert child.running, "it ended by itself"
                moment = 0.05
            child.wait()
            assert "QEMU was killed by signal 9" in answer.read_text()
        _nothing_runs(place)
        assert sha256_file(small / "sdcard.img") == before
        assert who == "host" or list(place.iterdir()) == []
        _forget_soon(place)
    with files.scratch_folder("pico-emulate-"), files.scratch_folder("pico-boot-"):
        assert len(list(place.iterdir())) == 2, "what killed runs left is still there"


def _kill_machine(child: Child, place: Path, moment: float) -> bool:
    time.sleep(moment)
    pids = machines(place)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def _nothing_runs(place: Path) -> None:
    """The kernel ends QEMU with its parent; a busy machine takes a moment for it."""
    give_up = time.monotonic() + 300
    while machines(place):
        assert time.monotonic() < give_up, "QEMU goes on without its owner"
        time.sleep(0.05)


def _forget_soon(place: Path, pattern: str = "*") -> None:
    """As if the kills had been some time ago: only then is what they left taken for forgotten."""
    before = time.time() - 2 * files.GRACE_SECONDS
    for path in place.glob(pattern):
        os.utime(path, (before, before))
