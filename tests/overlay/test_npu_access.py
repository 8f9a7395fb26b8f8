"""S21appinit: the driver is loaded and its device opened to the group npu, which pico is in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

BOARD = ROOT / "board/luckfox-pico"
#: Where an image of ours has it.
MODULE = f"/lib/modules/{os.uname().release}/rknpu.ko"
#: insmod of a module that works: the kernel's devtmpfs makes the node, for root alone.
INSMOD = """echo "insmod $1" >>"$APPINIT_ROOT/calls"
mkdir -p "$APPINIT_ROOT/proc/rknpu"
echo 'RKNPU driver: v0.9.2' >"$APPINIT_ROOT/proc/rknpu/version"
: >"$APPINIT_ROOT/dev/rknpu"
chmod 0600 "$APPINIT_ROOT/dev/rknpu"
"""


def start(root: Path, insmod: str = INSMOD, chgrp: str | None = None) -> str:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    (root / "bin").mkdir(exist_ok=True)
    (root / "dev").mkdir(exist_ok=True)
    for applet in ("cat", "chmod", "mkdir", "uname"):
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to(busybox)
    # A real chgrp needs root and the group; what it was asked is what counts.
    stubs = {"insmod": insmod, "chgrp": chgrp or 'echo "chgrp $*" >>"$APPINIT_ROOT/calls"\n'}
    for name, text in stubs.items():
        (root / "bin" / name).write_text(f"#!{busybox} sh\n{text}")
        (root / "bin" / name).chmod(0o755)
    done = subprocess.run(
        [busybox, "ash", str(BOARD / "overlay/etc/init.d/S21appinit"), "start"],
        env={"PATH": f"{root}/bin", "APPINIT_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / MODULE.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text("")
    return path


def test_the_group_npu_may_use_a_driver_that_is_loaded(tmp_path: Path, module: Path) -> None:
    """An ordinary account could not open /dev/rknpu: the kernel gives it to root alone."""
    assert start(tmp_path) == f"npu: {MODULE} loaded, RKNPU driver: v0.9.2\n"
    device = tmp_path / "dev/rknpu"
    calls = (tmp_path / "calls").read_text().replace(str(tmp_path), "").splitlines()
    assert calls == [f"insmod {MODULE}", "chgrp npu /dev/rknpu"]
    assert device.stat().st_mode & 0o777 == 0o660
    device.chmod(0o600)
    assert start(tmp_path) == "npu: the driver is already loaded\n"
    assert device.stat().st_mode & 0o777 == 0o660


def test_a_system_without_the_group_says_that_root_alone_can_use_it(
    tmp_path: Path, module: Path
) -> None:
    said = start(tmp_path, chgrp="exit 1\n")
    assert "npu: only root can use /dev/rknpu" in said
    assert (tmp_path / "dev/rknpu").stat().st_mode & 0o777 == 0o600


def test_a_module_that_is_missing_or_does_not_load_is_told(tmp_path: Path, module: Path) -> None:
    assert f"could not load {MODULE}" in start(tmp_path, insmod="exit 1\n")
    module.unlink()
    nothing = f"npu: no rknpu.ko for Linux {os.uname().release} on this image, so no NPU\n"
    assert start(tmp_path) == nothing
    assert not (tmp_path / "calls").exists()


def test_a_module_in_the_vendors_oem_is_found(tmp_path: Path, module: Path) -> None:
    """Of both, the one for the kernel that runs."""
    vendors = tmp_path / "oem/usr/ko/rknpu.ko"
    vendors.parent.mkdir(parents=True)
    vendors.write_text("")
    assert f"{MODULE} loaded" in start(tmp_path)
    module.unlink()
    shutil.rmtree(tmp_path / "proc")
    (tmp_path / "dev/rknpu").unlink()
    assert "/oem/usr/ko/rknpu.ko loaded" in start(tmp_path)


def test_the_account_of_the_image_is_in_the_group(tmp_path: Path) -> None:
    """Buildroot's own mkusers makes it, where Buildroot is at hand."""
    lines = (BOARD / "users.txt").read_text().splitlines()
    (entry,) = [line.split() for line in lines if not line.startswith("#")]
    assert entry[0] == "pico" and entry[7] == "npu"
    groups = (BOARD / "emulator/etc/group").read_text()
    assert "\nnpu:x:" in groups
