"""docker/sdk-check.sh: an SDK that this project cannot build with, told before the stage."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError
from pico_image.base.files import ROOT
from pico_image.config import configuration, render
from pico_image.engine.client import Engine
from tests.sdk.conftest import VARIANT, Project, make_project
from tests.support.sdk_stand_in import repository

KERNEL = "sysdrv/source/kernel"
BOARDS = "project/cfg/BoardConfig_IPC"
MINI = f"{BOARDS}/BoardConfig-SD_CARD-Buildroot-RV1103_Luckfox_Pico_Mini-IPC.mk"
GCC = f"tools/linux/toolchain/{repository.TOOLCHAIN}/bin/{repository.TOOLCHAIN}-gcc"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "sdk"
    repository.write_sdk(folder)
    return folder


@pytest.fixture
def sdk(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "sdk", symlinks=True))


def check(sdk: Path, variant: str = VARIANT) -> tuple[int, str]:
    """Status and output of the check with the BoardConfig of a variant."""
    config = configuration.load(ROOT)
    source = sdk.with_name("src")
    for path, text in render.files(config, variant).items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    shutil.copytree(
        ROOT / "board/luckfox-pico/dts", source / "board/luckfox-pico/dts", dirs_exist_ok=True
    )
    ended = subprocess.run(
        ["bash", ROOT / "docker/sdk-check.sh", sdk, source],
        env={**os.environ, "PICO_BOARD_CONFIG": render.board_config_name(variant)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def remove(name: str) -> Callable[[Path], None]:
    def change(sdk: Path) -> None:
        path = sdk / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(sdk: Path) -> None:
        text = (sdk / name).read_text()
        assert old in text
        (sdk / name).write_text(text.replace(old, new))

    return change


def older_names(sdk: Path) -> None:
    for letter in "AB":
        shutil.copy(sdk / MINI, sdk / MINI.replace("Mini", f"Mini_{letter}"))
    (sdk / MINI).unlink()


def test_a_whole_sdk_passes_without_a_word(sdk: Path) -> None:
    assert check(sdk) == (0, "")


FAULTS = {
    "board": (older_names, "Mini-IPC.mk; it has BoardConfig_IPC/BoardConfig-SD_CARD-Buildroot-"
    "RV1103_Luckfox_Pico_Mini_A-IPC.mk "),
    "toolchain": (remove(GCC), "has no compiler that runs here (tools/linux/toolchain/"),
    "foreign toolchain": (
        lambda sdk: (sdk / GCC).write_bytes(b"\x7fELF of another architecture"),
        "has no compiler that runs here (tools/linux/toolchain/",
    ),
    "half a toolchain": (remove(str(Path(GCC).parents[1] / "libexec")), "without its cc1"),
    "driver": (remove(f"{KERNEL}/drivers/rknpu"), "has no driver of the NPU"),
    "sub-command": (replace("project/build.sh", "build_driver", "build_drv"), '"driver"'),
    "tree": (
        remove(f"{KERNEL}/arch/arm/boot/dts/rv1103g-luckfox-pico-mini.dts"),
        "has no device tree (",
    ),
    "fragment": (
        remove("sysdrv/source/uboot/u-boot/configs/rk-emmc.config"),
        "has no configuration of U-Boot (",
    ),
    "kernel": (
        remove(f"{KERNEL}/arch/arm/configs/luckfox_rv1106_linux_defconfig"),
        "has no configuration of the kernel (",
    ),
    "Buildroot": (
        replace("sysdrv/Makefile", "buildroot-2023.02.6", "buildroot-2024.11.4"),
        "has no archive of Buildroot (sysdrv/tools/board/buildroot/buildroot-2024.11.4.tar.gz)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_missing_is_named(name: str, sdk: Path) -> None:
    change, told = FAULTS[name]
    change(sdk)
    status, output = check(sdk)
    assert status == 7
    (line,) = output.splitlines()
    assert line.startswith("error: this SDK ") and told in line


def test_everything_is_told_at_once(sdk: Path) -> None:
    for name in ("board", "toolchain", "driver", "Buildroot"):
        FAULTS[name][0](sdk)
    status, output = check(sdk)
    assert status == 7 and len(output.splitlines()) == 4


def test_a_kernel_of_another_age_and_another_buildroot_are_noted(sdk: Path) -> None:
    header = f"{KERNEL}/drivers/rknpu/include/rknpu_drv.h"
    replace(header, "MINOR 9", "MINOR 8")(sdk)
    FAULTS["Buildroot"][0](sdk)
    archives = sdk / "sysdrv/tools/board/buildroot"
    (archives / "buildroot-2023.02.6.tar.gz").rename(archives / "buildroot-2024.11.4.tar.gz")
    status, output = check(sdk)
    assert status == 0
    first, second = output.splitlines()
    assert first.startswith("@note this SDK's NPU driver is 0.8.2, not 0.9.2")
    assert second.startswith("@note this SDK has buildroot-2024.11.4")


def test_our_own_device_tree_and_two_fragments(sdk: Path) -> None:
    """A board with a tree of ours (Zero), and one whose fragments are two words (Ultra W)."""
    zero = BOARDS + "/BoardConfig-EMMC-Buildroot-RV1106_Luckfox_Pico_Zero-IPC.mk"
    ultra = BOARDS + "/BoardConfig-EMMC-Buildroot-RV1106_Luckfox_Pico_Ultra_W-IPC.mk"
    shutil.copy(sdk / ultra, sdk / zero)
    assert check(sdk, "luckfox-pico-zero") == (0, "")
    assert check(sdk, "luckfox-pico-ultra-w") == (0, "")
    remove("sysdrv/source/uboot/u-boot/configs/rv1106-luckfox-rgb-reset.config")(sdk)
    assert "rv1106-luckfox-rgb-reset.config" in check(sdk, "luckfox-pico-ultra-w")[1]


def test_a_build_tells_it_before_the_stage(
    engine: Engine, snapshot: Path, console: Console, tmp_path: Path, whole: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    sdk = tmp_path / "sdk"
    shutil.copytree(whole, sdk, symlinks=True)
    older_names(sdk)
    made: Project = make_project(engine, snapshot, "git://127.0.0.1/none", "f" * 40, tmp_path)
    with pytest.raises(CommandError) as caught:
        made.build(console, sdk_path=sdk)
    assert "BoardConfig-SD_CARD-Buildroot-RV1103_Luckfox_Pico_Mini_B-IPC.mk" in str(caught.value)
    assert "configs/boards/BOARD.yml" in (caught.value.hint or "")
    assert made.state("uboot") == "absent"
    made.remove_volumes(caches=False)
