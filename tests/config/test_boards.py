"""The boards of configs/boards: their facts agree with each other and with what the docs say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.config import configuration
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import Target
from tests.support import board_table, card_images

CONFIG = configuration.load()
#: The boards that the SDK has BoardConfig files for, read at its commits of 2026.
BOARDS = {
    ("SD_CARD", "RV1103"): ("Pico", "Pico_Mini", "Pico_Plus", "Pico_WebBee"),
    ("SD_CARD", "RV1106"): ("Pico_Pro_Max",),
    ("EMMC", "RV1106"): tuple(
        f"Pico_{name}"
        for name in ("86Panel", "86Panel_W", "Pi", "Pi_W", "Ultra", "Ultra_W", "Zero")
    ),
}


def test_each_board_of_the_sdk_has_a_file_and_a_variant() -> None:
    named = {
        match[1]: board
        for board in CONFIG.boards.values()
        if (match := re.fullmatch(r"BoardConfig-(.*)-IPC\.mk", board.sdk_board_config or ""))
    }
    assert set(named) == {
        f"{medium}-Buildroot-{chip}_Luckfox_{name}"
        for (medium, chip), names in BOARDS.items()
        for name in names
    }
    for file, board in named.items():
        assert board.medium == ("emmc" if file.startswith("EMMC-") else "sd_card")
        assert str(board.soc).upper() in file
        assert str(board.kernel_dts).startswith(f"{board.soc}g-luckfox-pico")
        # The vendor's W boards, and the Zero, have a Wi-Fi chip.
        assert (board.wifi is not None) == file.endswith(("_W", "_Zero"))
    for board in CONFIG.boards.values():
        assert any(variant.board == board.name for variant in CONFIG.variants.values())


@pytest.mark.parametrize("name", list(CONFIG.boards))
def test_the_medium_fits_the_device(name: str) -> None:
    """build.sh: emmc is mmcblk0, sd_card mmcblk1. The emulator's card is mmcblk0 and says so."""
    board = CONFIG.boards[name]
    emulated = board.kernel_arguments == "pico.emulated=1"
    assert emulated == (board.backend == "emulator") == (board.evidence == "tests")
    if not emulated:
        assert board.block_device == {"emmc": "mmcblk0", "sd_card": "mmcblk1"}[board.medium]
    table = PartitionTable.parse(board.partitions)
    assert table["uboot"].offset == 0x440 * 512, "the SPL's `Trying fit image at 0x440 sector`"


#: As the SDK's files have them: the chip's tree with 420 MHz, and the Zero's with 700.
VENDOR_TREES = {
    "chip.dtsi": '/ { npu: npu@ff660000 { status = "okay";\n'
    "assigned-clock-rates = <420000000>; }; };\n",
    "rv1106g-luckfox-pico-zero.dts": '/dts-v1/;\n#include "chip.dtsi"\n/ { model = "Zero"; };\n'
    "&npu { assigned-clock-rates = <700000000>; };\n",
}


def test_the_npu_of_the_zero_has_the_clock_of_all_others(tmp_path: Path) -> None:
    """With the SDK's 700 MHz every inference timed out (luckfox-pico pull request 370)."""
    for name, text in VENDOR_TREES.items():
        (tmp_path / name).write_text(text)
    for path in (ROOT / "board/luckfox-pico/dts").iterdir():
        shutil.copy(path, tmp_path)
    name = str(CONFIG.board("luckfox-pico-zero").kernel_dts)
    rates = {}
    for each in (name, "rv1106g-luckfox-pico-zero.dts"):
        # As the kernel's Makefile.lib does it.
        plain = subprocess.run(
            [card_images.tool("cpp", "cpp"), "-undef", "-x", "assembler-with-cpp", each],
            cwd=tmp_path, check=True, capture_output=True,
        ).stdout  # fmt: skip
        dtc = [card_images.tool("dtc", "device-tree-compiler"), "-q", "-I", "dts", "-O", "dts", "-"]
        tree = subprocess.run(dtc, input=plain, check=True, capture_output=True).stdout.decode()
        assert 'model = "Zero"' in tree and 'status = "okay"' in tree
        rates[each] = int(re.findall(r"assigned-clock-rates = <(\w+)>", tree)[0], 16)
    assert list(rates.values()) == [420_000_000, 700_000_000]


def test_every_device_tree_of_ours_is_a_boards() -> None:
    ours = {path.name for path in (ROOT / "board/luckfox-pico/dts").iterdir()}
    assert ours <= {board.kernel_dts for board in CONFIG.boards.values()}


def test_the_environment_of_an_emmc_board() -> None:
    env = Target.of(CONFIG, "luckfox-pico-ultra-w").env()
    assert env["blkdevparts"] == f"mmcblk0:{CONFIG.boards['luckfox-pico-ultra-w'].partitions}"
    # The arguments of a kernel log on that board (luckfox-pico issue 208), but for the size.
    assert env["sys_bootargs"] == " root=/dev/mmcblk0p7 rootfstype=ext4 rk_dma_heap_cma=24M"


def test_the_table_in_the_docs_is_that_of_the_files() -> None:
    text = board_table.DOCUMENT.read_text(encoding="utf-8")
    assert text.count(board_table.BEGIN) == 1
    assert text == board_table.with_block(text, CONFIG), "run: python -m tests.support.board_table"
    for board in CONFIG.boards.values():
        assert (f"\n| {board.title} |" in text) == (board.backend == "luckfox-sdk")
