"""The USB network's DHCP server, with busybox on both ends of a cable of two virtual interfaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

SCRIPT = ROOT / "board/luckfox-pico/overlay/etc/init.d/S91usbdhcp"
#: With a process table of its own: what a test that failed has started ends with it.
APART = ("unshare", "--net", "--mount-proc", "--pid", "--fork", "--kill-child")
#: Runs in a network namespace of its own; $1 is the script, $2 a folder for the client's answer, $3
#: the interface that the PC took. The other has no cable, as the function of the configuration that
#: the PC did not choose.
BOARD_AND_PC = r"""
set -e
mount -t sysfs sysfs /sys  # shows the interfaces of this namespace only
ip link set lo up
for end in 0 1; do ip link add usb$end type veth peer name pc$end; done
unshare -n sh -c '>$1; exec sleep 300' sh $2/apart &
pc=$!
until [ -e $2/apart ]; do sleep 0.1; done
for end in 0 1; do ip link set pc$end netns $pc; done
cable=pc${3#usb}
nsenter -t $pc -n ip link set $cable up
mkdir -p $2/bin
busybox=$(command -v busybox)
for applet in udhcpd ifconfig grep cat rm; do ln -sf $busybox $2/bin/$applet; done
export PATH=$2/bin:$PATH
RUN=$2 busybox ash $1 start
for end in 0 1; do ip -4 -o addr show usb$end >$2/board$end; done
servers=$(cat $2/udhcpd.usb?.pid)
printf '#!/bin/sh\nenv >>%s/env\n' $2 >$2/answer
chmod +x $2/answer
nsenter -t $pc -n busybox udhcpc -i $cable -q -n -t 60 -T 1 -f -s $2/answer >$2/client 2>&1
nsenter -t $pc -n ip addr add 172.32.0.100/16 dev $cable
nsenter -t $pc -n busybox ping -c 1 -w 60 172.32.0.93 >$2/ping
# As from the SDK's busybox, whose udhcpd writes no PID file (FEATURE_PIDFILE is off).
test "$servers" = "$(cat $2/udhcpd.usb?.pid)"
RUN=$2 busybox ash $1 stop
# Waits for their end; the test's own limit tells when there is none.
for server in $servers; do while [ -e /proc/$server ]; do sleep 0.1; done; done
test -z "$(ls $2/udhcpd.*.pid 2>/dev/null)"
kill $pc
"""


@pytest.fixture(params=["usb0", "usb1"])
def answer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What the PC was told on the interface that it took."""
    if os.geteuid() != 0 or shutil.which("busybox") is None:
        pytest.skip("needs root (network namespaces) and busybox")
    done = subprocess.run(
        [
            *APART,
            *("sh", "-c", BOARD_AND_PC, "sh"),
            *(str(SCRIPT), str(tmp_path), request.param),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    env = (tmp_path / "env").read_text() if (tmp_path / "env").exists() else ""
    pairs = dict(line.split("=", 1) for line in env.splitlines() if "=" in line)
    yield {**pairs, **{name: (tmp_path / name).read_text() for name in ("board0", "board1")}}


def test_a_pc_gets_an_address_and_nothing_else(answer: dict[str, str]) -> None:
    assert "172.32.0.93/16" in answer["board0"] and "172.32.0.93/16" in answer["board1"]
    assert answer["ip"].startswith("172.32.0.1")
    assert answer["subnet"] == "255.255.0.0"
    assert answer["serverid"] == "172.32.0.93"
    assert "router" not in answer, "the PC must keep its way to the internet"
    assert "dns" not in answer


def test_without_usb_network_nothing_happens(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        ["busybox", "ash", str(SCRIPT), "start"],
        capture_output=True,
        text=True,
        env={**os.environ, "INTERFACES": "usb-none"},
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began < 5
