"""S20linkmount in busybox ash: what holds a partition goes first; the console says what happened.

The programs that touch devices are stand-ins that note their arguments. tests/emulator/test_boot.py
runs the script on real partitions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

SCRIPT = ROOT / "board/luckfox-pico/overlay/etc/init.d/S20linkmount"
APPLETS = ("cat", "head", "ln", "mkdir", "printf", "rm", "sed", "sleep", "tail", "timeout", "tr")
CMDLINE = "rootwait blkdevparts=mmcblk1:32K(env),32M(boot),512M(oem),256M(userdata),6G(rootfs)\n"
OEM, USERDATA, ROOTFS = "179:3", "179:4", "179:5"
#: What udev of the vendor's system leaves: all on one folder, the root file system as well.
BY_UDEV = (f"{OEM} /mnt/sdcard", f"{USERDATA} /mnt/sdcard", f"{ROOTFS} /mnt/sdcard")

NOTE = 'echo "${0##*/} $*" >>"$LINKMOUNT_ROOT/calls"\n'
#: Ends with the next number of a list; without one with 0.
E2FSCK = (
    NOTE
    + """read -r status <"$LINKMOUNT_ROOT/status" || status=0
sed -i 1d "$LINKMOUNT_ROOT/status"
[ "$status" = hang ] && exec sleep 600
exit "$status"
"""
)
#: As umount2(2): takes the topmost mount of a folder from the kernel's table, or finds it busy.
UMOUNT = """import os, sys
root, folder = os.environ["LINKMOUNT_ROOT"], sys.argv[1]
open(f"{root}/calls", "a").write(f"umount {folder}\\n")
if folder in open(f"{root}/busy").read().splitlines():
    sys.exit(1)
lines = open(f"{root}/proc/self/mountinfo").read().splitlines()
for number in reversed(range(len(lines))):
    if lines[number].split()[4].replace("\\\\040", " ") == folder:
        del lines[number]
        open(f"{root}/proc/self/mountinfo", "w").write("".join(f"{line}\\n" for line in lines))
        sys.exit(0)
