"""The external tree without Buildroot: Kconfig, makefiles, hashes and patches."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import kconfiglib
import pytest

from pico_image.base.files import ROOT
from pico_image.compile import libraries
from pico_image.config import configuration

PACKAGES = sorted(path.parent for path in (ROOT / "package").glob("*/Config.in"))
NAMES = [path.name for path in PACKAGES]
TFLITE = ROOT / "package/tensorflow-lite-static"
UPSTREAM = "tensorflow-2.14.1.tar.gz"

#: Symbols of Buildroot's that our Config.in files rely on; anything else must be ours.
OUTSIDE = [
    *("BR2_ARM_CPU_ARMV7A", "BR2_ARM_CPU_HAS_NEON", "BR2_ARM_CPU_HAS_VFPV3", "BR2_ARM_EABIHF"),
    *("BR2_ARM_FPU_NEON", "BR2_ARM_FPU_NEON_VFPV4", "BR2_INSTALL_LIBSTDCPP", "BR2_USE_MMU"),
    *("BR2_PACKAGE_CJSON", "BR2_PACKAGE_JPEG", "BR2_PACKAGE_LIBPNG", "BR2_PACKAGE_ZLIB"),
    *("BR2_SHARED_LIBS", "BR2_STATIC_LIBS", "BR2_TOOLCHAIN_GCC_AT_LEAST_8", "BR2_arm"),
    *("BR2_TOOLCHAIN_HAS_THREADS", "BR2_TOOLCHAIN_USES_UCLIBC"),
]


def kconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kconfiglib.Kconfig:
    monkeypatch.setenv("BR2_EXTERNAL_LUCKFOX_NPU_PATH", str(ROOT / "br2-external"))
    monkeypatch.setenv("KCONFIG_WARN_UNDEF", "y")
    monkeypatch.setenv("CONFIG_", "")
    top = tmp_path / "Config.in"
    declared = "".join(f'config {name}\n\tbool "{name}"\n' for name in OUTSIDE)
    source = 'source "$BR2_EXTERNAL_LUCKFOX_NPU_PATH/Config.in"\n'
    top.write_text(f'mainmenu "test"\n{declared}{source}')
    # Raises KconfigError for bad syntax and for dependency loops.
    return kconfiglib.Kconfig(str(top), warn_to_stderr=False)


def test_kconfig_has_no_error_loop_or_unknown_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = kconfig(tmp_path, monkeypatch)
    # Config.in files of Buildroot quote no environment variable; that warning is about style.
    assert [text for text in parsed.warnings if "style" not in text] == []
    for name in NAMES:
        assert f"BR2_PACKAGE_{name.upper().replace('-', '_')}" in parsed.syms


def test_the_syntax_test_catches_a_loop(tmp_path: Path) -> None:
    bad = tmp_path / "Config.in"
    bad.write_text('config A\n\tbool "a"\n\tdepends on B\nconfig B\n\tbool "b"\n\tdepends on A\n')
    with pytest.raises(kconfiglib.KconfigError, match="loop"):
        kconfiglib.Kconfig(str(bad))


@pytest.mark.parametrize(
    ("on", "selectable"),
    [
        (set(OUTSIDE) - {"BR2_SHARED_LIBS", "BR2_STATIC_LIBS"}, set(NAMES)),
        # The distribution's compiler: glibc, so no vendor runtime.
        (
            set(OUTSIDE) - {"BR2_SHARED_LIBS", "BR2_TOOLCHAIN_USES_UCLIBC"},
            set(NAMES) - {"rknn-runtime", "rknn-runtime-legacy"},
        ),
        # No NEON: what needs XNNPACK goes.
        (
            set(OUTSIDE) - {"BR2_SHARED_LIBS", "BR2_ARM_FPU_NEON", "BR2_ARM_FPU_NEON_VFPV4"},
            set(NAMES) - {"tensorflow-lite-static"},
        ),
        # Neither Rockchip's runtime nor the simulator: no npu-runner without a choice.
        (
            set(OUTSIDE)
            - {"BR2_SHARED_LIBS", "BR2_ARM_FPU_NEON", "BR2_ARM_FPU_NEON_VFPV4"}
            - {"BR2_TOOLCHAIN_USES_UCLIBC"},
            {"neon-runner", "npu-bench", "npu-models", "npu-module"},
        ),
        (set(OUTSIDE), set(NAMES) - {"npu-runner", "npu-bench"}),
        (set(), {"npu-models"}),
    ],
)
def test_what_can_be_selected_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: set[str], selectable: set[str]
) -> None:
    parsed = kconfig(tmp_path, monkeypatch)
    for name in on:
        parsed.syms[name].set_value(2)
    found = set()
    for _ in range(2):  # npu-bench can be selected once a runner is
        for name in NAMES:
            symbol = parsed.syms[f"BR2_PACKAGE_{name.upper().replace('-', '_')}"]
            symbol.set_value(2)
            if symbol.str_value == "y":
                found.add(name)
    assert found == selectable


@pytest.mark.parametrize("folder", PACKAGES, ids=NAMES)
def test_package_is_complete(folder: Path) -> None:
    makefile = (folder / f"{folder.name}.mk").read_text()
    text = (folder / "Config.in").read_text()
    variable = folder.name.upper().replace("-", "_")
    assert re.search(rf"^config BR2_PACKAGE_{variable}$.*?^\thelp$", text, re.M | re.S)
    assert f"{variable}_VERSION = " in makefile
    assert f"{variable}_LICENSE = " in makefile
    source = (ROOT / "br2-external/Config.in").read_text()
    assert f"../package/{folder.name}/Config.in" in source


PROBE = Path(__file__).with_name("probe.mk")


def make(*settings: str) -> list[list[str]]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    tree = f"BR2_EXTERNAL_LUCKFOX_NPU_PATH={ROOT / 'br2-external'}"
    answer = subprocess.run(
        ["make", "--warn-undefined-variables", "-s", "-f", str(PROBE), tree, *settings, "all"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    ours = [line for line in answer.stderr.splitlines() if "package/" in line]
    unknown = {line for line in ours if "'BR2_" not in line and "'PICO_" not in line}
    assert not unknown, "a makefile uses a variable that nobody sets"
    return [line.split() for line in answer.stdout.splitlines()]


@pytest.mark.parametrize("settings", [(), ("BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN=y",)])
def test_makefiles_parse_and_every_file_has_a_hash(settings: tuple[str, ...]) -> None:
    lines = make(*settings)
    assert ["seen", *NAMES] in lines
    for _, package, file in (line for line in lines if line[0] == "get"):
        hashes = ROOT / "package" / package / f"{package}.hash"
        assert re.search(rf"^sha256  [0-9a-f]{{64}}  {re.escape(file)}$", hashes.read_text(), re.M)


def hashes(path: Path) -> dict[str, str]:
    lines = (line.split() for line in path.read_text().splitlines() if line[:1] not in ("", "#"))
    return {file: value for kind, value, file in lines if kind == "sha256"}


@pytest.mark.parametrize("name", ["neon-runner", "npu-bench", "npu-module", "npu-runner"])
def test_our_own_packages_carry_the_projects_licence(name: str) -> None:
    text = (ROOT / "LICENSE").read_bytes()
    assert b"Apache License" in text[:100]
    known = hashes(ROOT / f"package/{name}/{name}.hash")
    assert known == {"LICENSE": hashlib.sha256(text).hexdigest()}
    makefile = (ROOT / f"package/{name}/{name}.mk").read_text()
    assert f"{name.upper().replace('-', '_')}_LICENSE = Apache-2.0\n" in makefile


def test_hashes_are_those_of_the_sources_list() -> None:
    listed: dict[str, str | None] = {}
    for source in configuration.load().sources.values():
        for file in source.files:
            listed[file.sha256] = file.sha1
    wanted = [line[2] for line in make() if line[:2] == ["get", TFLITE.name]]
    wanted += ["tensorflow_2.14.1+dfsg.orig.tar.xz"]
    found = hashes(TFLITE / f"{TFLITE.name}.hash")
    # Upstream's archive of TensorFlow has its hash from the pins: the native build uses Debian's.
    archives = [file for file in wanted if ".tar" in file and file != UPSTREAM]
    assert len(archives) == 12
    for name in archives:
        assert found[name] in listed, f"{name} has another hash in configs/sources.yml"
    # Debian's snapshot archive serves by SHA-1, which must be that of the same file.
    for _, url in (line for line in make() if line[0] == "url"):
        *_, sha1, name = url.replace("?", "").split("/")
        assert listed[found[name]] == sha1


@pytest.mark.parametrize("name", ["rknn-runtime", "rknn-runtime-legacy"])
def test_a_runtime_is_the_one_of_the_sources_list(name: str) -> None:
    """Version and commit: convert.py compares the listed one with the toolkit's version."""
    listed = configuration.load().source(name)
    text = (ROOT / f"package/{name}/{name}.mk").read_text()
    variable = name.upper().replace("-", "_")
    assert f"{variable}_VERSION = {listed.version}\n" in text
    assert f"{variable}_COMMIT = {listed.commit}\n" in text
    assert f"at commit {listed.commit}\n" in (ROOT / f"package/{name}/{name}.hash").read_text()


