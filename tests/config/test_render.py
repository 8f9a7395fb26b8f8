"""Defconfigs and BoardConfig files: rendered right, checked, and clear about bad input."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pico_image.base.errors import CheckFailed, ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.config import configuration, render
from pico_image.config.configuration import Config

GOLDEN = Path(__file__).parent / "golden" / "buildroot"
MODEL = "efficientnet-lite0"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project's data."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "package", tmp_path / "package")
    return tmp_path


Change = Callable[..., Config]


@pytest.fixture
def changed(tree: Path) -> Change:
    """Load the configuration after changing one variant's file."""

    def change(name: str, **values: object) -> Config:
        path = tree / f"configs/variants/{name}.yml"
        data = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**data, **values}, sort_keys=False))
        return configuration.load(tree)

    return change


def minimal_tree(tree: Path) -> Config:
    """Variants whose every value is written here, for the golden files."""
    shutil.rmtree(tree / "configs/variants")
    (tree / "configs/variants").mkdir()
    for name, text in {
        "bench": "title: Bench\nboard: luckfox-pico-mini\nhostname: bench\n"
        f"packages: [rknn-runtime, npu-module, npu-runner, neon-runner, npu-models, npu-bench]\n"
        f"models: [{MODEL}]\ncma_mib: 10\nbench_at_boot: true\n"
        "extra_symbols:\n  BR2_PACKAGE_HTOP: y\n  BR2_PACKAGE_E2FSPROGS: n\n"
        "  BR2_TARGET_GENERIC_ISSUE: 'say \"hi\" \\ there'\n",
        "minimal": "title: Minimal\nboard: luckfox-pico-pro-max\ncamera: true\n"
        "packages: [rknn-runtime, npu-module, npu-runner]\n"
        "partitions: 32K(env),512K@32K(idblock),256K(uboot),32M(boot),64M(oem),64M(userdata),"
        "1G(rootfs)\n",
        "emmc": "title: eMMC\nboard: luckfox-pico-86panel-w\npackages: [rknn-runtime]\n",
    }.items():
        (tree / f"configs/variants/{name}.yml").write_text(text)
    return configuration.load(tree)


@pytest.mark.parametrize("variant", ["bench", "minimal", "emmc"])
def test_golden(tree: Path, variant: str, request: pytest.FixtureRequest) -> None:
    for relative, text in render.files(minimal_tree(tree), variant).items():
        golden = GOLDEN / relative.name
        assert text == golden.read_text(), f"{golden}: write the new text if it is meant"


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("y", "BR2_X=y"),
        ("yes", "BR2_X=y"),
        ("true", "BR2_X=y"),
        ("no", "# BR2_X is not set"),
        ("4", "BR2_X=4"),
        ('"4 M"', 'BR2_X="4 M"'),
    ],
)
def test_symbols_as_yaml_reads_them(tree: Path, written: str, line: str) -> None:
    variant = "extends: _minimal\ntitle: T\nboard: luckfox-pico-mini\nextra_symbols:\n"
    (tree / "configs/variants/mine.yml").write_text(f"{variant}  BR2_X: {written}\n")
    assert line in render.defconfig(configuration.load(tree), "mine").splitlines()


def test_each_variant_of_the_sdk_is_rendered_and_no_other(tree: Path) -> None:
    loaded = configuration.load(tree)
    names = render.renderable(loaded)
    assert "emulator" not in names
    for board in ("luckfox-pico", *(f"luckfox-pico-{b}" for b in ("mini", "plus", "pro-max"))):
        assert {board, f"{board}-minimal"} <= set(names)
    with pytest.raises(UserError, match="built without Buildroot"):
        render.files(loaded, "emulator")


def test_defconfig_is_sorted_headed_and_has_each_symbol_once(tree: Path) -> None:
    loaded = configuration.load(tree)
    for name in render.renderable(loaded):
        head, *lines = render.defconfig(loaded, name).splitlines()
        assert "do not edit" in head
        found = [parsed[0] for parsed in map(render.parse_line, lines) if parsed]
        assert found == sorted(set(found))
        assert "BR2_ARM_FPU_NEON_VFPV4=y" in lines
        assert not any("PYTHON" in line for line in lines)


def test_no_image_gets_a_known_password(tree: Path) -> None:
    loaded = configuration.load(tree)
    for name in render.renderable(loaded):
        text = "".join(render.files(loaded, name).values())
        assert "# BR2_TARGET_ENABLE_ROOT_LOGIN is not set" in text
        assert "ROOT_PASSWD" not in text
        assert "overlay-luckfox-buildroot-shadow" not in text


