"""Which change makes which stage run, and what goes first."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.card.parts import Contents
from pico_image.compile import programs
from pico_image.config import configuration, render
from pico_image.config.target import Target
from pico_image.engine.volumes import Entry, Tree, tree_of
from pico_image.sdk import checkout, workspace
from pico_image.sdk.inputs import (
    Stage,
    board_values,
    packages,
    rootfs_actions,
    stage_inputs,
    stage_key,
    symbols,
    values_for,
)

BOARD = """\
#!/bin/bash
# a comment
source "$SDK_ROOT_DIR/stock.mk"
export RK_CHIP=rv1106
export RK_UBOOT_DEFCONFIG_FRAGMENT="rk-emmc.config"
export RK_KERNEL_DTS="board.dts"
export RK_BOOT_MEDIUM="sd_card"
export RK_PARTITION_CMD_IN_ENV="32K(env),32M(boot),6G(rootfs)"
"""
DEFCONFIG = """\
BR2_arm=y
BR2_PACKAGE_RUNNER=y
BR2_PACKAGE_OPENSSH=y
# BR2_PACKAGE_OPENSSH_CLIENT is not set
BR2_TARGET_GENERIC_HOSTNAME="pico"
"""


def tree(**changes: str) -> Tree:
    """A small tree of ours; a changed file by its path with dots and slashes as underscores."""
    texts = {
        "br2-external/configs/board.mk": BOARD,
        "br2-external/configs/x_defconfig": DEFCONFIG,
        "br2-external/external.mk": "include x\n",
        "package/runner/runner.mk": "RUNNER_VERSION = 1.0\n"
        "RUNNER_SITE = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../app\nRUNNER_DEPENDENCIES = base zlib\n",
        "package/base/base.mk": "BASE_VERSION = 2.1\n",
        "package/models/models.mk": "MODELS_VERSION = 1.0\nX = $(PICO_MODELS_DIR)\n",
        "app/main.c": "int main;\n",
        "models/net/model.json": "{}\n",
        "board/luckfox-pico/overlay/etc/motd": "hello\n",
        "board/luckfox-pico/post-build.sh": "#!/bin/sh\n",
        "board/luckfox-pico/kernel.config": "CONFIG_A=y\n",
        "board/luckfox-pico/dts/a.dts": "/* a */\n",
        "README.md": "not an input\n",
    }
    for path in texts:
        key = path.replace("/", "_").replace(".", "_").replace("-", "_")
        texts[path] = changes.pop(key, texts[path])
    texts |= changes
    return {path: Entry(text.encode()) for path, text in texts.items()}


#: As of a checkout of the user's.
SDK = dict.fromkeys(checkout.READ_BY, "as it was")


def inputs(
    files: Tree, *, sdk: Mapping[str, str] = SDK, container: str = "image"
) -> dict[Stage, dict[str, Any]]:
    return stage_inputs(
        files,
        defconfig="br2-external/configs/x_defconfig",
        board_config="br2-external/configs/board.mk",
        env={"BR2_EXTERNAL": "/src/br2-external"},
        sdk=sdk,
        container=container,
    )


def changed(files: Tree, *, sdk: Mapping[str, str] = SDK, container: str = "image") -> set[str]:
    before, after = inputs(tree()), inputs(files, sdk=sdk, container=container)
    return {stage.value for stage in Stage if stage_key(before[stage]) != stage_key(after[stage])}


def board(old: str, new: str) -> Tree:
    assert old in BOARD
    return tree(br2_external_configs_board_mk=BOARD.replace(old, new))


def test_board_values() -> None:
    values = board_values(BOARD)
    assert values["RK_BOOT_MEDIUM"] == "sd_card"
    assert values[""] == 'source "$SDK_ROOT_DIR/stock.mk"'
    assert "RK_KERNEL_DTS" in values_for(Stage.KERNEL, values)
    assert "RK_KERNEL_DTS" not in values_for(Stage.UBOOT, values)


EVERY = {stage.value for stage in Stage}


@pytest.mark.parametrize(
    ("files", "stages"),
    [
        (tree(README_md="other\n"), set()),
        (tree(app_main_c="int other;\n"), {"rootfs"}),
        (tree(models_net_model_json='{"a": 1}\n'), {"rootfs"}),
        (tree(board_luckfox_pico_overlay_etc_motd="bye\n"), {"rootfs"}),
        (tree(board_luckfox_pico_kernel_config="CONFIG_B=y\n"), {"kernel", "rootfs"}),
        (tree(**{"board/luckfox-pico/dts/a.dts": "/* b */\n"}), {"kernel", "rootfs"}),
        (board("6G(rootfs)", "2G(rootfs)"), set()),
        # The number of the root partition is in the kernel's device tree.
        (board("32M(boot)", "32M(kernel)"), {"kernel", "rootfs"}),
        (board("sd_card", "emmc"), {"uboot", "kernel", "rootfs"}),
        (board("board.dts", "other.dts"), {"kernel", "rootfs"}),
        (board("rk-emmc", "rk-sfc"), {"uboot"}),
        (board("rv1106", "rv1103"), EVERY),
        (board("stock.mk", "other.mk"), EVERY),
        (board("# a comment", "# another"), set()),
    ],
)
def test_stages_that_a_change_reaches(files: Tree, stages: set[str]) -> None:
    assert changed(files) == stages


@pytest.mark.parametrize(
    ("folder", "stages"),
    [
        ("project/build.sh", EVERY),
        ("project/cfg/", EVERY),
        ("tools/linux/toolchain/", EVERY),
        ("sysdrv/Makefile", {"uboot", "kernel", "rootfs"}),
        ("sysdrv/source/uboot/", {"uboot"}),
        ("sysdrv/source/kernel/", {"kernel", "rootfs"}),
        ("sysdrv/drv_ko/", {"kernel", "rootfs"}),
        ("sysdrv/tools/board/buildroot/buildroot-", {"rootfs"}),
        ("media/", {"media"}),
    ],
)
def test_folders_of_the_sdk(folder: str, stages: set[str]) -> None:
    """The rootfs stage runs after the kernel's, whose modules it installs."""
    other = SDK | {folder: "other"}
    assert changed(tree(), sdk=other) == stages
    before, after = (inputs(tree(), sdk=sdk)[Stage.ROOTFS] for sdk in (SDK, other))
    own = "rootfs" in checkout.READ_BY[folder]
    assert rootfs_actions(before, after) == (["wipe-output"] if own else [])


