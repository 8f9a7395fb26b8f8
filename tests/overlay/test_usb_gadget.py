"""The USB gadget is a network card without adb: S50usbdevice in busybox ash on a false configfs.

Only what a real device controller and real PCs make of it is left to a board.
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
APPLETS = ("cat", "rm", "sed")
#: In place of the applets that would change this machine; what they were asked goes to a file.
STUB = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\n'
#: As configfs: a function that the kernel does not have cannot be made; one that it has comes with
#: its attributes (Documentation/ABI/testing/configfs-usb-gadget and configfs-usb-gadget-rndis).
MKDIR = """#!/bin/sh
for path; do
    case $path in
        -p) continue ;;
        */functions/*)
            name=${path##*/}
            case " $KERNEL_HAS " in *" ${name%%.*} "*) ;; *) exit 1 ;; esac
            ;;
    esac
    busybox mkdir -p "$path" 2>/dev/null || exit 1
    case $path in
        */functions/rndis.*) busybox mkdir -p "$path/os_desc/interface.rndis" ;;
        */rockchip/strings/*) busybox mkdir -p "${path%/strings/*}/os_desc" ;;
    esac
done
"""
#: A configuration goes with its default groups.
RMDIR = "#!/bin/sh\nfor path; do busybox rm -rf $path; done\n"
#: The kernel takes no address once a function is linked: EBUSY.
LN = """#!/bin/sh
case $2 in
    */functions/*) busybox cat "$2/dev_addr" "$2/host_addr" >"$2/addresses" 2>/dev/null ;;
esac
busybox ln "$@"
"""
MAC_ADDRESS = """#!/bin/sh
case $1 in
    usb) echo 02:00:00:00:00:0b ;;
    usb-host) echo 02:00:00:00:00:0c ;;
esac
"""


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
        top = f"{self.gadget}/"
        return {str(path).removeprefix(top): os.readlink(path).removeprefix(top) for path in found}

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(
        self, verb: str = "start", kernel: str = "rndis ecm ncm"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["busybox", "ash", str(SCRIPT), verb],
            env={
                "PATH": f"{self.folder}/bin:/nowhere",
                "CALLS": str(self.folder / "calls"),
                "KERNEL_HAS": kernel,
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
    stubs = dict.fromkeys(("mount", "ifconfig", "adbd", "start-stop-daemon"), STUB)
    stubs |= {"mkdir": MKDIR, "rmdir": RMDIR, "ln": LN, "mac-address": MAC_ADDRESS}
    for name, text in stubs.items():
        text = text.replace("busybox ", f"{busybox} ").replace("/bin/sh", f"{busybox} sh")
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return Board(tmp_path)


RNDIS = {"configs/b.1/f1": "functions/rndis.gs0", "os_desc/b.1": "configs/b.1"}
BOTH = {**RNDIS, "configs/b.2/f1": "functions/ecm.gs0"}


def test_the_gadget_is_a_network_card_for_every_system_and_nothing_else(board: Board) -> None:
    board.silent()
    assert [board.read(name) for name in ("idVendor", "idProduct")] == ["0x2207", "0x0019"]
    assert board.read("strings/0x409/serialnumber") == "89d1a2b3c4d5e6f7"
    # Windows takes the first configuration; macOS and Linux take CDC.
    assert board.links() == BOTH
    assert [board.read(f"configs/b.{n}/strings/0x409/configuration") for n in (1, 2)] == [
        "rndis",
        "cdc",
    ]
    assert board.read("UDC") == "ffb00000.usb"
    # Neither adbd nor its file system: only the loopback interface was touched.
    assert set(board.calls()) <= {"ifconfig lo up"}
    made = {path.name for path in (board.gadget / "functions").iterdir()}
    assert made == {"rndis.gs0", "ecm.gs0"}


def test_microsofts_descriptors_name_the_driver(board: Board) -> None:
    """Without them Windows asks for an .inf file; it remembers the vendor's release as without."""
    board.silent()
    assert board.read("os_desc/use") == "1" and board.read("os_desc/qw_sign") == "MSFT100"
    assert int(board.read("os_desc/b_vendor_code"), 16) in range(1, 256)
    interface = "functions/rndis.gs0/os_desc/interface.rndis"
    assert board.read(f"{interface}/compatible_id") == "RNDIS"
    assert board.read(f"{interface}/sub_compatible_id") == "5162001"
    assert board.read("bcdDevice") != "0x0310"


def test_both_functions_have_the_boards_addresses_before_they_are_linked(board: Board) -> None:
    board.silent()
    for name in ("rndis.gs0", "ecm.gs0"):
        addresses = board.read(f"functions/{name}/addresses").split()
        assert addresses == ["02:00:00:00:00:0b", "02:00:00:00:00:0c"]


def test_without_a_serial_number_the_kernel_makes_the_addresses(board: Board) -> None:
    (board.folder / "bin/mac-address").write_text(f"#!{shutil.which('busybox')} sh\nexit 1\n")
    board.silent()
    assert not (board.gadget / "functions/ecm.gs0/dev_addr").exists()
    assert board.links() == BOTH


@pytest.mark.parametrize(("kernel", "cdc"), [("rndis ncm", "ncm.gs0"), ("rndis", None)])
def test_what_the_kernel_has_is_used(board: Board, kernel: str, cdc: str | None) -> None:
    """The vendor's own kernel has RNDIS alone; the fragment kernel.config adds the others."""
    done = board.run(kernel=kernel)
    assert (done.returncode, done.stderr) == (0, "")
    if cdc is None:
        assert "neither ECM nor NCM" in done.stdout and "macOS" in done.stdout
        assert board.links() == RNDIS
        assert not (board.gadget / "configs/b.2").exists(), "an empty one cannot be bound"
    else:
        assert done.stdout == ""
        assert board.links() == {**RNDIS, "configs/b.2/f1": f"functions/{cdc}"}
    assert board.read("UDC") == "ffb00000.usb"


def test_start_twice_stop_twice_and_restart(board: Board) -> None:
    board.silent("stop")
    board.silent()
    board.silent()
    board.silent("stop")
    assert board.read("UDC") == "" and board.links() == {}
    board.silent("stop")
    board.silent("restart")
    board.silent("restart")
    assert board.read("UDC") == "ffb00000.usb" and board.links() == BOTH


def test_adb_of_another_script_is_taken_out(board: Board) -> None:
    (board.gadget / "configs/b.1").mkdir(parents=True)
    (board.gadget / "functions/ffs.adb").mkdir(parents=True)
    (board.gadget / "configs/b.1/f2").symlink_to(board.gadget / "functions/ffs.adb")
    board.silent()
    assert board.links() == BOTH


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
    done = board.run(kernel="ecm")
    assert done.returncode == 1
    assert done.stdout == "S50usbdevice: the kernel cannot make an RNDIS gadget: no USB network\n"
    (board.gadget / "UDC").mkdir()
    done = board.run()
    assert done.returncode == 1 and "could not give the gadget to ffb00000.usb" in done.stdout


def test_a_bad_verb_is_refused(board: Board) -> None:
    done = board.run("dance")
    assert done.returncode == 2 and "usage:" in done.stderr
