"""The whole builds by Buildroot: which there are, and all that each needs in place.

=================  =========================  ==========  ================================
name               compiler                   libraries   built besides our packages
=================  =========================  ==========  ================================
glibc              the distribution's         both        busybox, overlay, users, avahi
uclibc             uClibc-ng put around it    static      nothing
buildroot-uclibc   GCC made by Buildroot      both        busybox, overlay, users, avahi
prebuilt           as uclibc                  static      nothing; neon-runner comes ready
vendor             the SDK's or one like it   both        all of a board's own defconfig
=================  =========================  ==========  ================================

``vendor`` needs a folder that no registry has: VENDOR_TOOLCHAIN_DIR (docs/buildroot.md).

``npu-runner`` is linked to Rockchip's own runtime with uClibc when RKNN_RUNTIME_DIR has its four
files, else to the simulator; once more to the older runtime when its subfolder 1.6.0 has those of
package/rknn-runtime-legacy (librknnmrt.a, LICENSE, flatcc-0.6.1.tar.gz).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.compile import programs
from pico_image.config import configuration, kconfig, render
from pico_image.image import access
from pico_image.models import convert
from tests.buildroot import internal, offline, toolchain
from tests.support import arm, uclibc

MODEL = "efficientnet-lite0"
BUILDS = ("glibc", "uclibc", "buildroot-uclibc", "prebuilt", "vendor")
#: The builds of a whole root file system, and those whose NPU runtime can be Rockchip's own.
SYSTEMS = ("glibc", "buildroot-uclibc", "vendor")
UCLIBC_BUILDS = ("uclibc", "buildroot-uclibc", "vendor")
VENDOR_VARIABLE = "VENDOR_TOOLCHAIN_DIR"
VENDOR_PREFIX = "arm-rockchip830-linux-uclibcgnueabihf"
VARIANT = "luckfox-pico-mini"

COMMON = """\
BR2_arm=y
BR2_cortex_a7=y
BR2_ARM_FPU_NEON_VFPV4=y
# BR2_TARGET_ENABLE_ROOT_LOGIN is not set
BR2_PACKAGE_OVERRIDE_FILE="{folder}/sources/local.mk"
BR2_PACKAGE_NEON_RUNNER=y
BR2_PACKAGE_NPU_MODELS=y
BR2_PACKAGE_NPU_MODELS_LIST="efficientnet-lite0"
BR2_TARGET_ROOTFS_TAR=y
"""
ALL = """\
BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN=y
BR2_PACKAGE_NPU_BENCH=y
BR2_PACKAGE_NPU_MODULE=y
BR2_PACKAGE_NPU_RUNNER=y
"""
EXTERNAL = """\
BR2_TOOLCHAIN_EXTERNAL=y
BR2_TOOLCHAIN_EXTERNAL_CUSTOM=y
BR2_TOOLCHAIN_EXTERNAL_PATH="{folder}/toolchain"
BR2_TOOLCHAIN_EXTERNAL_GCC_{gcc}=y
BR2_TOOLCHAIN_EXTERNAL_HEADERS_6_1=y
BR2_TOOLCHAIN_EXTERNAL_CXX=y
"""
GLIBC = """\
BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="arm-npu-linux-gnueabihf"
BR2_TOOLCHAIN_EXTERNAL_CUSTOM_GLIBC=y
# BR2_TOOLCHAIN_EXTERNAL_INET_RPC is not set
BR2_PACKAGE_NPU_RUNNER_SIMULATOR=y
"""
UCLIBC = """\
BR2_TOOLCHAIN_EXTERNAL_CUSTOM_PREFIX="arm-npu-linux-uclibcgnueabihf"
BR2_TOOLCHAIN_EXTERNAL_WCHAR=y
# BR2_TOOLCHAIN_EXTERNAL_HAS_THREADS_DEBUG is not set
BR2_TOOLCHAIN_EXTERNAL_HAS_SSP=y
BR2_STATIC_LIBS=y
BR2_INIT_NONE=y
# BR2_PACKAGE_BUSYBOX is not set
BR2_SYSTEM_BIN_SH_NONE=y
"""
INTERNAL = """\
BR2_TOOLCHAIN_BUILDROOT_UCLIBC=y
BR2_TOOLCHAIN_BUILDROOT_CXX=y
BR2_TOOLCHAIN_BUILDROOT_WCHAR=y
BR2_KERNEL_HEADERS_6_1=y
BR2_BINUTILS_VERSION_2_39_X=y
BR2_GCC_VERSION_12_X=y
"""
#: As in configs/templates/defconfig.j2: what makes programs a system.
SYSTEM = """\
BR2_SHARED_STATIC_LIBS=y
BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES="{folder}/busybox.fragment"
BR2_TARGET_GENERIC_HOSTNAME="pico"
BR2_PACKAGE_AVAHI=y
# BR2_PACKAGE_AVAHI_AUTOIPD is not set
BR2_PACKAGE_AVAHI_DAEMON=y
BR2_ROOTFS_OVERLAY="$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/overlay"
BR2_ROOTFS_POST_BUILD_SCRIPT="$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/post-build.sh"
BR2_ROOTFS_POST_IMAGE_SCRIPT="$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/post-image.sh"
BR2_ROOTFS_USERS_TABLES="$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/users.txt"
"""
#: What "vendor" asks for otherwise than the board: sources of the distribution's pool, which has no
#: MobileNetV2 and no ccache of Buildroot's age.
VENDOR = """\
# BR2_CCACHE is not set
# BR2_CCACHE_INITIAL_SETUP is not set
# BR2_CCACHE_USE_BASEDIR is not set
BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES="{folder}/busybox.fragment"
BR2_PACKAGE_NPU_MODELS_LIST="efficientnet-lite0"
BR2_PACKAGE_OVERRIDE_FILE="{folder}/sources/local.mk"
BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN=y
"""
VENDOR_SIMULATOR = """\
BR2_PACKAGE_NPU_RUNNER_SIMULATOR=y
# BR2_PACKAGE_RKNN_RUNTIME is not set
# BR2_PACKAGE_RKNN_RUNTIME_LEGACY is not set
"""
# busybox 1.37 (Buildroot has 1.36.1) compiles these two for x86 only.
FRAGMENT = "# CONFIG_SHA1_HWACCEL is not set\n# CONFIG_SHA256_HWACCEL is not set\n"


@dataclass
class Built:
    """A finished build."""

    name: str
    output: Path
    vendor: bool
    env: Mapping[str, str]
    legacy: bool = False

    @property
    def target(self) -> Path:
        return self.output / "target"

    @property
    def model(self) -> Path:
        return self.target / "usr/share/npu-models" / MODEL

    @property
    def is_system(self) -> bool:
        return self.name in SYSTEMS

    @property
    def runners(self) -> tuple[str, ...]:
        return ("neon-runner",) if self.name == "prebuilt" else RUNNERS

    @property
    def neon_runner(self) -> Path:
        return self.target / "usr/bin/neon-runner"

    def make(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """Run make, without any network where that can be had: all is in the download folder."""
        cut_off = ["unshare", "--net"] if os.geteuid() == 0 else []
        answer = subprocess.run(
            [*cut_off, "make", "-C", str(self.output), *targets],
            capture_output=True, text=True, check=False, env=self.env,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
        return answer

    def run(self, program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return arm.run_arm([self.target / "usr/bin" / program, *words], timeout=600)


RUNNERS = ("neon-runner", "npu-runner", "npu-bench")


def build(name: str, folder: Path, buildroot: Path, runtime: Path | None) -> Built:
    """Build one of BUILDS in ``folder``; what an earlier run left there is used."""
    console, loaded = Console(), configuration.load()
    runtime = runtime if name in UCLIBC_BUILDS else None
    _toolchain(console, loaded, name, folder / "toolchain")
    offline.downloads(console, loaded, folder / "dl", runtime)
    lines = offline.overrides(console, loaded, folder / "sources")
    if name == "buildroot-uclibc":
        offline.copy(console, internal.M4, folder / "dl/m4/m4-1.4.19.tar.xz")
        lines += internal.overrides(console, loaded, folder / "sources")
    (folder / "sources/local.mk").write_text("".join(sorted(lines)))
    ours = (ROOT / "board/luckfox-pico/busybox.fragment").read_text()
    (folder / "busybox.fragment").write_text(FRAGMENT + ours)
    (folder / "models").mkdir(exist_ok=True)
    if not (folder / "models" / MODEL).exists():
        (folder / "models" / MODEL).symlink_to(convert.convert(console, loaded, MODEL))
    access.prepare(folder / "private", folder / "root-password.txt", release=f"VARIANT={name}\n")
    env = {
        **os.environ,
        "LC_ALL": "C",
        "BR2_DL_DIR": str(folder / "dl"),
        "LUCKFOX_SDK": str(folder / "sdk"),
        "PICO_IMAGE_INPUTS": str(folder / "private"),
        # check-config.sh compares requested and actual inside Buildroot, too.
        "PICO_MODELS_DIR": str(folder / "models"),
    }
    if name == "prebuilt":
        env[programs.PREBUILT_VARIABLE] = str(programs.app(console, loaded) / "bin/neon-runner")
    legacy = offline.has_legacy(runtime)
    done = Built(name, folder / "output", runtime is not None, env, legacy)
    text = defconfig(name, folder, vendor=done.vendor, legacy=legacy)
    configure(done, folder, buildroot, text)
    done.make("all")
    return done


def _toolchain(console: Console, loaded: configuration.Config, name: str, folder: Path) -> None:
    if name == "vendor":
        link = folder.with_name("sdk") / "tools/linux/toolchain" / VENDOR_PREFIX
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path(os.environ[VENDOR_VARIABLE]).resolve())
    elif folder.exists() or name == "buildroot-uclibc":
        return
    elif name == "glibc":
        toolchain.make(folder)
    else:
        base = Path(uclibc.toolchain(console, loaded).cross).parents[1]
        toolchain.make_uclibc(folder, base)


def defconfig(name: str, folder: Path, *, vendor: bool, legacy: bool = False) -> str:
    """The lines that one of the builds asks Buildroot for."""
    if name == "vendor":
        asked = VENDOR.format(folder=folder) + ("" if vendor else VENDOR_SIMULATOR)
        if vendor and not legacy:
            asked += "# BR2_PACKAGE_RKNN_RUNTIME_LEGACY is not set\n"
        return render.defconfig(configuration.load(), VARIANT) + asked
    runtime = f"BR2_PACKAGE_{'RKNN_RUNTIME' if vendor else 'NPU_RUNNER_SIMULATOR'}=y\n"
    if legacy:
        runtime += "BR2_PACKAGE_RKNN_RUNTIME_LEGACY=y\n"
    prebuilt_one = f"{programs.PREBUILT}=y\n# BR2_PACKAGE_NPU_MODELS_NPU is not set\n"
    text = (
        COMMON
        + {
            "glibc": ALL + EXTERNAL + GLIBC + SYSTEM,
            "uclibc": ALL + EXTERNAL + UCLIBC + runtime,
            "buildroot-uclibc": ALL + INTERNAL + SYSTEM + runtime,
            "prebuilt": EXTERNAL + UCLIBC + prebuilt_one,
        }[name]
    )
    return text.format(folder=folder, gcc=min(toolchain.version(), 12))


def configure(done: Built, folder: Path, buildroot: Path, text: str) -> None:
    """Load the defconfig, and compare what was asked for with what Buildroot made of it."""
    (folder / "defconfig").write_text(text)
    done.output.mkdir(exist_ok=True)
    external = ROOT / "br2-external"
    subprocess.run(
        ["make", "-s", "-C", str(buildroot), f"O={done.output}", f"BR2_EXTERNAL={external}",
         f"BR2_DEFCONFIG={folder}/defconfig", "defconfig"],
        check=True, capture_output=True, env=done.env,
    )  # fmt: skip
    asked = {
        name: render.Symbol(name, value, configuration.Origin("defconfig", number))
        for number, line in enumerate(text.splitlines(), 1)
        for name, value in _parsed(line)
    }
    kconfig.check(asked, (done.output / ".config").read_text(), [buildroot, ROOT / "package"])


def _parsed(line: str) -> Iterable[tuple[str, str]]:
    found = render.parse_line(line)
    return [found] if found else []
