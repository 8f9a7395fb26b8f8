"""The external tree against real Buildroot: what only Buildroot can say.

BUILDROOT_DIR names an unpacked Buildroot 2023.02.6 (the version inside the Luckfox SDK). Whole
builds are in test_buildroot_build.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.config import configuration, kconfig, render
from tests.buildroot import building

pytestmark = pytest.mark.external

EXTERNAL = ROOT / "br2-external"
PACKAGES = sorted(path.parent.name for path in (ROOT / "package").glob("*/Config.in"))
VARIANTS = render.renderable(configuration.load())


@pytest.fixture(scope="session")
def buildroot() -> Path:
    folder = os.environ.get("BUILDROOT_DIR")
    if not folder:
        pytest.skip("BUILDROOT_DIR does not name a Buildroot tree")
    path = Path(folder)
    text = (path / "Makefile").read_text()
    assert "BR2_VERSION := 2023.02.6" in text, "the SDK has Buildroot 2023.02.6"
    return path


@pytest.fixture(scope="session")
def external(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every variant rendered; nothing is written to the real one."""
    root = tmp_path_factory.mktemp("tree")
    for name in ("app", "board", "br2-external", "configs", "package"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "LICENSE", root)
    for path in (root / render.CONFIGS).glob("*"):
        path.unlink()
    loaded = configuration.load(root)
    render.write(loaded, render.renderable(loaded))
    return root / "br2-external"


