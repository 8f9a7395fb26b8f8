"""The USB gadget is a network card without adb: S50usbdevice in busybox ash on a false configfs.

What a real device controller makes of it can only be seen on a board.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

OVERLAY = ROOT / "board/luckfox-pico/overlay"
SCRIPT = OVERLAY / "etc/init.d/S50usbdevice"
APPLETS = ("cat", "ln", "mkdir", "rm", "sed")
#: In place of the applets that would change this machine; what they were asked goes to a file.
STUB = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\n'


@dataclass(frozen=True)
class Board:
    folder: Path

    @property
    def gadget(self) -> Path:
        return self.folder / "config/usb_gadget/rockchip"

    def read(self, name: str) -> str:
        return (self.gadget / name).read_text().strip()

    def links(self) -> dict[str, str]:
        found = [path for path in self.gadget.rglob("*") if path.is_symlink()]
        return {path.name: os.readlink(path) for path in found}

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, verb: str = "start") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["busybox", "ash", str(SCRIPT), verb],
            env={
                "PATH": f"{self.folder}/bin:/nowhere",
                "CALLS": str(self.folder / "calls"),
                "CONFIGFS": str(self.folder / "config"),
                "UDC_CLASS": str(self.folder / "udc"),
                "CPUINFO": str(self.folder / "cpuinfo"),
            },
            executable=shutil.which("busybox"),
            capture_output=True,
            text=True,
            check=False,
        )

    def silent(self, verb: str = "start") -> None:
        done = self.run(verb)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def board(tmp_path: Path) -> Board:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    (tmp_path / "config/usb_gadget").mkdir(parents=True)
    (tmp_path / "udc/ffb00000.usb").mkdir(parents=True)
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nSerial\t\t: 89d1a2b3c4d5e6f7\n")
    (tmp_path / "bin").mkdir()
    for applet in APPLETS:
        (tmp_path / "bin" / applet).symlink_to(busybox)
    for name in ("mount", "ifconfig", "adbd", "start-stop-daemon"):
        (tmp_path / "bin" / name).write_text(STUB.replace("/bin/sh", f"{busybox} sh"))
        (tmp_path / "bin" / name).chmod(0o755)
    return Board(tmp_path)


def test_the_gadget_is_the_vendors_network_card_alone(board: Board) -> None:
    board.silent()
    assert [board.read(name) for name in ("idVendor", "idProduct")] == ["0x2207", "0x0019"]
    assert board.read("strings/0x409/serialnumber") == "89d1a2b3c4d5e6f7"
    function = board.gadget / "functions/rndis.gs0"
    assert board.links() == {"f1": str(function)} and function.is_dir()
    assert board.read("UDC") == "ffb00000.usb"
    # Neither adbd nor its file system: only the loopback interface was touched.
    assert set(board.calls()) <= {"ifconfig lo up"}
    assert [path.name for path in (board.gadget / "functions").iterdir()] == ["rndis.gs0"]


def test_start_twice_stop_twice_and_restart(board: Board) -> None:
    board.silent("stop")
    board.silent()
    board.silent()
    board.silent("stop")
    assert board.read("UDC") == "" and board.links() == {}
    board.silent("stop")
    board.silent("restart")
    board.silent("restart")
    assert board.read("UDC") == "ffb00000.usb" and set(board.links()) == {"f1"}


def test_adb_of_another_script_is_taken_out(board: Board) -> None:
    (board.gadget / "configs/b.1").mkdir(parents=True)
    (board.gadget / "functions/ffs.adb").mkdir(parents=True)
    (board.gadget / "configs/b.1/f2").symlink_to(board.gadget / "functions/ffs.adb")
    board.silent()
    assert set(board.links()) == {"f1"}


def test_without_a_controller_nothing_happens(board: Board) -> None:
    shutil.rmtree(board.folder / "udc")
    board.silent()
    (board.folder / "udc").mkdir()  # a USB port in host mode
    board.silent()
    assert not board.gadget.exists() and set(board.calls()) <= {"ifconfig lo up"}


def test_what_the_kernel_cannot_do_is_said_in_one_line(board: Board) -> None:
    shutil.rmtree(board.folder / "config/usb_gadget")
    done = board.run()  # the stub mounts nothing
    assert f"mount -t configfs none {board.folder}/config" in board.calls()
    shutil.rmtree(board.folder / "config")
    (board.folder / "bin/mount").unlink()
    done = board.run()
    assert done.returncode == 1
    assert done.stdout == f"S50usbdevice: no configfs in {board.folder}/config: no USB network\n"
    board.gadget.mkdir(parents=True)
    (board.gadget / "functions").write_text("")  # mkdir of rndis.gs0 fails
    done = board.run()
    assert done.returncode == 1
    assert done.stdout == "S50usbdevice: the kernel cannot make an RNDIS gadget: no USB network\n"
    (board.gadget / "functions").unlink()
    (board.gadget / "UDC").mkdir()
    done = board.run()
    assert done.returncode == 1 and "could not give the gadget to ffb00000.usb" in done.stdout


def test_a_bad_verb_is_refused(board: Board) -> None:
    done = board.run("dance")
    assert done.returncode == 2 and "usage:" in done.stderr


def test_adbd_itself_is_replaced_by_a_message() -> None:
    done = subprocess.run(
        [str(OVERLAY / "usr/bin/adbd")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr == "adbd: not in this image; use ssh\n"
