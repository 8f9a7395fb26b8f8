"""Bad bytes in what we read: an answer or a UserError, never another exception, never a hang.

The budgets are small and the examples the same in every run. ``.rknn`` files have their own test
(models/test_rknn_fuzz.py), the partition string and env.img theirs in sdcard/.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pico_image.base.console import Console
from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.card import fit
from pico_image.card.blocks import Slice, read_bmap
from pico_image.card.compose import compose
from pico_image.card.contents import inspect_image
from pico_image.config import configuration
from pico_image.models.user_files import read_labels
from tests.support import card_images


def budget(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


#: Where, how many bytes to take out, and what to put in their place.
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 9), st.binary(max_size=9)),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, length, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + length :]
    return data


def damaged(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Like edited(), of the same length: offsets in the rest stay right."""
    for where, _, new in edits:
        at = int(where * (len(data) - len(new)))
        data = data[:at] + new + data[at + len(new) :]
    return data


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """configs/ with fewer sources and variants, so that an example takes no 100 ms."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "configs", root / "configs")
    sources = root / "configs/sources.yml"
    text = sources.read_text()
    sources.write_text(text[: text.index("\n  xnnpack:") + 1])
    for path in (root / "configs/variants").glob("*-p*.yml"):
        path.unlink()
    for name in ("mobilenet-v2", "mobilenet-v2-random", "dense-control"):
        (root / f"configs/models/{name}.yml").unlink()
    configuration.load(root)
    return root


#: Values that are something else in YAML than they look, or that its parser stumbles over.
VALUES = st.sampled_from(
    [
        *("~", "[]", "{}", "[a]", "{a: b}", "''", "-1", "1e999", ".nan", "0x", "1_0", "yes"),
        *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary é", "!!set {a}"),
        *("!!python/object:os.system x", "&a [*a]", "*b", "<<: 1", "? [a]", "2001-99-99", "|", ">"),
        *(
            "9" * 5000,
            "[" * 400,
            "'",
            '"\\x',
            "%YAML 9",
            "--- a\n--- b",
            "\t",
            "\x00",
            "é",
            "\ud7ff",
        ),
    ]
)
FILES = st.sampled_from(
    ["boards.yml", "sources.yml", "models/efficientnet-lite0.yml", "variants/emulator.yml"]
)


def load(tree: Path, name: str, data: bytes) -> None:
    path = tree / "configs" / name
    good = path.read_bytes()
    path.write_bytes(data)
    try:
        configuration.load(tree)
    except ConfigError as error:
        assert str(error).startswith(str(tree)), "the file is not named"
    except UserError:
        pass
    finally:
        path.write_bytes(good)


@budget(90)
@given(name=FILES, line=st.floats(0, 1, exclude_max=True), value=VALUES, key=st.booleans())
def test_configuration_with_another_value(
    tree: Path, name: str, line: float, value: str, key: bool
) -> None:
    lines = (tree / "configs" / name).read_text().splitlines()
    at = int(line * len(lines))
    if key:
        lines[at] = re.sub(r"[^\s:-][^:]*:", lambda _: f"{value}:", lines[at], count=1)
    else:
        lines[at] = re.sub(r"(:|-)\s.*|:$", lambda m: f"{m[0][0]} {value}", lines[at], count=1)
    load(tree, name, "\n".join(lines).encode("utf-8", "surrogatepass"))


@budget(60)
@given(name=FILES, edits=EDITS)
def test_configuration_with_other_bytes(
    tree: Path, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    load(tree, name, edited((tree / "configs" / name).read_bytes(), edits))


@pytest.mark.parametrize(
    "value", ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "[a]\nextends: [a]"]
)
def test_a_yaml_tag_that_does_not_fit_names_its_line(tree: Path, value: str) -> None:
    path = tree / "configs/variants/zzz.yml"
    path.write_text(f"---\ntitle: a\nboard: {value}\n")
    try:
        with pytest.raises(ConfigError, match=r"zzz\.yml:[34]: "):
            configuration.load(tree)
    finally:
        path.unlink()


def test_a_yaml_bomb_is_refused_at_once(tree: Path) -> None:
    """Nine aliases of nine aliases of ...: 400 bytes that are 3 thousand million values."""
    path = tree / "configs/variants/zzz.yml"
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(["a0: &a0 x", *rows]) + "\n")
    try:
        with pytest.raises(ConfigError, match="more than"):
            configuration.load(tree)
    finally:
        path.unlink()


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


@budget(150)
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


@budget(150)
@given(data=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8")))
def test_labels(card: tuple[Path, bytes], data: bytes) -> None:
    path = card[0] / "labels.txt"
    path.write_bytes(data)
    try:
        names = read_labels(path, 2)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert len(names) == 2


@budget(40)
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


@budget(200)
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