def test_the_legacy_runtimes_flatcc_is_the_one_that_is_unpacked() -> None:
    text = (ROOT / "package/rknn-runtime-legacy/rknn-runtime-legacy.mk").read_text()
    (archive,) = re.findall(r"_FLATCC = flatcc-(\S+)\.tar\.gz\n", text)
    assert f"$(call github,dvidelabs,flatcc,v{archive})/" in text


def test_cmake_package_is_the_one_of_the_native_build() -> None:
    assert (TFLITE / "tflite-config.cmake").read_text() == libraries.CMAKE_CONFIG


def test_cmake_options_are_those_of_the_native_build() -> None:
    from pico_image.compile import libraries

    text = (TFLITE / "tensorflow-lite-static.mk").read_text()
    for key, value in libraries.TFLITE_OPTIONS.items():
        assert f"-D{key}={value} " in text or f"-D{key}={value}\n" in text
    for flag in (*libraries.TFLITE_CFLAGS.split(), *libraries.TFLITE_CXXFLAGS.split()):
        assert flag in text


@pytest.mark.parametrize("patch", sorted(TFLITE.glob("patches/*/*.patch")), ids=lambda p: p.name)
def test_patches_are_numbered_and_say_why(patch: Path) -> None:
    head = patch.read_text().partition("\n--- ")[0]
    assert re.match(r"\d{4}-[a-z0-9_-]+\.patch$", patch.name)
    assert re.search(r"^Subject: ", head, re.M)
    assert len(head.split()) > 20, "a patch tells its reason in its header"


