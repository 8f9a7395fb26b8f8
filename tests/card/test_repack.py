"""Changing images without the SDK, checking them, and what goes beside them."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import sha256_file
from pico_image.card.compose import compose
from pico_image.card.contents import inspect_image
from pico_image.card.env import env_image, env_text, read_env
from pico_image.card.repack import Changes, cma_size, repack
from pico_image.card.verify import read_sums, verify, write_sums
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.image import finish
from tests.support import card_images

STOCK = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a build leaves: parts, image, map, sums, build-info.json."""
    images = tmp_path / "images"
    parts, table = card_images.make_parts(images)
    composed = compose(Console(), parts, table, images / "sdcard.img")
    info = {
        "variant": "test",
        "backend": "emulator",
        "parts": {
            name: {
                "file": path.name,
                "bytes": path.stat().st_size,
                "sha256": sha256_file(path),
            }
            for name, path in parts.items()
        },
    }
    (images / "build-info.json").write_text(json.dumps(info), encoding="utf-8")
    names = [*composed.sums, "sdcard.img.bmap", "build-info.json", ".env.txt"]
    write_sums(images, names, composed.sums)
    return images


def slot(image: Path, name: str) -> bytes:
    report = inspect_image(image)
    entry = next(item for item in report["partitions"] if item["name"] == name)
    with image.open("rb") as stream:
        stream.seek(entry["offset"])
        return stream.read(entry["slot"])


def test_the_npus_memory_is_changed_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    image, out = folder / "sdcard.img", tmp_path / "new" / "small.img"
    repack(Console(), image, out, Changes(cma="8M"))
    assert inspect_image(out)["cma"] == "8M"
    before, after = image.read_bytes(), out.read_bytes()
    assert before[0x8000:] == after[0x8000:]
    old, new = read_env(before[:0x8000]), read_env(after[:0x8000])
    assert new == {**old, "sys_bootargs": old["sys_bootargs"].replace("=24M", "=8M")}
    assert verify(Console(), out)
    assert inspect_image(out)["build_info"]["repacked"]["from"] == "sdcard.img"
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out.parent, check=True)


def test_partitions_move_and_keep_their_content(folder: Path, tmp_path: Path) -> None:
    image, out = folder / "sdcard.img", tmp_path / "moved.img"
    repack(
        Console(), image, out, Changes(sizes={"oem": "6M", "rootfs": "1G"}, set_arguments=["quiet"])
    )
    report = inspect_image(out)
    assert report["problems"] == []
    sizes = {item["name"]: item["slot"] for item in report["partitions"]}
    assert (sizes["oem"], sizes["rootfs"]) == (6 << 20, 1 << 30)
    assert report["environment"]["sys_bootargs"].endswith(" quiet")
    for name in ("idblock", "uboot", "boot"):
        assert slot(out, name) == slot(image, name)
    for name in ("oem", "userdata", "rootfs"):
        content = (folder / f"{name}.img").read_bytes()
        assert slot(out, name)[: len(content)] == content


def test_a_whole_new_layout_for_the_same_parts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "stock.img"
    repack(Console(), folder, out, Changes(layout=STOCK))
    report = inspect_image(out)
    assert report["partitions"][6]["offset"] == 839680000
    assert report["problems"] == []
    assert out.stat().st_blocks * 512 < 20 << 20


