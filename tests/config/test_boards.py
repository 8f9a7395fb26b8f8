"""The boards of configs/boards: their facts agree with each other and with what the docs say."""

from __future__ import annotations

import re

import pytest

from pico_image.config import configuration
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import Target
from tests.support import board_table

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
