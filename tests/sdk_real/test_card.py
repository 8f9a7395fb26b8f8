"""The product's stages with the SDK's own scripts, from U-Boot to sdcard.img.

U-Boot is built whole, the kernel with a small configuration, by the distribution's compiler; for
the root file system the SDK's archive holds the stand-in for Buildroot.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.engine import volumes
from pico_image.image import build
from pico_image.sdk.workspace import Options
from tests.sdk_real.room import Room, RoomBackend
from tests.support.model_cards import card

pytestmark = [pytest.mark.external, pytest.mark.slow]
OPTIONS = Options(first_bytes=1_000_000, later_bytes=1_000_000, jobs=2)


def made_by(room: Room, root: Path, variant: str, console: Console, tmp_path: Path) -> Path:
    """The folder of images of a whole build."""
    models = tmp_path / "models/efficientnet-lite0"
    (models / "images").mkdir(parents=True)
    file = {"path": "int8.tflite", "bytes": 4, "sha256": "0" * 64}
    (models / "model.json").write_text(json.dumps(card(files={"int8": file}).plain()))
    (models / "images/cat.jpg").write_bytes(b"a cat")
    target = Target.of(configuration.load(root), variant)
    backend = RoomBackend(console, OPTIONS, room)
    given = dict.fromkeys(target.models, models)
    parts = build.make_image(console, backend, target, given, forms=())
    assert parts.complete
    return parts.folder


@pytest.mark.parametrize("variant", ["luckfox-pico-mini-minimal", "luckfox-pico-pro-max-minimal"])
def test_from_uboot_to_the_card(
    variant: str,
    room: Room,
    root: Path,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(volumes, "remove_others", lambda *_, **__: None)
    for left in ("states", "output", "buildroot", "results", "modules"):
        shutil.rmtree(room.build / left, ignore_errors=True)
    images = made_by(room, root, variant, console, tmp_path)
    sizes = {path.name: path.stat().st_size for path in images.iterdir()}
    assert {"idblock.img", "uboot.img", "boot.img", "download.bin", "sdcard.img"} <= set(sizes)
    # The kernel's FIT: our board's device tree, with root device and CMA of our BoardConfig.
    tree = subprocess.run(
        ["strings", images / "boot.img"], capture_output=True, text=True, check=True
    ).stdout
    assert "root=/dev/mmcblk1p7" in tree
    assert (images / "update.img").read_bytes()[:4] == b"RKFW"
    names = subprocess.run(
        ["tar", "tf", images.parent / ".sdk/modules.tar"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"./rknpu.ko", "./rockit.ko", "./mpp_vcodec.ko", "./insmod_ko.sh"} <= set(names)


def test_a_kernel_that_does_not_compile_is_explained(
    room: Room, root: Path, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(volumes, "remove_others", lambda *_, **__: None)
    source = room.sdk / "sysdrv/source/kernel/drivers/rknpu/rknpu_job.c"
    text = source.read_text()
    shutil.rmtree(room.build / "states", ignore_errors=True)
    try:
        source.write_text('#include "absent.h"\n' + text)
        with pytest.raises(CommandError) as caught:
            made_by(room, root, "luckfox-pico-pro-max-minimal", console, tmp_path)
    finally:
        source.write_text(text)
    message = str(caught.value)
    assert message.startswith("stage kernel failed with status 2")
    assert "rknpu_job.c:1:10: fatal error: absent.h: No such file" in message
    assert "****" not in message and "Please install" not in message
