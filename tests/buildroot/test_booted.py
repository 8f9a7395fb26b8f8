"""A real root file system of Buildroot boots in QEMU as it is, and does what a board's must do.

PICO_ROOTFS names its rootfs.tar or rootfs.img, with root-password.txt beside it as in
out/VARIANT/images. The one that test_build.py makes with the SDK's compiler is booted there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pico_image.config import configuration
from pico_image.config.target import Target
from tests.support import booted_rootfs

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.qemu, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("variant", ["luckfox-pico-mini", "luckfox-pico-pro-max"])
def test_the_root_file_system_of_a_board_boots(variant: str, tmp_path: Path) -> None:
    """With and without an Ethernet interface; the layout is that of the boards' cards."""
    named = os.environ.get("PICO_ROOTFS")
    if not named:
        pytest.skip("PICO_ROOTFS does not name a root file system of Buildroot")
    password = Path(named).with_name("root-password.txt").read_text().strip()
    target = Target.of(configuration.load(), variant)
    booted_rootfs.check_all(target, Path(named), password, tmp_path)
