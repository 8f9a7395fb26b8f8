"""env.img, compared with the tool that the vendor uses and with arbitrary bytes."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pico_image.base.errors import UserError
from pico_image.card.env import env_image, env_text, find_env, layout_of, read_env
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables
from tests.support import card_images

STOCK = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
)
VENDOR = {
    "blkdevparts": STOCK,
    "sys_bootargs": " root=/dev/mmcblk1p7 rootfstype=ext4 rk_dma_heap_cma=24M",
    "sd_parts": "mmcblk0:16K@512(env),512K@32K(idblock),4M(uboot)",
}

names = st.text(st.characters(codec="ascii", exclude_characters="\0=\n#"), min_size=1, max_size=20)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
variables = st.dictionaries(names, values, max_size=8)


def mkenvimage(text: str, folder: Path, size: int = 0x8000) -> bytes:
    tool = card_images.tool("mkenvimage", "u-boot-tools")
    source, image = folder / "env.txt", folder / "env.img"
    source.write_bytes(text.encode("utf-8", "surrogateescape"))
    subprocess.run(
        [tool, "-s", hex(size), "-p", "0x0", "-o", image, source], check=True, capture_output=True
    )
    return image.read_bytes()


def test_the_vendors_variables_give_the_bytes_of_mkenvimage(tmp_path: Path) -> None:
    assert env_image(VENDOR) == mkenvimage(env_text(VENDOR), tmp_path)


def test_the_boards_environment_is_the_vendors() -> None:
    assert boot_variables(PartitionTable.parse(STOCK), cma_mib=24) == VENDOR


@settings(max_examples=40)
@given(variables)
def test_any_variables_give_the_bytes_of_mkenvimage(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    try:
        text = env_text(variables)
    except UserError:
        return
    if not text:  # mkenvimage refuses an empty file
        return
    assert env_image(variables) == mkenvimage(text, tmp_path)


@given(variables)
def test_variables_survive_being_written_and_read(variables: dict[str, str]) -> None:
    image = env_image(variables)
    assert len(image) == 0x8000
    assert read_env(image) == variables
    assert find_env(image + b"what follows") == variables


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_read(data: bytes) -> None:
    with pytest.raises(UserError):
        find_env(data)
    try:
        read_env(struct.pack("<I", zlib.crc32(data)) + data)
    except UserError as error:
        assert "boot environment" in error.message


@given(st.integers(0, 0x8000 * 8 - 1))
def test_a_single_flipped_bit_is_found(bit: int) -> None:
    image = bytearray(env_image(VENDOR))
    image[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UserError, match="CRC"):
        read_env(bytes(image))


def test_too_many_variables_are_refused() -> None:
    full = env_image({"a": "x" * (0x8000 - 4 - 2 - 2)})
    assert len(full) == 0x8000
    assert full[-2:] == b"\0\0"
    with pytest.raises(UserError, match="32769 bytes"):
        env_image({"a": "x" * (0x8000 - 4 - 2 - 1)})


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("a=b", "x"), ("a", "x\0y"), ("a\0", "")])
def test_what_the_format_cannot_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match="cannot be a boot variable"):
        env_image({name: value})


@pytest.mark.parametrize(("name", "value"), [("#a", "x"), ("a", "x\ny"), ("a", "x\\")])
def test_what_the_text_cannot_hold_is_refused(name: str, value: str) -> None:
    assert read_env(env_image({name: value})) == {name: value}
    with pytest.raises(UserError, match="cannot be written as a line"):
        env_text({name: value})


def test_an_entry_without_a_value_is_refused() -> None:
    data = b"a=1\0nonsense\0\0".ljust(60, b"\0")
    with pytest.raises(UserError, match="nonsense"):
        read_env(struct.pack("<I", zlib.crc32(data)) + data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"RKFW" + bytes(40000), "update.img"),
        (bytes(40000), "all zero"),
        (bytes(512) + b"EFI PART" + bytes(40000), "GPT"),
        (bytes(510) + b"\x55\xaa" + bytes(40000), "MBR"),
        (env_image(VENDOR)[:20000], "truncated"),
    ],
)
def test_what_is_no_environment_is_named(data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_env(data)


def test_an_environment_without_a_layout_is_refused() -> None:
    with pytest.raises(UserError, match="no blkdevparts") as caught:
        layout_of({"mtdparts": "spi-nand0:256K(env)"}, "x.img")
    assert "SPI NAND" in caught.value.message


def test_the_tool_of_the_comparison_is_here() -> None:
    if shutil.which("mkenvimage") is None:
        card_images.absent("mkenvimage (u-boot-tools)")