#: Programs of busybox that an init script of the overlay runs and Buildroot leaves out by default
#: (package/busybox/busybox.config of 2023.02.6), and the symbol that brings each.
LEFT_OUT = {"udhcpd": "CONFIG_UDHCPD=y", "timeout": "CONFIG_TIMEOUT=y"}


def test_busybox_gets_what_the_overlay_runs(tree: Path) -> None:
    loaded = configuration.load(tree)
    board = "$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico"
    fragment = f"{board}/busybox.fragment"
    for name in render.renderable(loaded):
        lines = render.defconfig(loaded, name).splitlines()
        assert f'BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES="{fragment}"' in lines
    folder = Path(board.replace("$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)", str(ROOT / "br2-external")))
    given = (folder / "busybox.fragment").read_text().splitlines()
    scripts = "".join(path.read_text() for path in (folder / "overlay/etc/init.d").iterdir())
    called = [name for name in LEFT_OUT if re.search(rf"^ *{name} ", scripts, re.M)]
    assert called == list(LEFT_OUT), "a program that is no longer run need not be asked for"
    assert [line for line in given if not line.startswith("#")] == [LEFT_OUT[n] for n in called]


@pytest.mark.parametrize("vendors", ["", "rv1106-bt.config", "a.config b.config"])
def test_our_kernel_fragment_joins_those_of_the_vendors_board(tree: Path, vendors: str) -> None:
    """The Ultra W has one for Bluetooth, the 86 Panel W two."""
    lines = render.board_config(configuration.load(tree), "luckfox-pico-mini").splitlines()
    (line,) = [line for line in lines if "RK_KERNEL_DEFCONFIG_FRAGMENT" in line]
    done = subprocess.run(
        ["bash", "-uc", f'{line}; echo "$RK_KERNEL_DEFCONFIG_FRAGMENT"'],
        env={"RK_KERNEL_DEFCONFIG_FRAGMENT": vendors},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [*vendors.split(), "pico-image.config"]


def test_a_board_image_without_the_benchmark_has_no_word_of_it(tree: Path) -> None:
    """Every image has the overlay; the package npu-bench brings the rest."""
    loaded = configuration.load(tree)
    board = ROOT / "board/luckfox-pico"
    common = [path for path in (board / "overlay").rglob("*") if path.is_file()]
    for path in (*common, board / "users.txt", board / "busybox.fragment"):
        assert "bench" not in path.name and "bench" not in path.read_text(), path
    without = [name for name in render.renderable(loaded) if name.endswith("minimal")]
    assert without
    for name in without:
        lines = "".join(render.files(loaded, name).values()).splitlines()
        assert not [line for line in lines if "bench" in line.lower() and line[0] != "#"], name
    # What the package installs is there, so that no other place is needed.
    makefile = (ROOT / "package/npu-bench/npu-bench.mk").read_text()
    for path in (board / "bench").rglob("*"):
        if path.is_file():
            assert f"$(NPU_BENCH_FILES)/{path.relative_to(board / 'bench')} " in makefile


def test_defconfig_never_shadows_one_of_the_sdk(tree: Path) -> None:
    names = {render.defconfig_name(name) for name in render.renderable(configuration.load(tree))}
    assert not names & {"luckfox_pico_defconfig", "luckfox_pico_w_defconfig"}
    assert all(name.endswith("_defconfig") for name in names)


def test_origins_are_files_and_lines(tree: Path) -> None:
    found = render.symbols(minimal_tree(tree), "bench")
    assert str(found["BR2_PACKAGE_HTOP"].origin) == "configs/variants/bench.yml:9"
    assert str(found["BR2_PACKAGE_NPU_BENCH"].origin) == "configs/variants/bench.yml:4"
    file, _, line = str(found["BR2_ARM_FPU_NEON_VFPV4"].origin).partition(":")
    text = (tree / file).read_text().splitlines()
    assert "BR2_ARM_FPU_NEON_VFPV4=y" in text[int(line) - 1]


def test_board_config_is_sound_shell_and_overrides_the_vendor(tree: Path, tmp_path: Path) -> None:
    loaded = configuration.load(tree)
    sdk = tmp_path / "sdk"
    stock = sdk / "project/cfg/BoardConfig_IPC"
    stock.mkdir(parents=True)
    for name in render.renderable(loaded):
        board = loaded.board(loaded.variant(name).board)
        (stock / str(board.sdk_board_config)).write_text(
            "export RK_CHIP=rv1106\nexport RK_BOOTARGS_CMA_SIZE=24M\n"
            "export RK_BOOT_MEDIUM=spi_nand\n"
            "export RK_PARTITION_FS_TYPE_CFG=rootfs@IGNORE@ubifs,media@/media@ext4\n"
        )
        script = tmp_path / "board.mk"
        script.write_text(render.board_config(loaded, name))
        command = f'SDK_ROOT_DIR={sdk}; . {script}; echo "$RK_CHIP [$RK_BOOTARGS_CMA_SIZE]" \
            "$RK_KERNEL_DTS" "$RK_PARTITION_CMD_IN_ENV" "$RK_PARTITION_FS_TYPE_CFG" \
            "$RK_BOOT_MEDIUM"'
        answer = subprocess.run(
            ["bash", "-euc", command], capture_output=True, text=True, check=True
        ).stdout.split()
        assert answer == [
            *("rv1106", "[]", board.kernel_dts),
            *(board.partitions, "rootfs@IGNORE@ext4", board.medium),
        ]


def test_write_and_check(tree: Path) -> None:
    loaded = configuration.load(tree)
    names = render.renderable(loaded)
    with pytest.raises(CheckFailed, match="not rendered yet"):
        render.check(loaded, names)
    paths = render.write(loaded, names)
    render.check(loaded, names)
    times = [path.stat().st_mtime_ns for path in paths]
    render.write(loaded, names)
    assert [path.stat().st_mtime_ns for path in paths] == times, "right files were written again"
    edited = tree / render.CONFIGS / "npu_luckfox_pico_mini_defconfig"
    edited.write_text(edited.read_text().replace("BR2_CCACHE=y", "BR2_CCACHE=n"))
    with pytest.raises(CheckFailed, match=r"(?s)mini_defconfig.*-BR2_CCACHE=n.*\+BR2_CCACHE=y"):
        render.check(loaded, names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"packages": ["npu-runnr"]}, "no package 'npu-runnr'.*did you mean 'npu-runner'"),
        ({"packages": ["npu-runner"], "models": []}, "npu-runner needs rknn-runtime"),
        ({"packages": ["npu-bench"], "models": []}, "npu-bench needs npu-runner or neon-runner"),
        ({"packages": ["npu-models"], "models": []}, "models is empty"),
        ({"packages": ["neon-runner"]}, "npu-models, which installs them, is not selected"),
        (
            {"packages": ["neon-runner", "npu-models"], "bench_at_boot": True},
            "bench_at_boot needs the package npu-bench",
        ),
        ({"extra_symbols": {"PACKAGE_HTOP": "y"}}, "'PACKAGE_HTOP' is not the name"),
        ({"extra_symbols": {"BR2_X": "a\nBR2_Y=y"}}, "value of BR2_X has a line break"),
    ],
)
def test_bad_variant_names_file_and_line(
    changed: Change, values: dict[str, object], message: str
) -> None:
    loaded = changed("luckfox-pico-mini", **values)
    with pytest.raises(ConfigError, match=rf"(luckfox-pico-mini|_bench)\.yml:\d+: .*{message}"):
        render.files(loaded, "luckfox-pico-mini")


