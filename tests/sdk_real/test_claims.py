"""What tests/support/sdk_stand_in/README.md says of the SDK, held against a fork's own text.

First a table of what is written there; then the same commands in the stand-in and in the fork.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.sdk_stand_in import repository

pytestmark = [pytest.mark.external, pytest.mark.slow]
README = Path(repository.__file__).with_name("README.md")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of the README, the file that it is about, and what must be in it."""

    text: str
    file: str
    pattern: str
    #: False: what newer snapshots have alone.
    in_fork: bool = True


BUILD, SYSDRV, PARAM = "project/build.sh", "sysdrv/Makefile", "sysdrv/Makefile.param"
LOADER = "sysdrv/source/uboot/u-boot/make.sh"
KCONFIG = "sysdrv/source/kernel/scripts/kconfig/Makefile"
PACKER = "tools/linux/Linux_Pack_Firmware/mk-update_pack.sh"
OEM = "project/cfg/BoardConfig_IPC/luckfox-buildroot-oem-pre.sh"
CLAIMS = (
    Claim("a link that leads out of the SDK", BUILD, r'\[ -L "\$BOARD_CONFIG" \] && source'),
    Claim("every `RK_` variable is blanked", BUILD, r'grep -oh "\^RK_\.\*="'),
    Claim("lines of 38 asterisks", BUILD, r'echo "\*{38}"\n\s+if eval \$dst'),
    Claim("`Check [OK]: `", BUILD, r'echo "Check \[OK\]: \$dst"'),
    Claim("`Please install NAME first`", BUILD, r'echo "Please install \$\{dst%% \*\} first"'),
    Claim("prints its usage and ends with 0", BUILD, r"\n\t\*\) option=usage ;;"),
    Claim("`Not found toolchain`", BUILD, r"Not found toolchain .*\n(.*\n){0,6}\s+exit 1"),
    Claim(
        "the kernel, then `make drv`",
        BUILD,
        r"build_driver\(\) \{(.*\n)+?\tbuild_kernel\n.*\bdrv\n",
    ),
    Claim("`.env.txt` is written anew", BUILD, r">\$ENV_CFG_FILE\n"),
    Claim(
        "loses the status of U-Boot's script",
        SYSDRV,
        r"pushd \$\(UBOOT_DIR\);\$\(UBOOT_COMPILE_MAKE\).*;popd",
    ),
    Claim("takes the jobs from `/proc/cpuinfo`", LOADER, r"\nJOB=`.*/proc/cpuinfo"),
    Claim("`--jobs=${JOB}` on make's command line", LOADER, r"all --jobs=\$\{JOB\}"),
    Claim("the kernel honours `RK_JOBS`", SYSDRV, r"SYSDRV_JOBS := \$\(RK_JOBS\)"),
    Claim("`make DEFCONFIG FRAGMENT...`", SYSDRV, r"\$\(KERNEL_CFG\) \$\(KERNEL_CFG_FRAGMENT\)\n"),
    Claim("no configuration exists", KCONFIG, r"error No configuration exists"),
    Claim("`update_dtb_bootargs.sh` writes", SYSDRV, r"update_dtb_bootargs\.sh --cmdline"),
    Claim(
        "tools of the host come first in PATH", PARAM, r"PATH:=\$\(CURRENT_DIR\)/tools/pc/toolkits"
    ),
    Claim(
        "flat in `kernel_drv_ko`",
        SYSDRV,
        r'-name "\*\.ko" -type f -exec cp -fav \{\} \$\(SYSDRV_KERNEL_MOD',
    ),
    Claim("what is there already stays", PARAM, r'= "SELF" \]; then cp -arf'),
    Claim(
        "Wi-Fi drivers beside the other modules",
        "sysdrv/drv_ko/wifi/Makefile",
        r"cp insmod_wifi\.sh \$\(M_OUT_DIR\)",
    ),
    Claim(
        "`clean kernel` removes the modules too",
        SYSDRV,
        r"distclean\n\t@-rm -rf \$\(SYSDRV_KERNEL_MOD_PATH\)",
    ),
    Claim("`clean media`", BUILD, r"rm -rf \$RK_PROJECT_PATH_MEDIA"),
    Claim("media takes every folder", "media/Makefile", r"wildcard \./\*/Makefile"),
    Claim("reads `env.img` alone", PACKER, r"strings \$part_file"),
    Claim("`Not found image file`", PACKER, r"Not found image file"),
    Claim(
        "saved over the kernel's own defconfig",
        SYSDRV,
        r"cp +\$\(KERNEL_DIR\)/defconfig \$\(KERNEL_DIR\)/arch/arm/configs/",
    ),
    Claim("`BUILDROOT_VER`", SYSDRV, r"\nBUILDROOT_VER \?= buildroot-"),
    Claim(
        "eMMC is `mmcblk0`, a card `mmcblk1`",
        BUILD,
        r"emmc\)\n(.*\n){0,3}.*blkdevparts=mmcblk0:(.*\n)+?.*blkdevparts=mmcblk1:",
    ),
    Claim("`luckfox-buildroot-oem-pre.sh`", OEM, r"oem", in_fork=False),
)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_what_the_readme_claims_is_in_the_fork(claim: Claim, fork: Path) -> None:
    file = fork / claim.file
    if not claim.in_fork and not file.exists():
        pytest.skip(f"only newer snapshots have {claim.file}")
    assert re.search(claim.pattern, file.read_text(errors="replace")), claim.file


def test_the_readme_has_each_claim() -> None:
    text = " ".join(README.read_text().split())
    missing = [claim.text for claim in CLAIMS if claim.text not in text]
    assert not missing


