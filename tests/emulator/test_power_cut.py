"""The power is cut at random moments while results are written: what was reported is there, whole.

What this cannot show: a card that loses what it had acknowledged. QEMU writes to a file of the
host, which keeps all that the guest's kernel has handed over.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.compile.toolchain import Toolchain
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine, boot
from tests.support.emulated import Kit

pytestmark = pytest.mark.qemu

#: A cut costs a boot, about 5 s: four in CI, all thirty with `invoke test --level proofs`.
CUTS = int(os.environ.get("PICO_POWER_CUTS", "30" if os.environ.get("PICO_PROOFS") == "1" else "4"))
SEED = 20261123
REPORTED = re.compile(r"^reported (/userdata/bench/\S+\.json)\r?$", re.MULTILINE)


@pytest.fixture(scope="module")
def card(kit: Kit, output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A card whose image has the writer beside the real programs."""
    folder = tmp_path_factory.mktemp("cut")
    programs = folder / "app" / "bin"
    shutil.copytree(kit.materials["programs"] / "bin", programs)
    common = ROOT / "app" / "common"
    subprocess.run(
        [
            *(Toolchain().tool("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2"),
            *("-static", "-s", f"-I{common}", "-o", str(programs / "write-results")),
            str(Path(__file__).with_name("write_results.c")),
            *(str(common / name) for name in ("atomic_file.c", "error.c")),
        ],
        check=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        packages = [*kit.variant.packages, "write-results"]
        materials = {**kit.materials, "programs": folder / "app"}
        images = replace(kit, materials=materials).build(packages=packages)
    return working_copy(images / "sdcard.img", folder)


#: One process for all files: a fork for each costs more here than the boot itself.
LOOK = (
    "cd /userdata/bench && ls | grep -c '[.]json$'; awk "
    "'{ n = length($0); print FILENAME, n, substr($0, 1, 24), substr($0, n - 1) }' *.json"
)
#: Results on the card at most; then they are deleted, which is cut as well.
MOST = 100


def _check(machine: Machine, reported: set[str]) -> None:
    """Everything reported is on the card and whole; nothing there is half a result."""
    _, text = machine.run(LOOK)
    count, found = _found(text)
    assert count == len(found), f"{count - len(found)} empty results"
    missing = sorted(reported - found)
    assert not missing, f"reported and lost: {missing}"


def _found(text: str) -> tuple[int, set[str]]:
    """The number of results that ``LOOK`` counted, and the names of those that are whole."""
    first, *lines = text.splitlines()
    found = set()
    for line in lines:
        if "No such file" in line:
            continue
        name, size, head, tail = line.split()
        number = json.loads(head.partition(',"body"')[0] + "}")["number"]
        assert int(size) == len(f'{{"number":{number},"body":""}}') + 20000, line
        assert tail == '"}', line
        found.add(f"/userdata/bench/{name}")
    return int(first), found


@pytest.mark.slow
def test_results_that_were_reported_survive_every_power_cut(kit: Kit, card: Path) -> None:
    chance = random.Random(SEED)
    reported: set[str] = set()
    written = 0
    for cut in range(CUTS + 1):
        with boot(kit.console, card) as machine:
            machine.wait_for_shell()
            log = machine.transcript()
            assert "could not be repaired" not in log and "in memory for now" not in log, log
            _check(machine, reported)
            if cut == CUTS:
                machine.poweroff()
                break
            # Old ones go now and then, so that deletions are cut too and the card never fills.
            if len(reported) > MOST:
                machine.send("rm -f /userdata/bench/*.json; sync; echo removed")
                machine.wait_for(r"^removed\r?$")
                reported.clear()
            began = len(machine.transcript())
            machine.send("write-results")
            machine.wait_for(REPORTED.pattern)
            time.sleep(chance.uniform(0.0, 1.5))
            machine.kill()
            # The last line may itself be cut short: only a whole one is a report.
            new = REPORTED.findall(machine.transcript()[began:])
            written += len(new)
            reported.update(new)
    assert written > CUTS


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ('cut-1.json 20022 {"number":5,"body":"ffff "}', False),
        ('cut-1.json 20021 {"number":5,"body":"ffff "}', True),
        ('cut-1.json 20022 {"number":5,"body":"ffff ff', True),
        ('cut-1.json 11 {"number":5 :5', True),
    ],
)
def test_the_check_catches_half_a_result(line: str, caught: bool) -> None:
    if caught:
        with pytest.raises((AssertionError, ValueError)):
            _found(f"1\n{line}\n")
    else:
        assert _found(f"1\n{line}\n") == (1, {"/userdata/bench/cut-1.json"})
    assert _found("1\n")[0] != len(_found("1\n")[1])  # an empty file has no line
