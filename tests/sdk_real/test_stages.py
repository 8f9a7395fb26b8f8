"""The product's stage for U-Boot with the SDK's own scripts; the distribution's compiler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.image import build
from pico_image.sdk.workspace import Options
from tests.sdk_real.room import Room, RoomBackend

pytestmark = [pytest.mark.external, pytest.mark.slow]
OPTIONS = Options(only="uboot", first_bytes=1_000_000, later_bytes=1_000_000, jobs=2)
LOADER = "sysdrv/source/uboot/u-boot"


def build_uboot(room: Room, root: Path, console: Console, tmp_path: Path) -> None:
    """`build-image --only uboot` for a Mini."""
    target = Target.of(configuration.load(root), "luckfox-pico-mini-minimal")
    parts = build.make_image(console, RoomBackend(console, OPTIONS, room), target, {}, forms=())
    assert not parts.complete


def test_uboot_by_its_own_scripts(
    room: Room, root: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    build_uboot(room, root, console, tmp_path)
    results = room.build / "results"
    first = {path.name: path.read_bytes() for path in results.iterdir()}
    assert set(first) == {"idblock.img", "uboot.img", "download.bin"}
    assert first["uboot.img"][:4] == b"\xd0\x0d\xfe\xed"  # a FIT
    assert first["download.bin"][:4] == b"LDR "
    assert console.log_path is not None
    log = console.log_path.read_text()
    # Between asterisks, and no end of anything; what the fork has of another age is a warning.
    assert "Check [OK]: dtc --version" in log
    assert "this SDK's NPU driver is 0.8.2, not 0.9.2" in log
    assert "\nJOB=2\n" in (room.sdk / LOADER / "make.sh").read_text()

    source = room.sdk / LOADER / "cmd/fdt.c"
    text = source.read_text()
    try:
        source.write_text('#include "absent.h"\n' + text)
        with pytest.raises(CommandError) as caught:
            build_uboot(room, root, console, tmp_path)
    finally:
        source.write_text(text)
    message = str(caught.value)
    assert message.startswith("stage uboot failed with status 2")
    assert "cmd/fdt.c:1:10: fatal error: absent.h: No such file" in message
    assert "****" not in message and "Please install" not in message
    # The images of the first build are there, and are not this one's.
    assert not list((room.sdk / LOADER).glob("*.img"))
    assert json.loads((room.build / "states/uboot.json").read_text())["state"] == "failed"