def test_hooks_are_executable_and_parse_in_busybox() -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    board = ROOT / "board/luckfox-pico"
    for path in (
        board / "post-build.sh", board / "post-image.sh", ROOT / "br2-external/check-config.sh",
    ):  # fmt: skip
        assert path.stat().st_mode & 0o111
        subprocess.run([busybox, "ash", "-n", str(path)], check=True)


def test_the_kernels_modules_go_where_the_init_script_looks(tmp_path: Path) -> None:
    """What Buildroot would run of npu-module.mk, for a board with Wi-Fi and for one without."""
    modules, target = tmp_path / "modules", tmp_path / "target"
    (modules / "aic8800dc_fw").mkdir(parents=True)
    for name in ("rknpu.ko", "rockit.ko", "aic8800_bsp.ko", "aic8800dc_fw/fmacfw.bin"):
        (modules / name).write_text(name)
    (modules / "release").write_text("5.10.160\n")
    rules = tmp_path / "Makefile"
    rules.write_text(
        f"INSTALL := install\nTARGET_DIR := {target}\ngeneric-package =\n"
        f"include {ROOT}/package/npu-module/npu-module.mk\n"
        "all:\n\t$(NPU_MODULE_INSTALL_TARGET_CMDS)\n"
    )

    def installed(**variables: str) -> set[str]:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(
            ["make", "-s", "-f", str(rules)], env={**os.environ, **variables}, check=True
        )
        return {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}

    module = "lib/modules/5.10.160/rknpu.ko"
    assert installed() == set()
    assert installed(PICO_KERNEL_MODULES=str(modules)) == {module}
    # The vendor's script names the modules of all chips; those of this board's were made.
    (modules / "insmod_wifi.sh").write_text("\tinsmod 8189fs.ko\n\tinsmod aic8800_bsp.ko\n")
    assert installed(PICO_KERNEL_MODULES=str(modules)) == {
        *(module, "lib/modules/5.10.160/aic8800_bsp.ko", "lib/firmware/aic8800dc_fw/fmacfw.bin"),
    }