def test_another_sdk_or_container_changes_everything() -> None:
    assert changed(tree(), sdk={"": "the pin"}) == EVERY
    assert changed(tree(), container="other") == EVERY


def test_packages_and_what_they_are_made_from() -> None:
    found = packages(tree())
    assert found["runner"]["version"] == "1.0"
    assert found["runner"]["depends"] == ["base", "zlib"]
    other = packages(tree(app_main_c="int other;\n"))
    assert {name for name in found if found[name]["hash"] != other[name]["hash"]} == {"runner"}
    other = packages(tree(models_net_model_json="[]\n"))
    assert {name for name in found if found[name]["hash"] != other[name]["hash"]} == {"models"}


def actions(**changes: str) -> list[str]:
    return rootfs_actions(inputs(tree())[Stage.ROOTFS], inputs(tree(**changes))[Stage.ROOTFS])


def test_as_little_is_removed_as_needed() -> None:
    assert actions() == []
    assert actions(app_main_c="int other;\n") == ["drop", "runner-1.0"]
    # What is built on a package is built again with it; both versions' folders go.
    assert actions(package_base_base_mk="BASE_VERSION = 2.2\n") == [
        *("drop", "base-2.1", "drop", "base-2.2", "drop", "runner-1.0"),
    ]
    assert actions(**{"board/luckfox-pico/overlay/etc/new": "x\n"}) == []
    name = "br2_external_configs_x_defconfig"
    assert actions(**{name: DEFCONFIG.replace('"pico"', '"lab"')}) == ["clean-target"]
    without = DEFCONFIG.replace("BR2_PACKAGE_RUNNER=y\n", "")
    assert actions(**{name: without}) == ["drop", "runner-1.0"]
    assert actions(**{name: DEFCONFIG + "BR2_PACKAGE_HTOP=y\n"}) == ["wipe-output"]
    assert actions(**{name: DEFCONFIG + "BR2_OPTIMIZE_3=y\n"}) == ["wipe-output"]
    fragment = "board/luckfox-pico/busybox.fragment"
    assert actions(**{fragment: "CONFIG_UDHCPD=y\n"}) == ["wipe-output"]
    gone = tree()
    del gone["board/luckfox-pico/overlay/etc/motd"]
    assert rootfs_actions(inputs(tree())[Stage.ROOTFS], inputs(gone)[Stage.ROOTFS]) == [
        "clean-target"
    ]
    other = copy.deepcopy(inputs(tree(), container="other")[Stage.ROOTFS])
    assert rootfs_actions(inputs(tree())[Stage.ROOTFS], other) == ["wipe-output"]


