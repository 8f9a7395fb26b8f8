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
TOOLCHAIN = APP / "cmake/armv7-neon-gnueabihf.cmake"
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


def cmake(folder: Path, *options: str) -> Path:
    """Configure and build app/ below ``folder``; returns it. Fails the test with the output."""
    need("cmake", "ninja")
    for command in (
        ["cmake", "-S", str(APP), "-B", str(folder), "-GNinja", *options],
        ["ninja", "-C", str(folder), "-j2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"{command[0]} failed:\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return folder


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program built with sanitizers; a finding of theirs fails the test."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env={**os.environ, **SANITIZER_ENV},
        check=False,
    )
    assert done.returncode != SANITIZER_STATUS and done.returncode >= 0, done.stderr[-8000:]
    return done
