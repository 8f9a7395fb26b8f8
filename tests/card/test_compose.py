"""Composing: every byte where the string says, sparse, mapped, whole or absent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.card.blocks import Slice, data_spans, read_bmap, zero_runs
from pico_image.card.compose import compose
from pico_image.card.env import env_image
from pico_image.card.filesystem import free_spans
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables
from tests.support import card_images

STOCK = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], PartitionTable]:
    return card_images.make_parts(tmp_path_factory.mktemp("parts"))


def by_dd(parts: dict[str, Path], table: PartitionTable, out: Path) -> Path:
    """The same image by the means that people use today."""
    for part in table:
        subprocess.run(
            [
                "dd",
                f"if={parts[part.name]}",
                f"of={out}",
                "bs=64k",
                "conv=notrunc",
                "oflag=seek_bytes",
                f"seek={part.offset}",
            ],
            check=True,
            capture_output=True,
        )
    return out


def test_the_image_is_what_dd_makes_and_ends_after_its_last_part(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    image = tmp_path / "sdcard.img"
    result = compose(Console(), parts, table, image)
    other = by_dd(parts, table, tmp_path / "dd.img")
    assert image.read_bytes() == other.read_bytes()
    assert result.bmap.image_size == table["rootfs"].offset + parts["rootfs"].stat().st_size
    assert result.sums["sdcard.img"] == sha256_file(image)
    for name, path in parts.items():
        assert result.sums[f"{name}.img"] == sha256_file(path)
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "dd.img",
        "sdcard.img",
        "sdcard.img.bmap",
    ]


def test_a_part_that_is_no_multiple_of_the_block_ends_in_zeros(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    short = tmp_path / "rootfs.img"
    short.write_bytes(b"x" * 5000)
    image = tmp_path / "sdcard.img"
    result = compose(Console(), {**parts, "rootfs": short}, table, image)
    data = image.read_bytes()[table["rootfs"].offset :]
    assert data == b"x" * 5000 + bytes(8192 - 5000)
    assert result.bmap.image_size % 4096 == 0


def test_parts_that_begin_inside_a_block_are_placed_to_the_byte(tmp_path: Path) -> None:
    table = PartitionTable.parse("mmcblk0:32K(env),4608@33280(a),5120(b)")
    parts = {name: tmp_path / f"{name}.img" for name in ("env", "a", "b")}
    env = {"blkdevparts": str(table)}
    parts["env"].write_bytes(env_image(env))
    parts["a"].write_bytes(os.urandom(4608))
    parts["b"].write_bytes(os.urandom(5120))
    image = tmp_path / "sdcard.img"
    compose(Console(), parts, table, image)
    assert image.read_bytes() == by_dd(parts, table, tmp_path / "dd.img").read_bytes()


def test_holes_and_zeros_take_no_room_but_what_a_file_system_uses_is_mapped(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    dense = tmp_path / "oem.img"  # as after a copy that filled the holes
    dense.write_bytes(parts["oem"].read_bytes())
    image = tmp_path / "sdcard.img"
    result = compose(Console(), {**parts, "oem": dense}, table, image)
    content = sum(
        4096 for path in parts.values() for block in blocks(path.read_bytes()) if any(block)
    )
    assert image.stat().st_blocks * 512 <= content * 1.01
    mapped = {block for first, last in result.bmap.spans for block in range(first, last, 4096)}
    for name in ("oem", "userdata", "rootfs"):
        offset, free = table[name].offset, free_blocks(parts[name])
        for at in range(0, parts[name].stat().st_size, 4096):
            if at not in free:
                assert offset + at in mapped, f"{name}: block in use at {at} is not mapped"
    assert result.bmap.mapped_bytes < result.bmap.image_size * 0.6


def free_blocks(image: Path) -> set[int]:
    """Free blocks asked of debugfs one by one, another program than the one in use."""
    count = image.stat().st_size // 1024
    commands = "\n".join(f"testb {block}" for block in range(1, count))
    done = subprocess.run(
        [card_images.tool("debugfs", "e2fsprogs"), "-f", "-", image],
        input=commands,
        capture_output=True,
        text=True,
        check=True,
    )
    used = {int(line.split()[1]) for line in done.stdout.splitlines() if " marked in use" in line}
    return {
        at
        for at in range(0, count * 1024, 4096)
        if not used & set(range(at // 1024, at // 1024 + 4)) and at
    }


def blocks(data: bytes) -> list[bytes]:
    return [data[at : at + 4096] for at in range(0, len(data), 4096)]


def test_bmaptool_copies_and_verifies_with_our_map(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    image, target = tmp_path / "sdcard.img", tmp_path / "card"
    bmap = compose(Console(), parts, table, image).bmap
    done = subprocess.run(
        [card_images.tool("bmaptool", "bmap-tools"), "copy", image, target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "discovered bmap file" in done.stderr
    source, written = image.read_bytes(), target.read_bytes()
    for first, last in bmap.spans:
        assert source[first:last] == written[first:last]

    with image.open("r+b") as stream:
        stream.seek(table["boot"].offset + 1000)
        stream.write(b"?")
    done = subprocess.run(
        ["bmaptool", "copy", image, tmp_path / "other"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "checksum mismatch" in done.stderr


def test_the_map_is_read_back_and_a_changed_digit_is_found(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    result = compose(Console(), parts, table, tmp_path / "sdcard.img")
    assert read_bmap(result.bmap_path) == result.bmap
    text = result.bmap_path.read_text(encoding="ascii")
    for old, new in ((f"> {result.bmap.ranges[0].first}", "> 1"), ("</bmap>", ""), ("<bmap", "<b")):
        result.bmap_path.write_text(text.replace(old, new, 1), encoding="ascii")
        with pytest.raises(UserError, match="block map"):
            read_bmap(result.bmap_path)


def test_a_map_of_bmaptool_is_read(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    image, bmap = tmp_path / "sdcard.img", tmp_path / "other.bmap"
    size = compose(Console(), parts, table, image).bmap.image_size
    tool = card_images.tool("bmaptool", "bmap-tools")
    subprocess.run([tool, "create", "-o", bmap, image], check=True, capture_output=True)
    assert read_bmap(bmap).image_size == size


def refuse(
    parts: dict[str, Path], table: PartitionTable, folder: Path, words: str, empty: str = ""
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        compose(Console(), parts, table, folder / "x.img", empty=[empty] if empty else [])
    assert caught.value.exit_code == 2
    assert not [item for item in folder.iterdir() if item.name.startswith(("x.img", ".x.img"))]


def test_bad_parts_are_refused_and_nothing_is_written(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    big = tmp_path / "boot.img"
    big.write_bytes(bytes((2 << 20) + 1))
    refuse({**parts, "boot": big}, table, tmp_path, r"2097153 bytes.*only.*2097152 bytes")
    cut = tmp_path / "rootfs.img"
    cut.write_bytes(parts["rootfs"].read_bytes()[: 5 << 20])
    refuse({**parts, "rootfs": cut}, table, tmp_path, "cut short")
    none = tmp_path / "none.img"
    refuse({**parts, "oem": none}, table, tmp_path, "cannot read .*none.img")
    none.touch()
    refuse({**parts, "oem": none}, table, tmp_path, "is empty")
    refuse({**parts, "odd": none}, table, tmp_path, "'odd' has no partition")
    refuse(parts, table, tmp_path, "'odd' has no partition", empty="odd")
    less = {name: path for name, path in parts.items() if name != "uboot"}
    refuse(less, table, tmp_path, "not built: uboot")


def test_an_environment_of_another_image_is_refused(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path
) -> None:
    parts, table = sample
    env = tmp_path / "env.img"
    stock = PartitionTable.parse(STOCK)
    env.write_bytes(env_image(boot_variables(stock, cma_mib=24)))
    refuse({**parts, "env": env}, table, tmp_path, "belongs to another image")
    env.write_bytes(os.urandom(32768))
    refuse({**parts, "env": env}, table, tmp_path, "CRC")
    env.write_bytes(env_image({"sys_bootargs": "x"}))
    refuse({**parts, "env": env}, table, tmp_path, "no blkdevparts")


def test_a_failure_leaves_the_earlier_image(
    sample: tuple[dict[str, Path], PartitionTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, table = sample
    image = tmp_path / "sdcard.img"
    compose(Console(), parts, table, image)
    before = image.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pico_image.card.compose._store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compose(Console(), parts, table, image)
    assert image.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["sdcard.img", "sdcard.img.bmap"]


def test_the_stock_layout_may_leave_a_part_out(tmp_path: Path) -> None:
    table = PartitionTable.parse(STOCK)
    parts = {"env": tmp_path / "env.img", "rootfs": tmp_path / "rootfs.img"}
    parts["env"].write_bytes(env_image(boot_variables(table, cma_mib=24)))
    parts["rootfs"].write_bytes(b"r" * 8192)
    image = tmp_path / "sdcard.img"
    empty = ["idblock", "uboot", "boot", "oem", "userdata"]
    compose(Console(), parts, table, image, empty=empty)
    assert image.stat().st_size == 839680000 + 8192
    assert image.stat().st_blocks * 512 <= 65536
    with image.open("rb") as stream:
        stream.seek(839680000)
        assert stream.read() == b"r" * 8192


def test_zero_runs_cover_a_chunk_once() -> None:
    chunk = bytes(8192) + b"x" + bytes(4095) + bytes(100)
    assert list(zero_runs(chunk)) == [(0, 8192, True), (8192, 12288, False), (12288, 12388, True)]
    assert list(zero_runs(b"")) == []
    assert list(zero_runs(b"a")) == [(0, 1, False)]


def test_spans_of_a_sparse_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
        stream.seek(65536)
        stream.write(b"x" * 4096)
    with path.open("rb") as stream:
        assert data_spans(stream.fileno(), 0, 1 << 20) == [(65536, 69632)]
    assert free_spans(Slice(path)) == []
