"""S19growfs in the shell that runs it on the board: busybox ash with busybox's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.card.env import env_image, layout_of, read_env
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables

SCRIPT = ROOT / "board/luckfox-pico/overlay/etc/init.d/S19growfs"
STOCK = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
)
APPLETS = ("cat", "cmp", "dd", "grep", "gzip", "mkdir", "rm", "sed", "tr", "wc")
CARD = 31914983424  # a "32 GB" card


def busybox() -> str:
    path = shutil.which("busybox")
    if path is None:
        pytest.skip("busybox is not installed")
    return path


class Board:
    """A root folder with the files that the script looks at."""

    def __init__(self, folder: Path, layout: str = STOCK, card: int = CARD, more: str = "") -> None:
        self.folder = folder
        self.table = PartitionTable.parse(layout)
        self.variables = boot_variables(self.table, cma_mib=24)
        name = self.table.device
        blocks = folder / "sys/class/block"
        for part in self.table:
            node = f"{name}p{self.table.number(part.name)}"
            (blocks / node).mkdir(parents=True)
            (blocks / node / "start").write_text(f"{part.offset // 512}\n")
        (blocks / f"{name}").mkdir()
        (blocks / f"{name}" / "size").write_text(f"{card // 512}\n")
        for sub in ("dev", "proc", "tmp", "bin"):
            (folder / sub).mkdir()
        for applet in APPLETS:
            (folder / "bin" / applet).symlink_to(busybox())
        self.env = folder / "dev" / f"{name}p1"
        self.env.write_bytes(env_image(self.variables))
        self.set_cmdline(more)

    def set_cmdline(self, more: str = "") -> None:
        words = f"blkdevparts={self.table}{self.variables['sys_bootargs']} storagemedia=sd {more}"
        (self.folder / "proc/cmdline").write_text(f"console=ttyFIQ0 {words}\n")

    def run(self, argument: str = "start") -> str:
        console = self.folder / "dev/console"
        console.write_text("")
        done = subprocess.run(
            [busybox(), "ash", SCRIPT, argument],
            env={"PATH": f"{self.folder}/bin", "GROWFS_ROOT": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert os.listdir(self.folder / "tmp") == []
        return console.read_text()


def test_the_slot_grows_to_the_card_by_one_sector_of_env(tmp_path: Path) -> None:
    board = Board(tmp_path)
    before = board.env.read_bytes()
    assert "from 6144 to 29635 MiB" in board.run()
    after = board.env.read_bytes()
    assert after[512:] == before[512:]
    variables = read_env(after)
    table = layout_of(variables, "env")
    assert variables == {**board.variables, "blkdevparts": str(table)}
    assert [(part.name, part.offset) for part in table] == [
        (part.name, part.offset) for part in board.table
    ]
    end = table["rootfs"].end
    assert end is not None
    assert CARD - (2 << 20) < end <= CARD
    assert after == env_image(variables)


def test_it_happens_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.run()
    grown = board.env.read_bytes()
    assert board.run() == ""  # the kernel still has the old string
    assert board.env.read_bytes() == grown
    board.table = layout_of(read_env(grown), "env")
    board.set_cmdline()  # the next start
    assert board.run() == ""
    assert board.env.read_bytes() == grown


@pytest.mark.parametrize(
    ("layout", "card", "more"),
    [
        (STOCK, 7282130944, ""),  # as large as the layout
        (STOCK, 4 << 30, ""),  # smaller: the kernel clips the partition
        (STOCK, 7282130944 + (63 << 20), ""),  # hardly larger
        (STOCK, CARD, "pico.grow=no"),
        (STOCK.replace("6G(rootfs)", "-(rootfs)"), CARD, ""),
        (STOCK.replace("6G(rootfs)", "6G@1G(rootfs)"), CARD, ""),
        (STOCK + ",1G(media)", CARD, ""),
        (STOCK.replace("32K(env),512K@32K", "64K(env),512K"), CARD, ""),
    ],
)
def test_the_card_stays_as_it_is(tmp_path: Path, layout: str, card: int, more: str) -> None:
    board = Board(tmp_path, layout, card, more)
    before = board.env.read_bytes()
    board.run()
    board.run("stop")
    assert board.env.read_bytes() == before


def test_a_damaged_env_is_left_alone(tmp_path: Path) -> None:
    board = Board(tmp_path)
    data = bytearray(board.env.read_bytes())
    data[20000] ^= 1
    board.env.write_bytes(data)
    assert "bad checksum" in board.run()
    assert board.env.read_bytes() == bytes(data)
    board.env.write_bytes(data[:30000])
    assert "cannot be read" in board.run()


def test_an_env_that_fills_more_than_a_sector_is_left_alone(tmp_path: Path) -> None:
    board = Board(tmp_path)
    variables = {"app": "x" * 600, **board.variables}
    board.env.write_bytes(env_image(variables))
    assert "beyond its first sector" in board.run()
    assert read_env(board.env.read_bytes()) == variables


def test_another_root_is_left_alone(tmp_path: Path) -> None:
    board = Board(tmp_path)
    cmdline = tmp_path / "proc/cmdline"
    cmdline.write_text(cmdline.read_text().replace("root=/dev/mmcblk1p7", "root=/dev/mmcblk1p5"))
    before = board.env.read_bytes()
    assert "not on mmcblk1p7" in board.run()
    assert board.env.read_bytes() == before


def test_what_ships_is_executable_and_clean() -> None:
    """The vendor's rsync keeps exec bits only where the file has one (facts, section 1)."""
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run([busybox(), "ash", "-n", SCRIPT], check=True)
