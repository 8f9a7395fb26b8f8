"""Bad bytes in images: an answer or a UserError, never another exception or a hang."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import fit
from pico_image.card.blocks import Slice, read_bmap
from pico_image.card.compose import compose
from pico_image.card.contents import inspect_image
from tests.support import card_images
from tests.support.mutations import EDITS, damaged, edited


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A small card image with a FIT for a boot partition; and its bytes."""
    folder = tmp_path_factory.mktemp("card")
    parts, table = card_images.make_parts(folder / "parts")
    (folder / "kernel").write_bytes(gzip.compress(b"Linux version 6.1.0 (a@b)\0"))
    (folder / "ramdisk").write_bytes(bytes(range(256)))
    shutil.which("mkimage") or card_images.absent("mkimage (Debian package u-boot-tools)")
    files = fit.BootFiles(folder / "kernel", folder / "ramdisk", "test", "test")
    fit.make(Console(), files, parts["boot"], epoch=1)
    compose(Console(), parts, table, folder / "sdcard.img")
    return folder, (folder / "sdcard.img").read_bytes()


@settings(max_examples=150)
@given(edits=EDITS, own=st.booleans())
@example(edits=[(0.0, 9, b"")], own=False)
def test_block_maps(
    card: tuple[Path, bytes], edits: list[tuple[float, int, bytes]], own: bool
) -> None:
    """With ``own`` the map's own checksum is made right again, so that the rest is read."""
    data = edited((card[0] / "sdcard.img.bmap").read_bytes(), edits)
    use_bmap(card[0], sealed(data) if own else data)


def sealed(data: bytes) -> bytes:
    pattern = rb"(<BmapFileChecksum>\s*)([0-9a-f]*)"
    zeros = re.sub(pattern, rb"\g<1>" + b"0" * 64, data, count=1)
    total = hashlib.sha256(zeros).hexdigest().encode()
    return re.sub(pattern, rb"\g<1>" + total, zeros, count=1)


def use_bmap(folder: Path, data: bytes) -> None:
    path = folder / "mutant.bmap"
    path.write_bytes(data)
    try:
        bmap = read_bmap(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert all(0 <= start < end <= bmap.image_size for start, end in bmap.spans)


@pytest.mark.parametrize("word", ["-1", "+3", "1_0", "٣", "0x10", "", "9" * 5000, "1-2-3", "5-1"])
@pytest.mark.parametrize("tag", ["ImageSize", "BlockSize", "Range"])
def test_block_maps_with_odd_numbers(card: tuple[Path, bytes], tag: str, word: str) -> None:
    text = (card[0] / "sdcard.img.bmap").read_text()
    text = re.sub(rf"(<{tag}[^>]*>)[^<]*", rf"\g<1>{word}", text, count=1)
    use_bmap(card[0], sealed(text.encode()))


@pytest.mark.parametrize("encoding", ["none-such", "utf-16", "rot13", "shift_jis", ""])
def test_block_maps_in_an_odd_encoding(card: tuple[Path, bytes], encoding: str) -> None:
    text = (card[0] / "sdcard.img.bmap").read_text()
    use_bmap(card[0], sealed(text.replace("?>", f'encoding="{encoding}"?>', 1).encode()))


@settings(max_examples=40)
@given(edits=EDITS, first=st.sampled_from([0, 0x8000, None]), cut=st.integers(0, 20))
def test_card_images(
    card: tuple[Path, bytes], edits: list[tuple[float, int, bytes]], first: int | None, cut: int
) -> None:
    """Damage in the environment, in what follows it, or anywhere; and images cut short."""
    folder, good = card
    start = first or 0
    end = len(good) if first is None else start + 0x8000
    data = good[:start] + damaged(good[start:end], edits) + good[end:]
    path = folder / "mutant.img"
    path.write_bytes(data[: len(data) * cut // 16] if cut < 16 else data)
    try:
        report = inspect_image(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert report["partitions"]


@settings(max_examples=200)
@given(edits=EDITS, same=st.booleans())
def test_fit_images(
    card: tuple[Path, bytes], edits: list[tuple[float, int, bytes]], same: bool
) -> None:
    good = (card[0] / "parts/boot.img").read_bytes()
    path = card[0] / "mutant.itb"
    path.write_bytes((damaged if same else edited)(good, edits))
    boot = fit.read(Slice(path))
    if boot is None:
        return
    json.dumps(boot.to_json())
    for name in ("kernel", "ramdisk"):
        try:
            content = boot.content(name)
        except UserError:
            continue
        assert content == (card[0] / name).read_bytes()