def make(buildroot: Path, output: Path, external: Path, *targets: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    answer = subprocess.run(
        ["make", "-s", "-C", str(buildroot), f"O={output}", f"BR2_EXTERNAL={external}", *targets],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-4000:]
    return answer.stdout


@pytest.mark.parametrize("name", VARIANTS)
def test_every_defconfig_loads_with_nothing_dropped(
    buildroot: Path, external: Path, tmp_path: Path, name: str
) -> None:
    make(buildroot, tmp_path, external, render.defconfig_name(name))
    loaded = configuration.load(external.parent)
    dotconfig = (tmp_path / ".config").read_text()
    kconfig.check(render.symbols(loaded, name), dotconfig, [buildroot, external.parent / "package"])
    actual = kconfig.read_dotconfig(dotconfig)
    assert actual["BR2_GCC_TARGET_FPU"] == '"neon-vfpv4"'
    assert "BR2_PACKAGE_PYTHON3" not in {key for key, value in actual.items() if value == "y"}


@pytest.mark.parametrize("vendor", [True, False])
@pytest.mark.parametrize("name", building.BUILDS)
def test_what_the_whole_builds_ask_for_is_taken(
    buildroot: Path, tmp_path: Path, name: str, vendor: bool
) -> None:
    """Those of test_buildroot_build.py, without the hours that they take."""
    vendor = vendor and name.endswith("uclibc")
    text = building.defconfig(name, tmp_path, vendor=vendor, legacy=vendor)
    done = building.Built(name, tmp_path / "output", vendor, dict(os.environ))
    building.configure(done, tmp_path, buildroot, text)


def test_buildroot_finds_the_busybox_fragment_and_needs_it(
    buildroot: Path, external: Path, tmp_path: Path
) -> None:
    make(buildroot, tmp_path, external, render.defconfig_name("luckfox-pico-mini"))
    names = ("BUSYBOX_KCONFIG_FILE", "BUSYBOX_KCONFIG_FRAGMENT_FILES")
    answer = make(buildroot, tmp_path, external, "printvars", f"VARS={' '.join(names)}")
    found = dict(line.split("=", 1) for line in answer.splitlines() if line.startswith(names))
    base = (buildroot / found[names[0]]).read_text().splitlines()
    asked = [
        line.removesuffix("=y")
        for line in Path(found[names[1]]).read_text().splitlines()
        if not line.startswith("#")
    ]
    assert asked
    for symbol in asked:
        assert f"# {symbol} is not set" in base


def test_the_fragment_takes_telnet_out_of_the_sdks_busybox(buildroot: Path, tmp_path: Path) -> None:
    """The SDK's busybox.config, which replaces Buildroot's, has telnetd: port 23 was open."""
    base = tmp_path / "busybox.config"
    on = ("CONFIG_TELNETD=y", "CONFIG_FEATURE_TELNETD_STANDALONE=y")
    base.write_text("\n".join(("CONFIG_ASH=y", *on, "")))
    fragment = ROOT / "board/luckfox-pico/busybox.fragment"
    # As package/pkg-kconfig.mk calls it.
    subprocess.run(
        [buildroot / "support/kconfig/merge_config.sh", "-m", "-O", tmp_path, base, fragment],
        cwd=buildroot, check=True, capture_output=True,
    )  # fmt: skip
    merged = (tmp_path / ".config").read_text().splitlines()
    assert "CONFIG_ASH=y" in merged and "CONFIG_UDHCPD=y" in merged
    assert not set(on) & set(merged)


def test_buildroot_puts_the_account_pico_into_the_group_npu(
    buildroot: Path, tmp_path: Path
) -> None:
    """With the group of the package npu-module, which a system without that account has as well."""
    (tmp_path / "target/etc").mkdir(parents=True)
    for name, line in (
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:::::::\n"),
    ):
        (tmp_path / "target/etc" / name).write_text(line)
    (tmp_path / "config").write_text('BR2_TARGET_GENERIC_PASSWD_METHOD="sha-256"\n')
    makefile = (ROOT / "package/npu-module/npu-module.mk").read_text()
    group = makefile.partition("define NPU_MODULE_USERS\n")[2].partition("endef")[0].strip()
    table = tmp_path / "users"
    table.write_text((ROOT / "board/luckfox-pico/users.txt").read_text() + f"{group}\n")
    subprocess.run(
        [buildroot / "support/scripts/mkusers", table, tmp_path / "target"],
        env={**os.environ, "BR2_CONFIG": str(tmp_path / "config")},
        check=True, capture_output=True,
    )  # fmt: skip
    groups = (tmp_path / "target/etc/group").read_text()
    assert re.search(r"^npu:x:\d+:pico$", groups, re.M), groups
    assert "pico:x:1000:1000:" in (tmp_path / "target/etc/passwd").read_text()
    assert "pico:*:" in (tmp_path / "target/etc/shadow").read_text()


def test_a_dropped_symbol_is_explained_from_buildroots_own_files(
    buildroot: Path, external: Path, tmp_path: Path
) -> None:
    make(buildroot, tmp_path, external, render.defconfig_name("luckfox-pico-mini"))
    asked = {
        name: render.Symbol(name, value, configuration.Origin("configs/variants/mine.yml", 3))
        for name, value in {
            "BR2_PACKAGE_HTOPP": "y",
            "BR2_PACKAGE_ROCKCHIP_MALI": "y",
            "BR2_PACKAGE_ZLIB": "n",
        }.items()
    }
    found = kconfig.compare(asked, (tmp_path / ".config").read_text(), [buildroot])
    text = "\n".join(map(str, found))
    assert "did you mean BR2_PACKAGE_HTOP?" in text
    assert "depends on BR2_TOOLCHAIN_USES_GLIBC" in text
    assert re.search(r"ZLIB was asked to be n, is y: it is selected by .*BR2_PACKAGE_LIBPNG", text)


def test_buildroot_itself_stops_at_a_dropped_symbol(
    buildroot: Path, external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defconfig = external / "configs/npu_luckfox_pico_mini_defconfig"
    bad = external / "configs/bad_defconfig"
    more = ("HTOPP", "ROCKCHIP_MALI")
    lines = (f"# from mine.yml:{n}\nBR2_PACKAGE_{name}=y\n" for n, name in enumerate(more, 4))
    bad.write_text(defconfig.read_text() + "".join(lines))
    monkeypatch.setenv("PICO_MODELS_DIR", "/models")
    make(buildroot, tmp_path, external, "bad_defconfig")
    with pytest.raises(AssertionError) as stopped:
        make(buildroot, tmp_path, external, "printvars", "VARS=BR2_DEFCONFIG")
    told = str(stopped.value)
    assert "mine.yml:4: BR2_PACKAGE_HTOPP was asked to be y, is absent (Buildroot has no" in told
    needs = "it depends on BR2_TOOLCHAIN_USES_GLIBC,"
    assert f"mine.yml:5: BR2_PACKAGE_ROCKCHIP_MALI was asked to be y, is absent ({needs}" in told
    assert "package/rockchip-mali/Config.in)" in told
    make(buildroot, tmp_path, external, defconfig.name)
    make(buildroot, tmp_path, external, "printvars", "VARS=BR2_DEFCONFIG")


def test_an_external_defconfig_never_shadows_buildroots_own(buildroot: Path) -> None:
    ours = {render.defconfig_name(name) for name in VARIANTS}
    assert not ours & {path.name for path in (buildroot / "configs").iterdir()}


def test_check_package_is_clean(buildroot: Path) -> None:
    files = [
        path
        for folder in (EXTERNAL, ROOT / "package")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "configs" not in path.parts and "ruy" not in path.parts
    ]
    assert len(files) > 25
    # Sob: the origin of these patches is this repository, whose history names their author.
    command = [sys.executable, "utils/check-package", "-b", "--exclude", "Sob"]
    answer = subprocess.run(
        [*command, *map(str, files)], cwd=buildroot, capture_output=True, text=True, check=False,
        # It calls shellcheck, which the environment of the tests has, and imports python-magic, for
        # which a few lines stand in.
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests/buildroot/python"),
        },
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_show_info_of_every_package(buildroot: Path, external: Path, tmp_path: Path) -> None:
    make(buildroot, tmp_path, external, render.defconfig_name("luckfox-pico-mini"))
    for name in PACKAGES:
        info = json.loads(make(buildroot, tmp_path, external, f"{name}-show-info"))[name]
        assert info["licenses"], f"{name} states no licence"
    runner = json.loads(make(buildroot, tmp_path, external, "npu-runner-show-info"))["npu-runner"]
    assert {"rknn-runtime", "cjson", "jpeg", "libpng", "zlib"} <= set(runner["dependencies"])
    assert "tensorflow-lite-static" not in runner["dependencies"]
    runtime = json.loads(make(buildroot, tmp_path, external, "rknn-runtime-show-info"))
    sources = {entry["source"] for entry in runtime["rknn-runtime"]["downloads"]}
    assert sources == {"librknnmrt.a", "librknnmrt.so", "rknn_api.h", "LICENSE"}
