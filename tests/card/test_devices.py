"""What counts as a card, from what lsblk and diskutil say. The texts are cut from real output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import UserError
from pico_image.card.devices import (
    Device,
    candidates,
    find_device,
    list_devices,
    parse_diskutil,
    parse_lsblk,
)


def row(name: str, **values: Any) -> dict[str, Any]:
    base = {"name": name, "path": f"/dev/{name}", "type": "disk", "size": 31914983424, "rm": False}
    return {**base, "ro": False, "tran": None, "vendor": None, "model": None, **values}


LSBLK = json.dumps(
    {
        "blockdevices": [
            row(
                "nvme0n1",
                size=512110190592,
                tran="nvme",
                model="SAMSUNG MZVLB512",
                children=[
                    row("nvme0n1p1", type="part", mountpoints=["/boot/efi"]),
                    row(
                        "nvme0n1p2",
                        type="part",
                        mountpoints=[None],
                        children=[row("vg-root", type="lvm", mountpoints=["/", "/snap"])],
                    ),
                ],
            ),
            row("sda", rm=True, tran="usb", vendor="Generic ", model="STORAGE DEVICE"),
            row(
                "sdb",
                rm=True,
                tran="usb",
                model="Ultra",
                children=[row("sdb1", type="part", mountpoints=["/media/me/STICK"])],
            ),
            row("sdc", tran="usb", model="Portable SSD", size=2000398934016),
            row("sdd", rm=True, size=0, tran="usb", model="empty reader"),
            row("sde", rm=True, ro=True, tran="usb", model="locked"),
            row("sdf", tran="sata", children=[row("md0", type="raid1", mountpoints=[None])]),
            row("mmcblk0", model=None),
            row("mmcblk0boot0", ro=True),
            row("mmcblk2"),
            row("zram0", mountpoints=["[SWAP]"]),
            row("loop3", type="loop"),
            row("sr0", type="rom"),
        ]
    }
)


@pytest.fixture
def disks() -> dict[str, Device]:
    kinds = {"mmcblk0": "SD", "mmcblk2": "MMC"}
    devices = parse_lsblk(LSBLK, lambda name: kinds.get(name, ""))
    return {device.path.name: device for device in devices}


def test_only_whole_disks_and_loops_are_listed(disks: dict[str, Device]) -> None:
    assert list(disks) == [
        "nvme0n1", "sda", "sdb", "sdc", "sdd", "sde", "sdf", "mmcblk0", "mmcblk2", "loop3"
    ]  # fmt: skip


def test_candidates_are_removable_and_hold_a_medium(disks: dict[str, Device]) -> None:
    names = [device.path.name for device in candidates(list(disks.values()))]
    assert names == ["sda", "sdb", "sde", "mmcblk0"]


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("sda", []),
        ("mmcblk0", []),
        ("nvme0n1", ["system", "not-removable"]),
        ("sdb", ["mounted"]),
        ("sdc", ["not-removable"]),
        ("sdd", ["too-small"]),
        ("sde", ["read-only"]),
        ("sdf", ["mounted", "not-removable"]),
        ("mmcblk2", ["not-removable"]),
        ("loop3", ["not-removable"]),
    ],
)
def test_what_speaks_against_a_disk(
    disks: dict[str, Device], name: str, reasons: list[str]
) -> None:
    assert list(disks[name].objections(1 << 20)) == reasons


def test_a_card_one_byte_short_is_too_small(disks: dict[str, Device]) -> None:
    size = disks["sda"].size
    assert disks["sda"].objections(size) == {}
    assert "too-small" in disks["sda"].objections(size + 1)


def test_a_disk_is_shown_with_model_and_size(disks: dict[str, Device]) -> None:
    assert str(disks["sda"]) == "/dev/sda (Generic STORAGE DEVICE usb, 31.91 GB)"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"blockdevices": 3}'])
def test_nonsense_of_lsblk_is_refused(text: str) -> None:
    if text == '{"blockdevices": 3}':
        with pytest.raises(TypeError):
            parse_lsblk(text, str)
        return
    with pytest.raises(UserError, match="lsblk"):
        parse_lsblk(text, str)


def test_a_mac_is_understood() -> None:
    listing = {
        "AllDisksAndPartitions": [
            {"DeviceIdentifier": "disk0", "Partitions": [{"DeviceIdentifier": "disk0s1"}]},
            {
                "DeviceIdentifier": "disk4",
                "Partitions": [{"DeviceIdentifier": "disk4s1", "MountPoint": "/Volumes/BOOT"}],
            },
        ],
        "WholeDisks": ["disk0", "disk4"],
    }
    inner = {
        "DeviceIdentifier": "disk0",
        "Size": 500277790720,
        "RemovableMedia": False,
        "WritableMedia": True,
        "BusProtocol": "Apple Fabric",
        "MediaName": "APPLE SSD",
        "VirtualOrPhysical": "Physical",
    }
    card = {
        "DeviceIdentifier": "disk4",
        "TotalSize": 31914983424,
        "RemovableMedia": True,
        "WritableMedia": False,
        "BusProtocol": "USB",
        "MediaName": "STORAGE DEVICE",
        "VirtualOrPhysical": "Physical",
    }
    assert list(parse_diskutil(inner, listing).objections(1)) == ["not-removable"]
    device = parse_diskutil(card, listing)
    assert device.mounts == ("/Volumes/BOOT",)
    assert list(device.objections(1)) == ["mounted", "read-only"]


def test_the_disk_of_this_machine_is_seen_as_its_system() -> None:
    root = Path("/").stat().st_dev
    if not Path(f"/sys/dev/block/{os.major(root)}:{os.minor(root)}").exists():
        pytest.xfail("the root file system of this machine is on no block device")
    system = [device for device in list_devices() if device.system]
    assert system
    assert not candidates(system)


@pytest.mark.parametrize("name", ["/dev/null", "/dev", "/dev/does-not-exist"])
def test_what_is_no_disk_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no disk|no device"):
        find_device(name)


def test_other_systems_get_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UserError) as caught:
        list_devices()
    assert "Etcher" in str(caught.value)
    assert "SocToolKit" in str(caught.value)
