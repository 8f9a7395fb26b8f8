"""Build app/ for the tests: on this machine under sanitizers, and for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pico_image.base.cache import build_once
from pico_image.base.console import Console
from pico_image.base.files import ROOT, sha256_file, sha256_tree
from pico_image.compile import libraries
from pico_image.config import configuration

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


def build_inputs(options: Sequence[str], compiler: str) -> dict[str, object]:
    """What decides the bytes of a build of app/, as the key of its place in the cache."""
    need(compiler)
    packages = Path("/var/lib/dpkg/status")
    return {
        "app": (str(APP), sha256_tree([APP])),
        "options": options,
        "recipe": sha256_file(Path(__file__)),
        "compiler": subprocess.check_output([compiler, "--version"], text=True),
        "system": sha256_file(packages) if packages.exists() else "",
    }


def kept_build(name: str, *options: str, needs: str = "gcc") -> Path:
    """``cmake`` in the cache, once for each state of app/, options, compiler and system packages.

    Workers share it, and a run with nothing changed compiles nothing. What was compiled stays
    where CMake put it; the folder itself can be built in no more, for it has been renamed.
    """
    inputs = build_inputs(options, needs)

    def build(folder: Path) -> None:
        cmake(folder, *options)
        for objects in list(folder.rglob("CMakeFiles")):
            shutil.rmtree(objects, ignore_errors=True)  # one may lie in another

    return build_once(f"test-{name}", inputs, build)


def vendor_runtime() -> Path:
    """The folder with Rockchip's rknn_api.h and librknnmrt.a; skips where nobody has given it."""
    given = os.environ.get("RKNN_RUNTIME_DIR")
    if not given:
        pytest.skip("RKNN_RUNTIME_DIR does not name a folder with rknn_api.h and librknnmrt.a")
    need("arm-linux-gnueabihf-gcc")
    return Path(given).resolve()


def vendor_options(folder: Path) -> list[str]:
    """CMake's options for an npu-runner with the runtime in ``folder``."""
    return [
        f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAIN}",
        f"-DIMAGE_LIBS_PREFIX={libraries.image_libraries(Console(), configuration.load())}",
        *("-DPICO_NPU=ON", "-DPICO_NEON=OFF", "-DPICO_BENCH=OFF", "-DPICO_RKNN=vendor"),
        *(f"-DRKNN_INCLUDE={folder}", f"-DRKNN_LIBRARY={folder / 'librknnmrt.a'}"),
    ]


def run(
    command: Sequence[str | Path], *, timeout: float = 1200
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
