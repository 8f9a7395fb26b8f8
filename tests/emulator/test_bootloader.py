"""The boot loader's work on a small card: what it hands to the kernel, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import fit
from pico_image.card.compose import compose
from pico_image.emulator.bootloader import load, read_partition_file
from tests.support import card_images

KERNEL = b"kernel" * 1000


@pytest.fixture
def image(tmp_path: Path) -> Path:
    card_images.tool("mkimage", "u-boot-tools")
    parts, table = card_images.make_parts(tmp_path / "parts")
    (tmp_path / "zImage").write_bytes(KERNEL)
    (tmp_path / "initramfs").write_bytes(b"files")
    files = fit.BootFiles(tmp_path / "zImage", tmp_path / "initramfs", "test", "test")
    fit.make(Console(), files, parts["boot"], epoch=1)
    return compose(Console(), parts, table, tmp_path / "sdcard.img").image


def test_kernel_initramfs_and_arguments_come_from_the_card(image: Path, tmp_path: Path) -> None:
    loaded = load(Console(), image, tmp_path)
    assert loaded.kernel.read_bytes() == KERNEL
    assert loaded.ramdisk.read_bytes() == b"files"
    words = loaded.command_line.split()
    assert f"blkdevparts={card_images.LAYOUT}" in words
    assert "root=/dev/mmcblk0p7" in words
    assert read_partition_file(image, "rootfs", "/etc/hostname") == b"pico\n"
    with pytest.raises(UserError, match="no file /etc/none"):
        read_partition_file(image, "rootfs", "/etc/none")


def test_a_damaged_card_is_named(image: Path, tmp_path: Path) -> None:
    good = image.read_bytes()
    at = good.index(KERNEL)
    boot = 819200  # the first byte of the partition

    def refuse(data: bytes, words: str) -> None:
        image.write_bytes(data)
        with pytest.raises(UserError, match=words) as caught:
            load(Console(), image, tmp_path)
        assert str(image) in caught.value.message

    refuse(good[:at] + b"K" + good[at + 1 :], "kernel .* does not have the hash")
    refuse(good[: at + 100], "cut short")
    refuse(good[:boot] + b"ANDROID!" + good[boot + 8 :], "no FIT boot image")
    refuse(good[: boot - 1], "cut short")
    refuse(b"?" + good[1:], "CRC is wrong")
