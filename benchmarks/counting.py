"""Count the instructions that an ARM program executes, under user-mode QEMU.

A count is exact and repeatable, unlike a time under emulation, but it is not a time. An
emulator that counts runs the program of a Cortex-A7: the same kernels are selected as on the
board because ``/proc/cpuinfo`` says so (tests/support/arm.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pico_image.base.cache import build_once
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import sha256_file, sha256_tree
from tests.support import arm

SOURCE = Path(__file__).with_name("instruction_counts") / "count_plugin.c"


@dataclass(frozen=True)
class Counted:
    """One run: all instructions, and (address, instructions in all executions) of each block."""

    total: int
    blocks: list[tuple[int, int]]
    stdout: str


def plugin(console: Console) -> Path:
    """The compiled counting plugin for the QEMU of this machine.

    Raises UserError when there is no QEMU that takes plugins (Debian's qemu-user-static does not).
    """
    emulator = arm.qemu()
    if emulator is None:
        raise UserError(
            "could not find qemu-arm, which is needed to count instructions",
            hint="apt-get install qemu-user",
        )
    if "-plugin" not in console.run([emulator, "-h"], what="ask QEMU for its options"):
        raise UserError(
            f"{emulator} takes no plugins, which are needed to count instructions",
            hint="apt-get install qemu-user (not qemu-user-static)",
        )
    text = console.run([emulator, "--version"], what="ask QEMU for its version")
    found = re.search(r"version (\d+)\.", text)
    interface = 1 if found and int(found.group(1)) < 9 else 2
    inputs = {"source": sha256_file(SOURCE), "interface": interface, "machine": os.uname().machine}

    def build(folder: Path) -> None:
        console.run(
            [
                *("gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", f"-DQEMU_PLUGIN_API={interface}"),
                *(SOURCE, "-o", folder / "count_plugin.so"),
            ],
            what="compile the counting plugin",
        )

    return build_once("count-plugin", inputs, build) / "count_plugin.so"


def count(
    plugin_file: Path,
    command: Sequence[str | os.PathLike[str]],
    *,
    sysroot: Path | None = None,
    options: Sequence[str] = (),
) -> Counted:
    """Run ``command`` to its end and count. Raises CheckFailed when it does not end with 0."""
    with tempfile.TemporaryDirectory(prefix="count-") as folder:
        out = Path(folder) / "counts"
        result = arm.run_arm(
            command,
            sysroot=sysroot,
            qemu_options=["-plugin", f"{plugin_file},out={out}", *options],
            inherit=False,  # the C library reads every variable before main: 3,500 instructions
            timeout=900,
        )
        if result.returncode != 0 or not out.is_file():
            words = " ".join(map(str, command))
            raise CheckFailed(f"{words} ended with {result.returncode}:\n{result.stderr[-2000:]}")
        first, *rest = out.read_text(encoding="ascii").splitlines()
    blocks = []
    for line in rest:
        address, instructions, executions = line.split()
        blocks.append((int(address, 16), int(instructions) * int(executions)))
    return Counted(int(first.split()[1]), blocks, result.stdout)


def count_once(
    plugin_file: Path,
    command: Sequence[str | os.PathLike[str]],
    *,
    sysroot: Path | None = None,
    options: Sequence[str] = (),
) -> Counted:
    """``count``, kept in the cache: the same command on the same files has the same count.

    For programs that write no files. Paths count, too: the program reads their letters.
    ``sysroot`` is a folder in the cache, named by its content.
    """
    words = [Path(word) for word in command]
    emulator = subprocess.check_output([arm.qemu() or "qemu-arm", "--version"], text=True)
    inputs = {
        "words": [str(word) for word in words],
        "files": [sha256_file(word) for word in words if word.is_file()],
        "options": [str(sysroot), *options],
        "counter": sha256_file(plugin_file),
        "emulator": emulator,
        "recipe": sha256_tree([Path(__file__), Path(str(arm.__file__))]),
    }

    def build(folder: Path) -> None:
        counted = count(plugin_file, command, sysroot=sysroot, options=options)
        (folder / "counted.json").write_text(json.dumps(asdict(counted)), encoding="utf-8")

    kept = build_once("instruction-counts", inputs, build) / "counted.json"
    data = json.loads(kept.read_text(encoding="utf-8"))
    return Counted(data["total"], [tuple(block) for block in data["blocks"]], data["stdout"])