def test_ethernet_asks_for_an_address_where_there_is_one(tree: Path) -> None:
    loaded = configuration.load(tree)
    for name in render.renderable(loaded):
        asked = 'BR2_SYSTEM_DHCP="eth0"' in render.defconfig(loaded, name).splitlines()
        assert asked == loaded.board(loaded.variant(name).board).ethernet
    assert {name for name, board in loaded.boards.items() if board.ethernet} >= {
        *("luckfox-pico-plus", "luckfox-pico-pro-max", "luckfox-pico-ultra")
    }


def test_undefined_value_in_a_template(tree: Path) -> None:
    path = tree / "configs/templates/defconfig.j2"
    path.write_text(path.read_text() + "BR2_X={{ variant.nonsense }}\n")
    with pytest.raises(ConfigError, match=r"defconfig\.j2.*nonsense"):
        render.defconfig(configuration.load(tree), "luckfox-pico")


def test_broken_template_names_its_line(tree: Path) -> None:
    path = tree / "configs/templates/defconfig.j2"
    path.write_text("BR2_arm=y\n{% if %}\n")
    with pytest.raises(ConfigError, match=r"defconfig\.j2:2: bad template"):
        render.defconfig(configuration.load(tree), "luckfox-pico")


def test_template_line_that_is_no_symbol(tree: Path) -> None:
    path = tree / "configs/templates/defconfig.j2"
    path.write_text("BR2_arm = y\n")
    with pytest.raises(ConfigError, match="no Buildroot symbol"):
        render.defconfig(configuration.load(tree), "luckfox-pico")


def test_template_that_is_gone(tree: Path) -> None:
    (tree / "configs/templates/board-config.mk.j2").unlink()
    with pytest.raises(UserError, match=r"could not find the template.*board-config"):
        render.board_config(configuration.load(tree), "luckfox-pico")