def test_symbols_of_the_defconfig() -> None:
    found = symbols(DEFCONFIG)
    assert found["BR2_PACKAGE_OPENSSH_CLIENT"] == "n"
    assert found["BR2_TARGET_GENERIC_HOSTNAME"] == '"pico"'


def test_our_own_tree_is_understood() -> None:
    """Every package has a version, and the runners are known to be made from app/."""
    config = configuration.load(ROOT)
    ours = tree_of(ROOT / "package", "package/") | tree_of(ROOT / "app", "app/")
    found = packages(ours)
    assert {"neon-runner", "npu-runner", "npu-bench", "tensorflow-lite-static"} <= set(found)
    assert all(package["version"] for package in found.values())
    assert "tensorflow-lite-static" in found["neon-runner"]["depends"]
    more = packages({**ours, "app/new.c": Entry(b"")})
    assert {name for name in found if found[name]["hash"] != more[name]["hash"]} == {
        *("neon-runner", "npu-runner", "npu-bench"),
    }
    for name in render.renderable(config):
        values = board_values(render.board_config(config, name))
        assert values["RK_KERNEL_DTS"] == config.board(config.variant(name).board).kernel_dts


@pytest.mark.parametrize(
    ("symbols", "asked"),
    [
        ({programs.PREBUILT: "y"}, True),
        ({}, False),
        ({programs.PREBUILT: "n"}, False),
        ({programs.PREBUILT: "y", programs.PREBUILT_PATH: "/opt/neon-runner"}, False),
    ],
)
def test_a_prebuilt_program_is_handed_over_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, symbols: dict[str, str], asked: bool
) -> None:
    """BR2_PACKAGE_NEON_RUNNER_PREBUILT: nobody can set a variable inside the container."""
    program = tmp_path / "bin/neon-runner"
    program.parent.mkdir()
    program.write_bytes(b"program")
    monkeypatch.setattr("pico_image.compile.programs.app", lambda *_: tmp_path)
    config = configuration.load(ROOT)
    base = config.variant("luckfox-pico-mini")
    variant = base.model_copy(update={"extra_symbols": symbols})
    config.variants[variant.name] = variant
    found = programs.prebuilt_neon_runner(Console(), config, variant)
    assert found == (program if asked else None)
    target = Target.of(config, variant)
    with_it = workspace.tree_for(target, Contents(), program)
    without = workspace.tree_for(target, Contents())
    assert {*with_it} - {*without} == {workspace.PROGRAM}
    one, two = packages(with_it), packages(without)
    assert {name for name in one if one[name]["hash"] != two[name]["hash"]} == {"neon-runner"}
