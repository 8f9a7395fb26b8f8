"""Images for boards that boot from eMMC: a folder of parts, which no task takes for a card."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.card.devices import Device
from pico_image.card.env import env_image, env_text, read_env, read_env_text
from pico_image.card.flash import _refuse
from pico_image.card.image_file import open_image
from pico_image.card.parts import PARTS, Parts
from pico_image.card.verify import read_sums
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.image import build, finish
from tests.support import card_images

VARIANT = "luckfox-pico-ultra-w"


@pytest.fixture
def target() -> Target:
    config = configuration.load()
    small = card_images.LAYOUT.partition(":")[2]
    return Target.of(config, config.variant(VARIANT).model_copy(update={"partitions": small}))


@pytest.fixture
def images(tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a build leaves in ``out/VARIANT/images``."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    folder = tmp_path / "out" / VARIANT / "images"
    parts, _ = card_images.make_parts(folder, card_images.LAYOUT)
    parts["env"].write_bytes(env_image(target.env()))
    (folder / ".env.txt").write_text(env_text(target.env()))
    for name in ("update.img", "download.bin"):
        (folder / name).write_bytes(b"the SDK's")
    finished(target, folder)
    return folder


def finished(target: Target, folder: Path) -> None:
    parts = Parts(folder, beside=("download.bin", "update.img"))
    finish.finish(Console(), target, parts, [])


def invoke(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_folder_has_all_but_a_card_image(images: Path, target: Target) -> None:
    sums = read_sums(images / "SHA256SUMS")
    assert {f"{name}.img" for name in PARTS} | {"download.bin", "update.img"} <= set(sums)
    assert not [path.name for path in images.iterdir() if path.name.startswith("sdcard")]
    info = json.loads((images / "build-info.json").read_text())
    assert info["block_device"] == "mmcblk0" and set(info["parts"]) == set(PARTS)
    assert build.existing_images(VARIANT) == images
    before = {path: path.stat().st_mtime_ns for path in images.iterdir()}
    finished(target, images)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Of the time when the variant was for another board.
    for name in ("sdcard.img", "sdcard.img.bmap", "sdcard.img.zst"):
        (images / name).write_bytes(b"old")
    (images.parent / ".stamps/sdcard.img.json").unlink()
    finished(target, images)
    assert not [path.name for path in images.iterdir() if path.name.startswith("sdcard")]


def test_the_readme_has_each_part_at_its_sector(images: Path) -> None:
    text = (images / "README.txt").read_text()
    assert "upgrade_tool wl 0x0 env.img\n" in text
    assert "upgrade_tool wl 0x440 uboot.img\n" in text
    for words in ("uf update.img", "db download.bin", "SocToolKit", "RV1106", "Hold BOOT", "lost"):
        assert words in text
    assert "sdcard.img" not in text and "dd if" not in text
    readme = finish.readme(Target.of(configuration.load(), VARIANT))
    assert "upgrade_tool wl 0x190640 rootfs.img\n" in readme


def test_a_part_that_does_not_fit_is_told_before_anything_is_written(
    images: Path, target: Target
) -> None:
    before = (images / "SHA256SUMS").read_bytes()
    (images / "boot.img").write_bytes(b"x" * (3 << 20))
    with pytest.raises(UserError, match="and its partition boot only"):
        finished(target, images)
    assert (images / "SHA256SUMS").read_bytes() == before


def test_flash_refuses_it_with_the_way_that_works(images: Path, tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.write_bytes(b"\xa5" * (40 << 20))
    for words in (("--image", str(images)), ("--variant", VARIANT)):
        done = invoke("flash", "--device", str(card), "--yes", *words)
        assert done.returncode == 2
        assert "for the eMMC of a board, which no card reader can write" in done.stderr
        assert f"over USB: {images / 'README.txt'} says how" in done.stderr
    assert set(card.read_bytes()) == {0xA5}


def test_an_image_for_mmcblk0_is_no_card_either(
    images: Path, target: Target, tmp_path: Path
) -> None:
    """As somebody composed it of these parts by hand."""
    image = tmp_path / "raw.img"
    shutil.copy(images / "env.img", image)
    with image.open("r+b") as stream:
        for part in target.layout:
            stream.seek(part.offset)
            stream.write((images / f"{part.name}.img").read_bytes())
    card = Device(Path("/dev/sdz"), 64 << 20, removable=True)
    with pytest.raises(UserError, match="an image for mmcblk0, a board's eMMC") as caught:
        _refuse(open_image(image), card, image.stat().st_size, ())
    assert "--allow emmc" in str(caught.value)
    _refuse(open_image(image), card, image.stat().st_size, ("emmc",))


def signed_by_me(images: Path, folder: Path) -> Path:
    """Sign the image; the file of allowed signers."""
    card_images.tool("ssh-keygen", "openssh-client")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert invoke("sign", str(images), "--key", str(key)).returncode == 0
    allowed = folder / "allowed"
    allowed.write_text(f"me {key.with_suffix('.pub').read_text()}")
    return allowed


def test_verify_and_sign_take_the_folder(images: Path, tmp_path: Path) -> None:
    done = invoke("verify", str(images))
    assert done.returncode == 0, done.stderr
    assert "ok  rootfs in images with build-info.json" in done.stdout
    allowed = signed_by_me(images, tmp_path)
    signed = invoke("verify", str(images), "--signers", str(allowed))
    assert signed.returncode == 0 and "signed by me" in signed.stdout
    with (images / "oem.img").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"changed")
    done = invoke("verify", str(images))
    assert done.returncode == 1
    assert "oem in images is not the one in build-info.json" in done.stderr


def test_a_signature_must_cover_every_part(images: Path, tmp_path: Path) -> None:
    sums = images / "SHA256SUMS"
    sums.write_text("".join(x for x in sums.read_text().splitlines(True) if "oem.img" not in x))
    allowed = signed_by_me(images, tmp_path)
    done = invoke("verify", str(images), "--signers", str(allowed))
    assert done.returncode == 1 and "does not list oem.img" in done.stderr


def test_repack_changes_the_environment_in_the_folder(images: Path) -> None:
    """`npu-runner` says so where a model does not get its memory: invoke repack --cma 32M."""
    before = read_sums(images / "SHA256SUMS")
    done = invoke("repack", "--variant", VARIANT, "--cma", "32M", "--set", "quiet")
    assert done.returncode == 0, done.stderr
    assert f"changed: {images / 'env.img'}" in done.stdout and "wl 0x0 env.img" in done.stdout
    arguments = read_env((images / "env.img").read_bytes())["sys_bootargs"]
    assert arguments == " root=/dev/mmcblk0p7 rootfstype=ext4 rk_dma_heap_cma=32M quiet"
    assert read_env_text(images / ".env.txt")["sys_bootargs"] == arguments
    assert not (images / "update.img").exists(), "it has the old environment"
    assert invoke("verify", str(images)).returncode == 0
    after = read_sums(images / "SHA256SUMS")
    changed = {"env.img", ".env.txt", "build-info.json"}
    assert {name for name in before if after.get(name) != before[name]} == {*changed, "update.img"}
    info = json.loads((images / "build-info.json").read_text())
    assert info["repacked"]["environment"]["sys_bootargs"] == arguments
    assert not [path.name for path in images.iterdir() if path.name.startswith("sdcard")]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--size", "oem=5M"), "an image for eMMC, are changed where it is built", "partitions in"),
        (("--cma", "8M", "--output", "x.img"), "is changed in its folder", "leave --output out"),
        ((), "nothing was asked to change", "--cma 8M"),
        (("--drop", "quiet"), "no kernel argument 'quiet' to drop", "rk_dma_heap_cma"),
    ],
)
def test_what_repack_refuses_changes_nothing(
    images: Path, words: tuple[str, ...], message: str, hint: str
) -> None:
    before = {path: path.read_bytes() for path in images.iterdir() if path.is_file()}
    done = invoke("repack", "--source", str(images), *words)
    assert done.returncode == 2
    assert message in done.stderr and hint in done.stderr
    assert {path: path.read_bytes() for path in images.iterdir() if path.is_file()} == before


def test_there_is_nothing_to_compress(images: Path, target: Target) -> None:
    with pytest.raises(UserError, match="no card image to compress") as caught:
        build.build_image(Console(), target, forms=["zst"])
    assert "--compress" in str(caught.value)


def test_inspect_reads_the_folder(images: Path) -> None:
    done = invoke("inspect-image", str(images), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["root"] == "/dev/mmcblk0p7" and report["problems"] == []
