"""The programs of ``app/``, compiled for the board with the ARM compiler of the distribution."""

from __future__ import annotations

import shutil
from pathlib import Path

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_tree
from pico_image.compile.libraries import RECIPE, image_libraries, tflite
from pico_image.compile.toolchain import CMakeProject, Toolchain, cmake_build
from pico_image.config import render
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant

#: A variant that sets this symbol does not want the SDK's compiler for neon-runner. A static
#: program needs nothing of the target's C library, so one compiled for glibc runs on the SDK's
#: uClibc system (docs/buildroot.md).
PREBUILT = "BR2_PACKAGE_NEON_RUNNER_PREBUILT"
#: A path of the user's own, inside the container; then nothing is handed over.
PREBUILT_PATH = "BR2_PACKAGE_NEON_RUNNER_PREBUILT_PATH"
#: The environment variable that package/neon-runner reads.
PREBUILT_VARIABLE = "PICO_NEON_RUNNER"


def app(console: Console, config: Config, toolchain: Toolchain | None = None) -> Path:
    """The programs of ``app/``: ``bin/`` stripped and static, ``debug/`` with symbols."""
    toolchain = toolchain or Toolchain()
    tree = ROOT / "app"
    if not (tree / "CMakeLists.txt").is_file():
        raise UserError(f"{tree} has no CMakeLists.txt; the programs of the board are built there")
    tflite_prefix = tflite(console, config, toolchain)
    image_prefix = image_libraries(console, config, toolchain)
    inputs = {
        # The host's unit tests are no part of what ships.
        "app": {
            item.name: sha256_tree([item])
            for item in sorted(tree.iterdir())
            if item.name != "tests"
        },
        "tflite": tflite_prefix.name,
        "image_libraries": image_prefix.name,
        "toolchain": toolchain.identity(console, "compile the programs of the board"),
        "recipe": code_of(RECIPE),
    }

    def build(prefix: Path) -> None:
        work = prefix / "work"
        with console.step("compile the programs of the board"):
            shutil.copytree(tree, work / "app", ignore=shutil.ignore_patterns("tests"))
            cmake_build(
                console,
                toolchain,
                CMakeProject(
                    work / "app",
                    title="app",
                    options={
                        "TFLITE_PREFIX": tflite_prefix,
                        "IMAGE_LIBS_PREFIX": image_prefix,
                        "CMAKE_INSTALL_PREFIX": prefix,
                    },
                    flags={"CFLAGS": "-g", "CXXFLAGS": "-g"},
                    work=work,
                ),
                work / "build",
            )
            console.run(["cmake", "--install", work / "build"], what="install the programs")
        (prefix / "debug").mkdir()
        for program in sorted((prefix / "bin").iterdir()):
            shutil.copy2(program, prefix / "debug" / program.name)
            console.run(
                [toolchain.tool("strip"), "--strip-all", program], what=f"strip {program.name}"
            )
        shutil.rmtree(work)

    return build_once("app", inputs, build, notify=console.info)


def prebuilt_neon_runner(console: Console, config: Config, variant: Variant) -> Path | None:
    """The program for a variant that asks for it, compiled now or kept; else None."""
    asked = render.symbols(config, variant.name)
    if PREBUILT_PATH in asked or PREBUILT not in asked or asked[PREBUILT].value != "y":
        return None
    return app(console, config) / "bin" / "neon-runner"
