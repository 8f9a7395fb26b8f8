"""The engines whose instructions are compared, each built or fetched by hash."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.counting import Counted, count_once
from benchmarks.networks import write_param
from pico_image import sources
from pico_image.base.cache import build_once
from pico_image.base.console import Console
from pico_image.base.files import sha256_file, sha256_tree
from pico_image.compile import libraries
from pico_image.compile.toolchain import (
    CMakeProject,
    Toolchain,
    cmake_build,
    source_hashes,
    unpack_patched,
)
from pico_image.config.configuration import Config

HERE = Path(__file__).parent
RUNNERS = HERE / "instruction_counts"
#: Multiply-accumulates of one inference, without biases.
MACS = {"mobilenet-v2": 300_774_272, "efficientnet-lite0": 385_187_552}
LIBRARIES = "usr/lib/arm-linux-gnueabihf"


def our_runner(console: Console, config: Config) -> Path:
    """A folder with ``tflite_runner``, linked with the very archive that neon-runner links."""
    toolchain = Toolchain()
    prefix = libraries.tflite(console, config)
    inputs = {
        "tflite": prefix.name,
        "toolchain": toolchain.identity(console, "compile the runner"),
        "recipe": sha256_tree([Path(__file__), RUNNERS]),
    }

    def build(folder: Path) -> None:
        link = (prefix / "link.txt").read_text(encoding="ascii").split()
        console.run(
            [
                *(toolchain.tool("gcc"), "-std=gnu11", "-O2", "-mcpu=cortex-a7"),
                *("-mfpu=neon-vfpv4", "-mfloat-abi=hard", "-static", "-Wl,--gc-sections"),
                *(RUNNERS / "tflite_runner.c", f"-I{prefix / 'include'}", f"-L{prefix / 'lib'}"),
                *link,
                *("-o", folder / "tflite_runner"),
            ],
            what="compile the runner",
        )

    return build_once("tflite-runner", inputs, build)


def ours(plugin: Path, folder: Path, model: Path, delegate: str, runs: int) -> Counted:
    """Our TensorFlow Lite; ``delegate`` is "xnnpack" or "no-delegate"."""
    return count_once(plugin, [folder / "tflite_runner", model, str(runs), delegate])


def wheel_root(console: Console, config: Config) -> Path:
    """An armhf Python 3.11 with numpy and the tflite-runtime wheel, unpacked, not installed."""
    packages = sorted(name for name in config.sources if name.startswith("armhf-"))
    names = [*packages, "tflite-runtime-armv7"]

    def build(folder: Path) -> None:
        for name in packages:
            sources.unpack(console, config.source(name), folder)
        sources.unpack(console, config.source("tflite-runtime-armv7"), folder / "wheel")

    inputs = {"sources": source_hashes(config, names), "recipe": sha256_file(Path(__file__))}
    return build_once("tflite-runtime-armv7", inputs, build, notify=console.info)


def wheel(plugin: Path, root: Path, model: Path, runs: int) -> Counted:
    """The wheel. It has neither XNNPACK nor ruy: its products run on Eigen and gemmlowp."""
    folders = [root / LIBRARIES, root / LIBRARIES / "blas", root / LIBRARIES / "lapack"]
    command: list[str | Path] = [
        *(root / "usr/bin/python3.11", "-S", "-B", "-E", RUNNERS / "wheel_runner.py"),
        *(root / "wheel", root / "usr/lib/python3/dist-packages", model, str(runs)),
    ]
    environment = "LD_LIBRARY_PATH=" + ":".join(map(str, folders))
    return count_once(plugin, command, sysroot=root, options=["-E", environment])


def ncnn_runner(console: Console, config: Config) -> Path:
    """A folder with ``ncnn_runner`` (static) and the two networks in ncnn's format."""
    toolchain = Toolchain()
    inputs = {
        "sources": source_hashes(config, ["ncnn"]),
        "toolchain": toolchain.identity(console, "compile ncnn"),
        "recipe": sha256_tree([Path(__file__), HERE / "networks.py", RUNNERS]),
    }

    def build(folder: Path) -> None:
        work = folder / "work"
        with console.step("compile ncnn (about 3 minutes, once)"):
            tree = unpack_patched(console, config, "ncnn", work)
            cmake_build(
                console,
                toolchain,
                CMakeProject(
                    tree,
                    title="ncnn",
                    options={
                        "NCNN_VULKAN": "OFF",
                        "NCNN_OPENMP": "OFF",
                        "NCNN_THREADS": "OFF",
                        "NCNN_BF16": "OFF",
                        "NCNN_BUILD_TOOLS": "OFF",
                        "NCNN_BUILD_EXAMPLES": "OFF",
                        "NCNN_BUILD_BENCHMARK": "OFF",
                    },
                    targets=["ncnn"],
                    # As ncnn's own toolchain files set them for 32-bit ARM.
                    flags=dict.fromkeys(
                        ("CFLAGS", "CXXFLAGS"), "-marm -mfp16-format=ieee -fomit-frame-pointer"
                    ),
                    work=work,
                ),
                work / "build",
            )
            console.run(
                [
                    *(toolchain.tool("g++"), "-std=c++17", "-O2", "-marm", "-mcpu=cortex-a7"),
                    *("-mfpu=neon-vfpv4", "-mfp16-format=ieee", "-static"),
                    *(f"-I{tree / 'src'}", f"-I{work / 'build/src'}"),
                    *(RUNNERS / "ncnn_runner.cpp", work / "build/src/libncnn.a"),
                    *("-o", folder / "ncnn_runner"),
                ],
                what="compile the ncnn runner",
            )
        for network in ("mobilenet-v2", "efficientnet-lite0"):
            macs = write_param(network, folder / f"{network}.param")
            if macs != MACS[network]:
                raise AssertionError(f"{network} for ncnn has {macs} multiply-accumulates")
        shutil.rmtree(work)

    return build_once("ncnn-runner", inputs, build, notify=console.info)


def ncnn(plugin: Path, folder: Path, network: str, numbers: str, runs: int) -> Counted:
    """Run ncnn on one of its networks; ``numbers`` is "fp32" or "default"."""
    command: list[str | Path] = [
        folder / "ncnn_runner",
        folder / f"{network}.param",
        numbers,
        str(runs),
    ]
    return count_once(plugin, command)