def test_an_image_whose_layout_is_hexadecimal_is_read_and_changed(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "hex.img"
    layout = card_images.LAYOUT.replace("16M(rootfs)", "0x1000000(rootfs)")
    variables = {**read_env((folder / "env.img").read_bytes()), "blkdevparts": layout}
    (folder / "env.img").write_bytes(env_image(variables))
    (folder / ".env.txt").write_text(env_text(variables))
    report = inspect_image(folder)
    assert report["problems"] == []
    assert report["partitions"][6]["slot"] == 16 << 20
    repack(Console(), folder, out, Changes(sizes={"oem": "0x500000"}))
    report = inspect_image(out)
    assert (report["partitions"][4]["slot"], report["partitions"][6]["slot"]) == (5 << 20, 16 << 20)


def test_an_image_is_repacked_in_place(folder: Path) -> None:
    repack(Console(), folder, folder / "sdcard.img", Changes(cma="1M"))
    assert inspect_image(folder / "sdcard.img")["cma"] == "1M"
    assert inspect_image(folder)["cma"] == "1M"
    assert "rk_dma_heap_cma=1M" in (folder / ".env.txt").read_text(encoding="utf-8")
    assert len(verify(Console(), folder)) > 10
    repack(Console(), folder / "sdcard.img", folder / "sdcard.img", Changes(cma="2M"))
    assert inspect_image(folder / "sdcard.img")["cma"] == "2M"


def refused(source: Path, out: Path, words: str, **changes: object) -> None:
    with pytest.raises(UserError, match=words) as caught:
        repack(Console(), source, out, Changes(**changes))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert not out.exists()


def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    image, out = folder / "sdcard.img", tmp_path / "x" / "x.img"
    refused(image, out, "nothing was asked")
    refused(image, out, r"9437184 bytes.*only.*8388608 bytes", sizes={"rootfs": "8M"})
    refused(image, out, "no partition 'media'", sizes={"media": "8M"})
    refused(image, out, "no number of bytes|suffix|not a number|missing", sizes={"oem": "huge"})
    refused(image, out, "would move|overlap", sizes={"idblock": "1M"})
    refused(image, out, "would move|overlap", sizes={"env": "64K"})
    refused(image, out, "go by their numbers", layout="32K(env),1M(x)")
    refused(image, out, "not a number of bytes", cma="lots")
    refused(image, out, "cannot be", cma="1000")
    refused(image, out, "no kernel argument 'nothing'", drop_arguments=["nothing"])
    refused(image, out, "is no kernel argument", set_arguments=["a b"])
    refused(tmp_path / "none", out, "cannot read", cma="8M")


def test_arguments_are_set_in_place() -> None:
    text = " root=/dev/mmcblk1p7 rk_dma_heap_cma=24M quiet"
    assert Changes(cma="8M").arguments(text) == " root=/dev/mmcblk1p7 rk_dma_heap_cma=8M quiet"
    changes = Changes(set_arguments=["loglevel=4"], drop_arguments=["quiet"])
    assert changes.arguments(text).endswith("cma=24M loglevel=4")
    assert Changes(cma="1M").arguments("") == " rk_dma_heap_cma=1M"
    assert Changes(set_arguments=["a=3"]).arguments(" a=1 b a=2") == " a=3 b"


@pytest.mark.parametrize(("text", "size"), [("8M", "8M"), ("0x800000", "8M"), ("8192k", "8M")])
def test_the_npus_memory_may_be_written_in_any_unit(text: str, size: str) -> None:
    assert cma_size(text) == size


def test_a_build_is_verified(folder: Path) -> None:
    checked = verify(Console(), folder)
    assert "rootfs in sdcard.img with build-info.json" in checked
    assert "sdcard.img with its block map" in checked


@pytest.mark.parametrize("name", ["sdcard.img", "rootfs.img", ".env.txt", "sdcard.img.bmap"])
def test_a_changed_byte_in_any_file_is_found(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) - 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckFailed, match=name) as caught:
        verify(Console(), folder)
    assert caught.value.exit_code == 1
    path.unlink()
    with pytest.raises((CheckFailed, UserError), match=name):
        verify(Console(), folder)


def test_an_image_of_another_build_is_found(folder: Path, tmp_path: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    parts, table = card_images.make_parts(tmp_path / "other")
    compose(Console(), parts, table, folder / "sdcard.img")
    with pytest.raises(CheckFailed, match=r"rootfs in sdcard\.img is not the one in"):
        verify(Console(), folder)


def test_there_has_to_be_something_to_verify_by(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "sdcard.img", tmp_path / "lonely.img")
    with pytest.raises(UserError, match="nothing to check"):
        verify(Console(), tmp_path / "lonely.img")
    with pytest.raises(UserError, match="no card image"):
        verify(Console(), tmp_path)
    (folder / "build-info.json").write_text("{", encoding="utf-8")
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="is damaged"):
        verify(Console(), folder)
    (folder / "SHA256SUMS").write_text("what\n", encoding="utf-8")
    with pytest.raises(UserError, match="SHA256SUMS:1"):
        verify(Console(), folder)


def test_compressed_forms_hold_the_image(folder: Path) -> None:
    card_images.tool("zstd", "zstd")
    card_images.tool("xz", "xz-utils")
    image = folder / "sdcard.img"
    before = set(os.listdir(folder))
    packed = [finish.compress(Console(), image, form) for form in ("zst", "xz")]
    assert [path.name for path in packed] == ["sdcard.img.zst", "sdcard.img.xz"]
    assert set(os.listdir(folder)) == {*before, "sdcard.img.zst", "sdcard.img.xz"}
    assert lzma.decompress(packed[1].read_bytes()) == image.read_bytes()
    done = subprocess.run(["zstd", "-dcq", packed[0]], check=True, capture_output=True)
    assert done.stdout == image.read_bytes()
    # They would hold the image as it was before.
    repack(Console(), folder, image, Changes(cma="8M"))
    assert set(os.listdir(folder)) == before


def test_forms_that_cannot_be_made_are_told_before_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    assert finish.check_forms(["zst", "xz"]) == ("zst", "xz")
    assert finish.check_forms(None) == ("zst",)
    with pytest.raises(UserError, match="'rar'"):
        finish.check_forms(["rar"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert finish.check_forms(None) == ()
    with pytest.raises(UserError, match="could not find the program xz") as caught:
        finish.check_forms(["xz"])
    assert "xz-utils" in str(caught.value)


def test_the_readme_has_the_clicks_and_this_layout() -> None:
    loaded = configuration.load()
    text = finish.readme(Target.of(loaded, "luckfox-pico-mini"))
    for words in ("administrator", "after the tool has started", "USB adapter", "Cancel"):
        assert words in text
    assert "839680000" in text
    assert "0x190640" in text
    assert "No Luckfox board boots" in finish.readme(Target.of(loaded, "emulator"))


def test_the_sums_are_those_of_coreutils_and_keep_other_lines(folder: Path) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    other = read_sums(folder / "SHA256SUMS")["boot.img"]
    repack(Console(), folder / "sdcard.img", folder / "small.img", Changes(cma="8M"))
    sums = read_sums(folder / "SHA256SUMS")
    assert sums["boot.img"] == other
    assert sums["small.img"] == sha256_file(folder / "small.img")
    assert verify(Console(), folder / "small.img")
    assert verify(Console(), folder)
