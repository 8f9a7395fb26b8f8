"""Build app/ for the tests: on this machine under sanitizers, and for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

APP = ROOT / "app"
#: Any report of a sanitizer ends the program with a status that no program here uses.
SANITIZER_STATUS = 99
SANITIZER_ENV = {
    "ASAN_OPTIONS": f"exitcode={SANITIZER_STATUS}:detect_leaks=1",
    "UBSAN_OPTIONS": f"exitcode={SANITIZER_STATUS}:print_stacktrace=1",
}


def need(*programs: str) -> None:
    """Skip the test when a program is not installed (in CI that is a failure)."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def cmake(folder: Path, *options: str, env: dict[str, str] | None = None) -> Path:
    """Configure and build app/ below ``folder``; returns it. Fails the test with the output."""
    need("cmake", "ninja")
    environment = {**os.environ, **(env or {})}
    for command in (
        ["cmake", "-S", str(APP), "-B", str(folder), "-GNinja", *options],
        ["ninja", "-C", str(folder), "-j2"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"{command[0]} failed:\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return folder


def host_build(folder: Path) -> Path:
    """npu-bench, the unit tests and picture-tool under ASan and UBSan."""
    need("gcc")
    return cmake(folder, "-DPICO_TESTS=ON")


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program built with sanitizers; a finding of theirs fails the test."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**os.environ, **SANITIZER_ENV, **(env or {})},
        cwd=cwd,
        check=False,
    )
    assert done.returncode != SANITIZER_STATUS and done.returncode >= 0, done.stderr[-8000:]
    return done