sys.exit(1)
"""


class Board:
    """A root folder with what the kernel shows, and stand-ins for programs."""

    def __init__(self, folder: Path, busybox: str) -> None:
        self.folder = folder
        self.busybox = busybox
        for sub in ("bin", "dev", "proc/self", "tmp"):
            (folder / sub).mkdir(parents=True)
        for number in (1, 2, 3, 4, 5):
            partition = folder / f"sys/class/block/mmcblk1p{number}"
            partition.mkdir(parents=True)
            (partition / "dev").write_text(f"179:{number}\n")
        (folder / "proc/cmdline").write_text(CMDLINE)
        for applet in APPLETS:
            (folder / "bin" / applet).symlink_to(busybox)
        for name, text in (("mount", NOTE), ("resize2fs", NOTE), ("e2fsck", E2FSCK)):
            self.program(name, f"#!{busybox} sh\n{text}")
        self.program("umount", f"#!{sys.executable}\n{UMOUNT}")
        for name in ("busy", "status"):
            (folder / name).write_text("")
        self.mounted()

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def mounted(self, *mounts: str) -> None:
        """Each is "DEVICE FOLDER", in the order in which they were mounted."""
        lines = [f"1 0 {ROOTFS} / / rw,noatime - ext4 /dev/root rw\n"]
        for mount in mounts:
            device, folder = mount.split(" ")
            lines.append(f"2 1 {device} / {folder} rw - ext4 /dev/block/some/alias rw\n")
        (self.folder / "proc/self/mountinfo").write_text("".join(lines))

    def start(self, *statuses: int | str, busy: str = "", limit: int = 120) -> str:
        """Run it; ``statuses`` are e2fsck's, one a call. The text on the console."""
        (self.folder / "status").write_text("".join(f"{status}\n" for status in statuses))
        (self.folder / "busy").write_text(busy)
        (self.folder / "calls").write_text("")
        console = self.folder / "dev/console"
        console.write_text("")
        done = subprocess.run(
            [self.busybox, "ash", str(SCRIPT), "start"],
            env={
                "PATH": f"{self.folder}/bin",
                "LINKMOUNT_ROOT": str(self.folder),
                "LINKMOUNT_LIMIT": str(limit),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return console.read_text()

    def calls(self, program: str) -> list[str]:
        lines = (self.folder / "calls").read_text().replace(str(self.folder), "").splitlines()
        return [line for line in lines if line.split()[0] == program]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    return Board(tmp_path, busybox)


CHECKED = ["e2fsck -p /dev/mmcblk1p3", "e2fsck -p /dev/mmcblk1p4"]
MOUNTED = [
    "mount -t ext4 -o noatime,nosuid,nodev /dev/mmcblk1p3 /oem",
    "mount -t ext4 -o noatime,nosuid,nodev /dev/mmcblk1p4 /userdata",
]


def test_a_sound_card_is_checked_mounted_and_grown_without_a_word(board: Board) -> None:
    assert board.start() == ""
    assert board.calls("e2fsck") == CHECKED
    assert board.calls("mount") == MOUNTED
    grown = [f"resize2fs /dev/mmcblk1p{number}" for number in (3, 4, 5)]
    assert board.calls("resize2fs") == grown
    assert board.calls("umount") == []
    assert str((board.folder / "dev/block/by-name/oem").readlink()) == "/dev/mmcblk1p3"


@pytest.mark.parametrize("mounts", [BY_UDEV, (f"{OEM} /a\\040b", f"{OEM} /oem")])
def test_whatever_holds_a_partition_is_unmounted_before_it_is_checked(
    board: Board, mounts: tuple[str, ...]
) -> None:
    """e2fsck of a mounted file system ended with 8, and the console told of a repair."""
    board.mounted(*mounts)
    assert board.start() == ""
    left = (board.folder / "proc/self/mountinfo").read_text()
    assert f" {OEM} " not in left and f" {USERDATA} " not in left
    assert f"1 0 {ROOTFS} / / " in left, "the root file system itself stays"
    assert board.calls("e2fsck") == CHECKED


def test_what_cannot_be_unmounted_is_not_checked_and_the_console_says_so(board: Board) -> None:
    board.mounted(f"{USERDATA} /mnt/sdcard")
    said = board.start(busy="/mnt/sdcard\n")
    assert said == "mounts: userdata is in use on /mnt/sdcard, so it is not checked\n"
    assert board.calls("e2fsck") == CHECKED[:1]
    assert board.calls("mount") == MOUNTED, "results need their place all the same"


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([1], []),
        (
            [4, 1],
            ["oem is not clean (e2fsck -p: 4, errors are left); trying e2fsck -y", "oem repaired"],
        ),
        (
            [8, 0],
            [
                "oem is not clean (e2fsck -p: 8, it could not work); trying e2fsck -y",
                "oem repaired",
            ],
        ),
        ([3], ["e2fsck asks for a restart after the repair of oem"]),
    ],
)
def test_what_e2fsck_repaired_is_mounted_for_writing(
    board: Board, statuses: list[int], said: list[str]
) -> None:
    assert board.start(*statuses) == "".join(f"mounts: {line}\n" for line in said)
    assert board.calls("mount") == MOUNTED


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([4, 4], "e2fsck -y: 4, errors are left"),
        ([4, 12], "e2fsck -y: 12, errors are left"),
        ([8, 8], "e2fsck -y: 8, it could not work"),
    ],
)
def test_what_stays_damaged_is_not_written_to(
    board: Board, statuses: list[int], reason: str
) -> None:
    said = board.start(*statuses)
    assert (
        f"mounts: oem could not be repaired ({reason})\nmounts: oem is mounted read-only\n" in said
    )
    assert "oem repaired" not in said
    assert board.calls("mount")[0] == MOUNTED[0].replace("nodev", "nodev,ro")
    assert "resize2fs /dev/mmcblk1p3" not in board.calls("resize2fs")
    said = board.start(0, *statuses)
    assert f"mounts: userdata could not be repaired ({reason})\n" in said
    assert "userdata is in memory for now" in said
    assert board.calls("mount")[1] == "mount -t tmpfs -o nosuid,nodev,size=2m tmpfs /userdata"


@pytest.mark.parametrize("status", [32, 36])
def test_a_check_that_was_stopped_is_told(board: Board, status: int) -> None:
    """e2fsck answers SIGTERM with 32, beside what it has found so far."""
    assert board.start(status) == (
        f"mounts: oem is not checked: e2fsck -p did not end within 120 s (status {status})\n"
        "mounts: oem is mounted read-only\n"
    )
    assert board.calls("e2fsck") == CHECKED


def test_a_check_that_hangs_does_not_hold_up_the_boot(board: Board) -> None:
    said = board.start("hang", "hang", limit=1)
    for name in ("oem", "userdata"):
        assert re.search(
            rf"mounts: {name} is not checked: e2fsck -p did not end within 1 s \(status 1\d\d\)\n",
            said,
        )
    assert "userdata is in memory for now" in said
    assert board.calls("e2fsck") == CHECKED


def test_an_image_without_e2fsck_mounts_unchecked_and_says_so(board: Board) -> None:
    (board.folder / "bin/e2fsck").unlink()
    assert board.start() == (
        "mounts: oem is not checked: no e2fsck on this image\n"
        "mounts: userdata is not checked: no e2fsck on this image\n"
    )
    assert board.calls("mount") == MOUNTED
