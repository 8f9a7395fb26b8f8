"""The avahi daemon of a root file system under user-mode QEMU, asked for a name over a cable.

``ask`` makes two network namespaces with a cable of two virtual interfaces: the board's, with the
target's /etc and /run in place, where avahi is started the way its init script does it, and a PC's,
where mdns_question.py asks. Needs root.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import arm

BOARD = "172.32.0.93"
#: $1 root file system, $2 qemu-arm, $3 a folder for what is said, $4 python, $5 mdns_question.py.
BOARD_AND_PC = r"""
set -e
mount -t sysfs sysfs /sys  # shows the interfaces of this namespace only
ip link set lo up
ip link add usb0 type veth peer name pc0
unshare -n sleep 600 &
pc=$!
until [ "$(readlink /proc/$pc/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set pc0 netns $pc
nsenter -t $pc -n ip addr add 172.32.0.100/16 dev pc0
nsenter -t $pc -n ip link set pc0 up
nsenter -t $pc -n ip route add 224.0.0.0/4 dev pc0
ip addr add 172.32.0.93/16 dev usb0
ip link set usb0 up
hostname "$(cat $1/etc/hostname)"
mount --bind $1/etc /etc
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus
daemon="$2 -cpu cortex-a7 -L $1 $1/usr/sbin/avahi-daemon"
! $daemon -c || exit 9
$daemon -D >$3/start 2>&1
$daemon -c
ps -o user= -p $(cat /run/avahi-daemon/pid) >$3/user
nsenter -t $pc -n $4 $5 "$(hostname).local" >$3/answer 2>&1 || true
$daemon -k
kill $pc
"""


def ask(rootfs: Path, folder: Path) -> dict[str, str]:
    """What the PC heard (``answer``), as whom the daemon ran (``user``), what it said."""
    qemu = arm.qemu()
    assert qemu is not None
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "sh", "-c", BOARD_AND_PC, "sh", str(rootfs), qemu,
         str(folder), sys.executable, str(Path(__file__).with_name("mdns_question.py"))],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return {name: (folder / name).read_text().strip() for name in ("answer", "user", "start")}
