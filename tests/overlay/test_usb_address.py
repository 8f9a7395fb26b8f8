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
#: Runs in a network namespace of its own; $1 is the script, $2 a folder for the client's answer.
BOARD_AND_PC = r"""
set -e
mount -t sysfs sysfs /sys  # shows the interfaces of this namespace only
ip link set lo up
ip link add usb0 type veth peer name pc0
unshare -n sh -c '>$1; exec sleep 300' sh $2/apart &
pc=$!
until [ -e $2/apart ]; do sleep 0.1; done
ip link set pc0 netns $pc
nsenter -t $pc -n ip link set pc0 up
mkdir -p $2/bin
busybox=$(command -v busybox)
for applet in udhcpd ifconfig grep cat rm; do ln -sf $busybox $2/bin/$applet; done
export PATH=$2/bin:$PATH
sed "s|/run/|$2/|g" $1 >$2/script
busybox ash $2/script start
ip -4 -o addr show usb0 >$2/board
printf '#!/bin/sh\nenv >>%s/env\n' $2 >$2/answer
chmod +x $2/answer
nsenter -t $pc -n busybox udhcpc -i pc0 -q -n -t 60 -T 1 -f -s $2/answer >$2/client 2>&1 || true
busybox ash $2/script stop
# Waits for its end; the test's own limit tells when there is none.
while busybox pgrep -f "udhcpd $2" >/dev/null; do sleep 0.1; done
kill $pc
"""


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the PC was told."""
    if os.geteuid() != 0 or shutil.which("busybox") is None:
        pytest.skip("needs root (network namespaces) and busybox")
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", BOARD_AND_PC, "sh", str(SCRIPT), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    env = (tmp_path / "env").read_text() if (tmp_path / "env").exists() else ""
    pairs = dict(line.split("=", 1) for line in env.splitlines() if "=" in line)
    yield {**pairs, "board": (tmp_path / "board").read_text()}


def test_a_pc_gets_an_address_and_nothing_else(answer: dict[str, str]) -> None:
    assert "172.32.0.93/16" in answer["board"]
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
        env={**os.environ, "INTERFACE": "usb-none"},
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - began < 5
