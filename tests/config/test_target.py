"""A variant on its board: whose value counts, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pico_image.base.errors import ConfigError
from pico_image.config import configuration
from pico_image.config.target import Target


def test_the_variants_value_counts_before_the_boards() -> None:
    loaded = configuration.load()
    stock = Target.of(loaded, "luckfox-pico")
    assert str(stock.layout).startswith("mmcblk1:32K(env),512K@32K(idblock),")
    changed = loaded.variant("luckfox-pico").model_copy(
        update={"cma_mib": 0, "partitions": "mmcblk7:32K(env),512K@32K(idblock),1G(rootfs)"}
    )
    target = Target.of(loaded, changed)
    assert (target.cma_mib, target.layout.device) == (0, "mmcblk7")
    assert target.env()["sys_bootargs"] == (
        " root=/dev/mmcblk7p3 rootfstype=ext4 rk_dma_heap_cma=0M"
    )


def test_kernel_arguments_of_a_board_reach_the_kernel() -> None:
    """Those of a real board were ignored in silence."""
    loaded = configuration.load()
    for name in ("luckfox-pico", "emulator"):
        board = loaded.board(name).model_copy(update={"kernel_arguments": "quiet loglevel=3"})
        loaded.boards[name] = board
        assert Target.of(loaded, name).env()["sys_bootargs"].endswith("M quiet loglevel=3")


def test_a_layout_that_the_kernel_refuses_is_told_with_file_and_line(tmp_path: Path) -> None:
    loaded = configuration.load()
    variant = loaded.variant("luckfox-pico").model_copy(update={"partitions": "32K(env"})
    with pytest.raises(ConfigError, match=r"boards/luckfox-pico\.yml:\d+: .*parenthesis"):
        Target.of(loaded, variant)
