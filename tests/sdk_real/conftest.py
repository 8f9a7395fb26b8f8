"""A copy of the fork that SDK_FORK_DIR names, to build in; nothing of it is changed there."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from tests.sdk_real.room import Room, missing
from tests.support.sdk_stand_in import repository

#: The distribution's cross compiler behind the vendor's names: a fork without the files that git
#: hosts refuse has no cc1. Newer than the vendor's GCC 8.3, so its warnings are off (the kernel's
#: gcc-wrapper.py takes unknown ones for errors), and its default of hard floats, too.
PROGRAMS = (
    "gcc",
    "g++",
    "ld",
    "as",
    "ar",
    "nm",
    "objcopy",
    "objdump",
    "strip",
    "ranlib",
    "readelf",
)
WRAPPER = """#!/bin/sh
exec {launcher}/usr/bin/arm-linux-gnueabihf-{name} {first} "$@" {last}
"""
OURS = "BoardConfig-SD_CARD-Buildroot-RV1103_Luckfox_Pico_Mini-IPC.mk"


@pytest.fixture(scope="session")
def fork() -> Path:
    """The fork as it is: read, never written."""
    given = os.environ.get("SDK_FORK_DIR")
    if not given:
        pytest.skip("SDK_FORK_DIR names no work tree of a fork of the SDK")
    assert (Path(given) / "project/build.sh").is_file(), f"{given} is no fork of the SDK"
    return Path(given)


@pytest.fixture(scope="session")
def copy(fork: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy to build in: 3 GB of files, so an overlay over the fork's."""
    if os.geteuid() != 0:
        pytest.skip("an overlay over the fork needs root")
    folder = tmp_path_factory.mktemp("fork")
    for name in ("upper", "work", "sdk"):
        (folder / name).mkdir()
    options = f"lowerdir={fork},upperdir={folder}/upper,workdir={folder}/work"
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, folder / "sdk"],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no overlay can be mounted here: {mounted.stderr.strip()}")
    try:
        _complete(folder / "sdk")
        yield folder / "sdk"
    finally:
        subprocess.run(["umount", folder / "sdk"], check=True)


def _complete(sdk: Path) -> None:
    """What a fork of 2025-11 lacks beside the pinned commit, and the files that it left out."""
    if not Path("/usr/bin/arm-linux-gnueabihf-gcc").exists():
        pytest.skip("gcc-arm-linux-gnueabihf is not installed")
    programs = sdk / "tools/linux/toolchain" / repository.TOOLCHAIN / "bin"
    shutil.rmtree(programs)
    programs.mkdir()
    launcher = "ccache " if shutil.which("ccache") else ""
    for name in PROGRAMS:
        compiler = name in ("gcc", "g++")
        text = WRAPPER.format(
            name=name,
            launcher=launcher if compiler else "",
            first="-mfloat-abi=soft" if compiler else "",
            last="-w" if compiler else "",
        )
        (programs / f"{repository.TOOLCHAIN}-{name}").write_text(text)
        (programs / f"{repository.TOOLCHAIN}-{name}").chmod(0o755)
    boards = sdk / "project/cfg/BoardConfig_IPC"
    trees = sdk / "sysdrv/source/kernel/arch/arm/boot/dts"
    if not (boards / OURS).exists():
        shutil.copy(boards / OURS.replace("Mini", "Mini_A"), boards / OURS)
        shutil.copy(
            trees / "rv1103g-luckfox-pico-mini-a.dts", trees / "rv1103g-luckfox-pico-mini.dts"
        )
    repository.pack_buildroot(sdk / "sysdrv/tools/board/buildroot")
    # A seventh of the vendor's, or the kernel would take half an hour: processor, NPU, its memory.
    on = (
        "KERNEL_XZ",
        "CC_OPTIMIZE_FOR_SIZE",
        "EMBEDDED",
        "ARCH_ROCKCHIP",
        "CPU_RV1106",
        "NEON",
        "VFP",
    )
    heap = ("CMA", "DMA_CMA", "DMABUF_HEAPS_ROCKCHIP", "DMABUF_HEAPS_ROCKCHIP_CMA_HEAP")
    off = ("INPUT", "HID", "VT", "SERIO", "DEBUG_INFO", "USB_SUPPORT", "NETWORK_FILESYSTEMS")
    lines = [f"CONFIG_{name}=y" for name in (*on, *heap, "MODULES", "ROCKCHIP_RKNPU_DMA_HEAP")]
    lines += [f"# CONFIG_{name} is not set" for name in (*off, "IO_URING", "KALLSYMS")]
    configs = sdk / "sysdrv/source/kernel/arch/arm/configs"
    (configs / "luckfox_rv1106_linux_defconfig").write_text(
        "\n".join([*lines, "CONFIG_ROCKCHIP_RKNPU=m", ""])
    )


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(stream=io.StringIO())
    with made.logging_to(tmp_path / "logs", "test"):
        yield made


@pytest.fixture(scope="module")
def room(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Room:
    """One for all tests of a module: the second board's kernel takes the compiler's cache."""
    if reason := missing():
        pytest.skip(reason)
    return Room(tmp_path_factory.mktemp("room"), copy)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our tree."""
    return repository.copy_tree(tmp_path_factory.mktemp("tree"))
