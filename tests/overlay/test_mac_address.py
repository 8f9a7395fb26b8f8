"""MAC addresses out of the CPU's serial number; with one of them Ethernet asks for its lease."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

OVERLAY = ROOT / "board/luckfox-pico/overlay"
SCRIPT = OVERLAY / "usr/sbin/mac-address"
APPLETS = ("cat", "grep", "sed", "sha256sum", "tr")
ROLES = ("eth0", "usb", "usb-host")
#: Two boards' numbers, as the kernel prints them (rockchip-cpuinfo.c: two CRC32 of the fuses).
SERIALS = ("8bdeb3dd1eb63bc8", "2f07b1b3a6a4a9c1")


def derived(serial: str, role: str) -> str:
    digest = hashlib.sha256(f"{serial} {role}".encode()).digest()
    return ":".join(["02", *(f"{byte:02x}" for byte in digest[:5])])


class Board:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        busybox = shutil.which("busybox")
        if busybox is None:
            pytest.skip("busybox is not installed")
        self.busybox = busybox
        for name in ("bin", "etc", "proc/device-tree"):
            (folder / name).mkdir(parents=True)
        for applet in APPLETS:
            (folder / "bin" / applet).symlink_to(busybox)
        self.cpu(SERIALS[0])
        self.arguments("")

    def cpu(self, serial: str | None) -> None:
        line = "" if serial is None else f"Serial\t\t: {serial}\n"
        (self.folder / "proc/cpuinfo").write_text(f"processor\t: 0\nHardware\t: Generic\n{line}")

    def arguments(self, words: str) -> None:
        (self.folder / "proc/cmdline").write_text(f"console=ttyFIQ0 rootwait {words}\n")

    def ask(self, role: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.busybox, "ash", str(SCRIPT), role],
            env={"PATH": f"{self.folder}/bin", "MAC_ROOT": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip(), done.stderr

    def address(self, role: str) -> str:
        status, address, said = self.ask(role)
        assert (status, said) == (0, "")
        return address


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_each_board_has_three_addresses_of_its_own_that_stay(board: Board) -> None:
    seen = []
    for serial in SERIALS:
        board.cpu(serial)
        for role in ROLES:
            address = board.address(role)
            assert address == board.address(role) == derived(serial, role)
            assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", address), "locally administered, unicast"
            seen.append(address)
    assert len(set(seen)) == len(ROLES) * len(SERIALS)


@pytest.mark.parametrize(
    "serial", [None, "", "0000000000000000", "0123456789ABCDEF", "0123456789abcdef"]
)
def test_without_a_serial_number_the_address_stays_as_it_is(
    board: Board, serial: str | None
) -> None:
    board.cpu(serial)
    status, address, said = board.ask("eth0")
    assert (status, address) == (1, "")
    assert "no serial number, so eth0 keeps the address" in said and "/etc/mac-addresses" in said


def test_the_device_trees_serial_number_is_the_second_choice(board: Board) -> None:
    tree = board.folder / "proc/device-tree/serial-number"
    tree.write_bytes(SERIALS[1].encode() + b"\0")
    assert board.address("usb") == derived(SERIALS[0], "usb")
    board.cpu("0000000000000000")
    assert board.address("usb") == derived(SERIALS[1], "usb")


def test_the_users_address_wins(board: Board) -> None:
    file = board.folder / "etc/mac-addresses"
    file.write_text("# mine\nusb 02:00:00:00:00:01\neth0 ac:de:48:00:11:22\n")
    assert board.address("eth0") == "ac:de:48:00:11:22"
    assert board.address("usb-host") == derived(SERIALS[0], "usb-host")
    board.arguments("pico.mac.eth0=AC:DE:48:00:11:33 pico.grow=no")
    assert board.address("eth0") == "AC:DE:48:00:11:33"
    assert board.address("usb") == "02:00:00:00:00:01"
    board.cpu(None)
    assert board.address("eth0") == "AC:DE:48:00:11:33"


@pytest.mark.parametrize(
    "wrong",
    ["03:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00", "02-00-00-00-00-01", "mine"],
)
def test_an_address_that_no_card_can_have_is_told_and_not_used(board: Board, wrong: str) -> None:
    board.arguments(f"pico.mac.eth0={wrong}")
    status, address, said = board.ask("eth0")
    assert (status, address) == (0, derived(SERIALS[0], "eth0"))
    assert f"the kernel argument pico.mac.eth0: {wrong} is not an address" in said
    assert said.count("\n") == 1


def test_a_bad_role_is_refused(board: Board) -> None:
    status, _, said = board.ask("wlan0")
    assert status == 2 and "usage:" in said


#: With a process table of its own: what a test that failed has started ends with it.
APART = ("unshare", "--net", "--mount-proc", "--pid", "--fork", "--kill-child")
#: Runs in a network namespace of its own; $1 is the overlay, $2 a folder. A DHCP server behind a
#: virtual cable gives one address to the board's MAC address and another to any other.
BOARD_AND_ROUTER = r"""
set -e
mount -t sysfs sysfs /sys
ip link add eth0 type veth peer name router0
unshare -n sh -c '>$1; exec sleep 300' sh $2/apart &
router=$!
until [ -e $2/apart ]; do sleep 0.1; done
ip link set router0 netns $router
nsenter -t $router -n ip addr add 192.0.2.1/24 dev router0
nsenter -t $router -n ip link set router0 up
>$2/leases
nsenter -t $router -n busybox udhcpd -f $2/udhcpd.conf >/dev/null 2>&1 &
server=$!
PATH=$2/bin:$1/usr/sbin:/usr/bin:/bin
export PATH
busybox ash $1/etc/init.d/S39ethernet start
cat /sys/class/net/eth0/address >$2/address
# As S40network does, whose ifup runs the same client.
ip link set dev eth0 up
busybox udhcpc -i eth0 -q -n -t 60 -T 1 -f -s $2/answer >$2/client 2>&1
busybox ash $1/etc/init.d/S39ethernet start
kill $server $router
"""
UDHCPD = """interface router0
start 192.0.2.50
end 192.0.2.60
lease_file {folder}/leases
pidfile {folder}/udhcpd.pid
static_lease {address} 192.0.2.7
"""


@pytest.mark.parametrize("loader", [False, True])
def test_ethernet_asks_for_its_lease_with_the_boards_address(
    board: Board, tmp_path: Path, loader: bool
) -> None:
    """Every start had another address and another lease (the vendor's issues 73 and 185)."""
    if os.geteuid() != 0:
        pytest.skip("needs root (network namespaces)")
    (tmp_path / "sys").symlink_to("/sys")
    if loader:
        node = tmp_path / "proc/device-tree/ethernet@ffa80000"
        (tmp_path / "proc/device-tree/aliases").mkdir()
        (tmp_path / "proc/device-tree/aliases/ethernet0").write_bytes(b"/ethernet@ffa80000\0")
        node.mkdir()
        (node / "local-mac-address").write_bytes(bytes(6))
    address = derived(SERIALS[0], "eth0")
    (tmp_path / "udhcpd.conf").write_text(UDHCPD.format(folder=tmp_path, address=address))
    (tmp_path / "bin/ip").symlink_to(board.busybox)
    answer = tmp_path / "answer"
    answer.write_text(f"#!/bin/sh\n[ $1 = bound ] || exit 0\necho $ip >{tmp_path}/lease\n")
    answer.chmod(0o755)
    done = subprocess.run(
        [
            *APART,
            *("sh", "-c", BOARD_AND_ROUTER, "sh"),
            *(str(OVERLAY), str(tmp_path)),
        ],
        env={**os.environ, "ETHERNET_ROOT": str(tmp_path), "MAC_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    used = (tmp_path / "address").read_text().strip()
    assert (used == address) is not loader
    assert ((tmp_path / "lease").read_text() == "192.0.2.7\n") is not loader


def test_a_board_without_ethernet_and_an_interface_in_use_are_left_alone(
    board: Board, tmp_path: Path
) -> None:
    """The Pico Mini has no Ethernet; a root file system on NFS came by it."""
    calls = tmp_path / "calls"
    for name in ("ip", "mac-address"):
        (tmp_path / "bin" / name).write_text(
            f'#!{board.busybox} sh\necho "{name} $*" >>{calls}\necho 02:00:00:00:00:01\n'
        )
        (tmp_path / "bin" / name).chmod(0o755)

    def start() -> str:
        calls.write_text("")
        done = subprocess.run(
            [board.busybox, "ash", str(OVERLAY / "etc/init.d/S39ethernet"), "start"],
            env={"PATH": f"{tmp_path}/bin", "ETHERNET_ROOT": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return calls.read_text()

    assert start() == ""
    interface = tmp_path / "sys/class/net/eth0"
    interface.mkdir(parents=True)
    (interface / "flags").write_text("0x1003\n")
    assert start() == ""
    (interface / "flags").write_text("0x1002\n")
    assert start() == "mac-address eth0\nip link set dev eth0 address 02:00:00:00:00:01\n"