# -- the same commands in both -------------------------------------------------------------


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-in") / "sdk"
    repository.write_sdk(folder)
    return folder


@pytest.fixture(params=["stand-in", "fork"])
def sdk(request: pytest.FixtureRequest) -> Path:
    """The stand-in, then the fork's copy, with a BoardConfig of our kind linked."""
    made: Path = request.getfixturevalue("stand_in" if request.param == "stand-in" else "copy")
    link(made, "")
    return made


def link(sdk: Path, more: str) -> None:
    """As docker/sdk-stage.sh: a link to a file outside of the SDK, over one of the vendor's."""
    board = sdk.parent / "board.mk"
    board.write_text(
        'source "$SDK_ROOT_DIR/project/cfg/BoardConfig_IPC/'
        'BoardConfig-SD_CARD-Buildroot-RV1103_Luckfox_Pico_Mini-IPC.mk"\n'
        'export RK_PARTITION_CMD_IN_ENV="32K(env),512K@32K(idblock),256K(uboot),32M(boot),'
        '512M(oem),256M(userdata),6G(rootfs)"\n' + more
    )
    (sdk / ".BoardConfig.mk").unlink(missing_ok=True)
    (sdk / ".BoardConfig.mk").symlink_to(board)


def call(sdk: Path, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    ended = subprocess.run(
        ["./build.sh", *words],
        cwd=sdk,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_unknown_sub_commands_print_the_usage_and_end_with_0(sdk: Path) -> None:
    status, output = call(sdk, "firmwares")
    assert status == 0 and "Usage: build.sh" in output


def test_checks_of_tools_stand_between_asterisks_and_end_nothing(sdk: Path) -> None:
    status, output = call(sdk, "info")
    assert status == 0
    assert output.count("*" * 38 + "\n") >= 3
    assert re.search(r"^Check \[OK\]: make -v", output, re.MULTILINE)


def test_the_environment_sets_no_rk_variable_and_the_linked_file_does(sdk: Path) -> None:
    link(sdk, "export RK_BOOT_MEDIUM=emmc\n")
    assert call(sdk, "info", env={"RK_BOOT_MEDIUM": "spi_nor"})[0] == 0
    text = (sdk / "output/image/.env.txt").read_text()
    assert text.startswith("blkdevparts=mmcblk0:32K(env),512K@32K(idblock)")
    link(sdk, "")
    assert call(sdk, "info")[0] == 0
    text = (sdk / "output/image/.env.txt").read_text()
    assert text.startswith("blkdevparts=mmcblk1:") and text.count("blkdevparts") == 1


def test_without_the_link_it_asks(sdk: Path) -> None:
    (sdk / ".BoardConfig.mk").unlink()
    status, output = call(sdk, "uboot")
    assert status != 0 and "Which would you like?" in output


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("export RK_BOOT_MEDIUM=floppy", "Not support storage medium type: floppy"),
        ("export RK_PARTITION_FS_TYPE_CFG=attic@/attic@ext4", "Not found attic from"),
        ("export RK_TOOLCHAIN_CROSS=arm-none-such", "Not found toolchain arm-none-such-gcc"),
    ],
)
def test_a_boardconfig_that_does_not_fit_ends_with_1(sdk: Path, line: str, told: str) -> None:
    link(sdk, line + "\n")
    status, output = call(sdk, "uboot")
    assert status == 1 and told in output


def test_a_fragment_that_is_not_there(sdk: Path) -> None:
    link(sdk, "export RK_KERNEL_DEFCONFIG_FRAGMENT=absent.config\n")
    status, output = call(sdk, "kernel")
    assert status == 2 and "No configuration exists for this target" in output


def test_uboots_script_fails_and_what_was_left_there_is_taken(sdk: Path) -> None:
    loader = sdk / "sysdrv/source/uboot/u-boot"
    script = loader / "make.sh"
    text = script.read_text()
    left = ("uboot.img", "rv1106_idblock_v1.10.img", "rv1106_download_v1.10.bin")
    try:
        script.write_text("#!/bin/bash\necho ERROR: no luck\nexit 1\n")
        for path in (*loader.glob("*.img"), *loader.glob("*_v*.bin")):
            path.unlink()
        assert call(sdk, "uboot")[0] != 0
        for name in left:
            (loader / name).write_text("of an earlier build\n")
        status, output = call(sdk, "uboot")
        assert status == 0 and "no luck" in output
        assert (sdk / "output/image/idblock.img").read_text() == "of an earlier build\n"
    finally:
        script.write_text(text)
        for name in left:
            (loader / name).unlink(missing_ok=True)


@pytest.mark.parametrize("lost", ["env.img", "download.bin", "boot.img"])
def test_the_packer_and_a_missing_part(sdk: Path, lost: str, tmp_path: Path) -> None:
    """A missing partition is told and left out, with status 0; the other two end it."""
    line = "blkdevparts=mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot)"
    for name in ("idblock.img", "uboot.img", "boot.img", "download.bin"):
        (tmp_path / name).write_bytes(b"LDR " * 600)
    (tmp_path / "env.img").write_bytes(b"0123" + line.encode() + b"\0" * 512)
    (tmp_path / lost).unlink()
    ended = subprocess.run(
        ["bash", sdk / "tools/linux/Linux_Pack_Firmware/mk-update_pack.sh",
         "-id", "rv1106", "-i", tmp_path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert "Not found" in ended.stdout
    if lost != "boot.img":
        assert ended.returncode == 255
