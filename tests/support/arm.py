"""Run 32-bit ARM programs on this machine as if it were the board's Cortex-A7."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What Linux 5.10 prints on the RV1103, reduced to the lines that cpuinfo and XNNPACK read.
#: Without them the library reads the host's file, recognises nothing and picks kernels that a
#: board would never run: user-mode QEMU before 8.1 has no ``/proc/cpuinfo`` of its own for ARM.
CPUINFO = """\
processor\t: 0
model name\t: ARMv7 Processor rev 5 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: {cpu_part}
CPU revision\t: 5

Hardware\t: Generic DT based system
"""


def qemu() -> str | None:
    """The user-mode emulator for 32-bit ARM, or None when it is not installed."""
    return shutil.which("qemu-arm") or shutil.which("qemu-arm-static")


def run_arm(
    command: Sequence[str | os.PathLike[str]],
    cpu_part: str | None = "0xc07",
    *,
    sysroot: Path | None = None,
    qemu_options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    inherit: bool = True,
    cwd: Path | None = None,
    timeout: float = 1500,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` (an ARM ELF and its arguments) and return what it did; never raises on exit.

    ``cpu_part`` is the part number that the program finds in ``/proc/cpuinfo`` (0xc07 =
    Cortex-A7); with None the file cannot be read, the CPU is not recognised and XNNPACK
    refuses to start, as it does where /proc is not mounted. ``sysroot`` holds the shared
    libraries of a dynamic program; static ones need none. ``env`` is added to the environment,
    which is that of this process unless ``inherit`` is False.
    A negative return code is a signal, as everywhere in subprocess: QEMU dies of the signal
    that its program died of.
    """
    emulator = qemu()
    if emulator is None:
        raise FileNotFoundError("qemu-arm is not installed (package qemu-user)")
    with tempfile.TemporaryDirectory(prefix="run-arm-") as folder:
        root = Path(folder)
        if sysroot is not None:
            for entry in sysroot.iterdir():
                if entry.name != "proc":
                    (root / entry.name).symlink_to(entry.resolve())
        (root / "proc").mkdir()
        cpuinfo = root / "proc" / "cpuinfo"
        if cpu_part is None:
            cpuinfo.mkdir()  # opens, but reading it is an error
        else:
            cpuinfo.write_text(CPUINFO.format(cpu_part=cpu_part))
        return subprocess.run(
            [emulator, "-cpu", "cortex-a7", "-L", str(root), *qemu_options, *map(str, command)],
            env={**(os.environ if inherit else {}), **(env or {})},
            cwd=cwd,
            timeout=timeout,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
