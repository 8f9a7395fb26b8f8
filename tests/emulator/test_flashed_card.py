"""The emulator boots from exactly the bytes that were flashed, on a card with a past."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pico_image.base.errors import CheckFailed
from pico_image.card.contents import inspect_image
from pico_image.card.flash import Options, flash
from pico_image.card.verify import verify
from pico_image.emulator.qemu import boot
from tests.support.card_images import loop
from tests.support.emulated import Kit

pytestmark = pytest.mark.qemu

CARD = 1 << 30


def test_a_flashed_card_boots_and_its_root_grows_to_the_card(
    kit: Kit, images: Path, tmp_path: Path
) -> None:
    image = images / "sdcard.img"
    assert verify(kit.console, images)
    card = tmp_path / "card"
    with card.open("wb") as stream:
        for _ in range(160):  # what was on it before must not matter
            stream.write(b"\xa5" * (1 << 20))
        stream.truncate(CARD)
    with loop(card) as device:
        flash(kit.console, image, device, Options(yes=True, allow=["not-removable"]))
    flash(kit.console, image, str(card), Options(verify_only=True))
    before = {part["name"]: part for part in inspect_image(card)["partitions"]}
    assert inspect_image(card)["problems"] == []

    with boot(kit.console, card) as machine:
        machine.wait_for_shell()
        assert "growfs: rootfs may grow from 512 to" in machine.transcript()
        status, text = machine.run("dmesg | grep -i 'ext4.*error'")
        assert (status, text) == (1, "")
        machine.poweroff()
    with pytest.raises(CheckFailed):  # env and the mounted file systems have changed since
        flash(kit.console, image, str(card), Options(verify_only=True))

    after = {part["name"]: part for part in inspect_image(card)["partitions"]}
    assert [part["offset"] for part in after.values()] == [p["offset"] for p in before.values()]
    grown = after["rootfs"]["slot"]
    assert CARD - (1 << 20) <= after["rootfs"]["offset"] + grown <= CARD
    with boot(kit.console, card) as machine:
        machine.wait_for_shell()
        assert "growfs:" not in machine.transcript()
        status, text = machine.run("cat /sys/class/block/mmcblk0p7/size")
        assert int(text) * 512 == grown
        machine.poweroff()
    root = next(p for p in inspect_image(card)["partitions"] if p["name"] == "rootfs")
    assert root["content"]["size"] > grown - (32 << 20)
    for part in inspect_image(card)["partitions"]:
        if part["content"]["kind"] == "ext4":
            region = f"{card}?offset={part['offset']}"
            done = subprocess.run(
                ["e2fsck", "-fn", region],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"},
            )
            assert done.returncode == 0, f"{part['name']}: {done.stdout}"
