"""Reading back: any image or folder, of this project or of other tools, whole or damaged."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import fit
from pico_image.card.blocks import Slice
from pico_image.card.compose import compose
from pico_image.card.contents import (
    _kernel_version,
    describe,
    describe_diff,
    diff_images,
    inspect_image,
)
from pico_image.card.env import env_image, env_text
from pico_image.card.filesystem import list_files, read_superblock
from pico_image.card.repack import extract
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables
from tests.support import card_images

STOCK = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
)
DDR = "DDR V1.10 ec2fae0c96 some.name 22/11/15-10:58:09"
SPL = "U-Boot SPL 2017.09-gf721bd0412-220330 #zzz (Mar 31 2022 - 09:34:07)"
UBOOT = "U-Boot 2017.09 (Nov 28 2026 - 21:52:29 +0000)"
Sample = tuple[dict[str, Path], PartitionTable, Path]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("inspect")
    parts, table = card_images.make_parts(folder / "parts")
    make_fit(parts["boot"])
    make_uboot(parts["uboot"])
    # Both lines as Rockchip's programs of 2022 have them.
    lines = f"\0{DDR}\n\0", f"\0\n{SPL}\n\0%s unsupport rate\n\0"
    head = b"RKNS" + os.urandom(500) + lines[0].encode() + os.urandom(500) + lines[1].encode()
    parts["idblock"].write_bytes(head + os.urandom(100_000))
    image = folder / "sdcard.img"
    compose(Console(), parts, table, image)
    return parts, table, image


def make_fit(path: Path, external: bool = False) -> None:
    """A FIT with a kernel that says its version, packed as U-Boot would get it."""
    tool = card_images.tool("mkimage", "u-boot-tools")
    folder = path.with_suffix(".fit")
    folder.mkdir(exist_ok=True)
    banner = b"Linux version 5.10.160 (builder@host) (gcc 8.3.0) #1\0"
    (folder / "kernel").write_bytes(os.urandom(5000) + gzip.compress(banner + os.urandom(9000)))
    (folder / "fdt").write_bytes(os.urandom(777))
    (folder / "image.its").write_text(
        """/dts-v1/; / { description = "test FIT"; #address-cells = <1>;
        images {
          kernel { data = /incbin/("kernel"); type = "kernel"; arch = "arm"; os = "linux";
                   compression = "none"; load = <0x8000>; entry = <0x8000>;
                   hash { algo = "sha256"; }; };
          fdt { description = "a tree"; data = /incbin/("fdt"); type = "flat_dt"; arch = "arm";
                compression = "none"; hash { algo = "crc32"; }; }; };
        configurations { default = "conf"; conf { kernel = "kernel"; fdt = "fdt"; }; }; };
        """,
        encoding="utf-8",
    )
    command = [tool, "-f", "image.its", *(["-E"] if external else []), str(path.resolve())]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def make_uboot(path: Path) -> None:
    """A FIT with U-Boot packed as the SDK's make.sh packs it: its version is in no plain byte."""
    tool = card_images.tool("mkimage", "u-boot-tools")
    folder = path.with_suffix(".fit")
    folder.mkdir(exist_ok=True)
    program = os.urandom(3000) + f"\0{UBOOT}\n\0".encode() + os.urandom(3000)
    (folder / "u-boot").write_bytes(lzma.compress(program, lzma.FORMAT_ALONE))
    (folder / "uboot.its").write_text(
        """/dts-v1/; / { description = "FIT Image with U-Boot"; #address-cells = <1>;
        images { uboot { description = "U-Boot"; data = /incbin/("u-boot"); type = "standalone";
                         arch = "arm"; os = "U-Boot"; compression = "lzma"; load = <0x200000>;
                         hash { algo = "sha256"; }; }; };
        configurations { default = "conf"; conf { loadables = "uboot"; }; }; };
        """,
        encoding="utf-8",
    )
    command = [tool, "-f", "uboot.its", "-E", str(path.resolve())]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.mark.external
def test_rockchips_own_loader_is_read(tmp_path: Path) -> None:
    """With a fork of the SDK: the idblock that its own program makes of its own files."""
    fork = os.environ.get("SDK_FORK_DIR")
    if not fork:
        pytest.skip("SDK_FORK_DIR names no fork of the vendor's SDK")
    rkbin = tmp_path / "rkbin"
    for name in ("RKBOOT", "bin/rv11", "tools"):
        shutil.copytree(Path(fork) / "sysdrv/source/uboot/rkbin" / name, rkbin / name)
    command = ["tools/boot_merger", "RKBOOT/RV1106MINIALL.ini"]
    subprocess.run(command, cwd=rkbin, check=True, capture_output=True)
    (loader,) = rkbin.glob("*_idblock_*.img")
    parts = tmp_path / "parts"
    parts.mkdir()
    shutil.copy(loader, parts / "idblock.img")
    (parts / "env.img").write_bytes(env_image({"blkdevparts": STOCK}))
    versions = inspect_image(parts)["versions"]
    assert re.fullmatch(r"DDR V1\.\d\d .* \d\d/\d\d/\d\d-\d\d:\d\d:\d\d", versions["ddr"])
    assert re.fullmatch(r"U-Boot SPL 2017\.09.* - \d\d:\d\d:\d\d\)", versions["spl"])


@pytest.mark.parametrize("packed", ["plain", "gzip", "xz"])
def test_the_kernels_version_is_found_behind_a_false_start(packed: str) -> None:
    banner = os.urandom(3000) + b"Linux version 6.1.0-50-armmp (x@y) #1 SMP\0" + os.urandom(3000)
    if packed != "plain":
        banner = gzip.compress(banner) if packed == "gzip" else lzma.compress(banner)
    false_starts = b"\x1f\x8b\x08 code \xfd7zXZ\0 code"
    assert _kernel_version(false_starts + banner + bytes(9)) == "6.1.0-50-armmp"
    assert _kernel_version(false_starts) is None


def part(report: dict[str, Any], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = next(item for item in report["partitions"] if item["name"] == name)
    return entry


def test_our_image_is_read_back(sample: Sample) -> None:
    parts, table, image = sample
    report = inspect_image(image, files=True)
    assert report["kind"] == "image"
    assert report["problems"] == []
    assert report["layout"] == str(table) == card_images.LAYOUT
    assert (report["cma"], report["root"]) == ("24M", "/dev/mmcblk0p7")
    assert [item["offset"] for item in report["partitions"]] == [part.offset for part in table]
    root = part(report, "rootfs")["content"]
    assert (root["kind"], root["size"], root["label"]) == ("ext4", 9 << 20, "rootfs")
    assert any(line.endswith(" /usr/bin/npu-bench") for line in root["files"])
    boot = part(report, "boot")["content"]
    assert boot["size"] == parts["boot"].stat().st_size
    assert [entry["name"] for entry in boot["images"]] == ["kernel", "fdt"]
    assert [entry["hashes"] for entry in boot["images"]] == [{"sha256": "good"}, {"crc32": "good"}]
    assert part(report, "idblock")["content"]["kind"] == "rockchip loader"
    assert report["versions"] == {
        "ddr": DDR,
        "spl": SPL,
        "u-boot": UBOOT,
        "kernel": "5.10.160",
        "image variant": "test",
        "image version": "0.1",
        "image commit": "abc",
        "image backend": "emulator",
    }
    json.dumps(report)
    text = describe(report)
    assert "839680" not in text
    assert "rk_dma_heap_cma=24M" in text
    assert "test FIT" in text


@pytest.mark.parametrize("name", ["with space", 'quo"te', "que?stion"])
def test_versions_are_found_whatever_the_temporary_folder_is_called(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Variant and version were lost without a word where TMPDIR had a space."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    image = folder / "sdcard.img"
    os.link(sample[2], image)
    report = inspect_image(image, files=True)
    assert report["versions"]["image variant"] == "test"
    names = part(report, "rootfs")["content"]["files"]
    assert any(line.endswith(" /etc/hostname") for line in names)
    extract(Console(), image, folder / "out", files=True)
    assert (folder / "out/rootfs/etc/hostname").read_text() == "pico\n"
    assert diff_images(Console(), image, folder / "out")["same"]


def test_the_superblock_is_what_dumpe2fs_says(sample: Sample) -> None:
    parts, _, _ = sample
    block = read_superblock(Slice(parts["rootfs"]))
    assert block is not None
    done = subprocess.run(
        [card_images.tool("dumpe2fs", "e2fsprogs"), "-h", parts["rootfs"]],
        capture_output=True,
        text=True,
        check=True,
    )
    stated = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    stated = {key: value.strip() for key, value in stated.items()}
    assert block.blocks == int(stated["Block count"])
    assert block.free_blocks == int(stated["Free blocks"])
    assert block.block_size == int(stated["Block size"])
    assert block.free_inodes == int(stated["Free inodes"])
    assert block.uuid == stated["Filesystem UUID"]
    assert block.state == stated["Filesystem state"]
    assert block.label == stated["Filesystem volume name"]


@pytest.mark.parametrize("external", [False, True])
def test_a_fit_is_what_fdtget_says(tmp_path: Path, external: bool) -> None:
    path = tmp_path / "boot.img"
    make_fit(path, external)
    tool = card_images.tool("fdtget", "device-tree-compiler")
    tree = fit.read_tree(path.read_bytes())
    boot = fit.read(Slice(path))
    assert boot is not None
    names = subprocess.run(
        [tool, "-l", path, "/images"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert list(tree.children["images"].children) == names
    for name in names:
        for key in ("type", "arch", "compression"):
            stated = subprocess.run(
                [tool, path, f"/images/{name}", key], capture_output=True, text=True, check=True
            ).stdout.strip()
            assert tree.children["images"].children[name].text(key) == stated
        expected = (path.with_suffix(".fit") / name).read_bytes()
        assert boot.content(name) == expected
    assert boot.problems == ()
    assert boot.size == path.stat().st_size - path.stat().st_size % 4 or external
    broken = bytearray(path.read_bytes())
    at = broken.index((path.with_suffix(".fit") / "fdt").read_bytes())
    broken[at + 5] ^= 1
    path.write_bytes(broken)
    boot = fit.read(Slice(path))
    assert boot is not None
    assert boot.problems == ("fdt: its crc32 is wrong",)
    with pytest.raises(UserError, match="fdt in the FIT"):
        boot.content("fdt")


@given(st.binary(max_size=400), st.integers(0, 3))
def test_arbitrary_bytes_are_no_fit_or_a_clear_error(data: bytes, form: int) -> None:
    head = b"\xd0\x0d\xfe\xed" + (40 + len(data)).to_bytes(4, "big") + (40).to_bytes(4, "big")
    tree = head + (40 + len(data) // 2).to_bytes(4, "big") + bytes(24) + data
    try:
        fit.read_tree(tree if form else data)
    except UserError as error:
        assert "FIT" in error.message


def test_the_vendors_layout_composed_by_genimage(tmp_path: Path) -> None:
    """An image by other means: genimage, with the offsets that are known from real cards."""
    tool = card_images.tool("genimage", "genimage")
    folder = tmp_path / "in"
    table = PartitionTable.parse(STOCK)
    folder.mkdir()
    (folder / "env.img").write_bytes(env_image(boot_variables(table, cma_mib=24)))
    (folder / "idblock.img").write_bytes(b"RKNS" + os.urandom(188_412))
    (folder / "uboot.img").write_bytes(os.urandom(262_144))
    make_fit(folder / "boot.img", external=True)
    card_images.ext4(folder / "oem.img", 5 << 20, {"usr/ko/rknpu.ko": b"\0vermagic=5.10.160 mod\0"})
    card_images.ext4(folder / "userdata.img", 2 << 20, {})
    system = b'NAME=Buildroot\nPRETTY_NAME="Buildroot 2023.02.6"\n'
    card_images.ext4(folder / "rootfs.img", 6 << 20, {"etc/os-release": system})
    offsets = {"env": 0, "idblock": 32768, "uboot": 557056, "boot": 819200}
    offsets |= {"oem": 34373632, "userdata": 571244544, "rootfs": 839680000}
    blocks = "".join(
        f"partition {name} {{ in-partition-table = false\n offset = {offset}\n"
        f' image = "{name}.img" }}\n'
        for name, offset in offsets.items()
    )
    config = tmp_path / "genimage.cfg"
    config.write_text(
        f'image sdcard.img {{ hdimage {{ partition-table-type = "none" }}\n{blocks} }}',
        encoding="utf-8",
    )
    (tmp_path / "root").mkdir()
    paths = [f"--{key}path={tmp_path / key}" for key in ("tmp", "root")]
    command = [tool, f"--config={config}", f"--inputpath={folder}", *paths]
    done = subprocess.run(
        [*command, f"--outputpath={tmp_path / 'out'}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    image = tmp_path / "out" / "sdcard.img"

    report = inspect_image(image, files=True)
    assert report["problems"] == []
    assert {item["name"]: item["offset"] for item in report["partitions"]} == offsets
    assert report["versions"]["kernel"] == "5.10.160"
    assert report["versions"]["rootfs"] == "Buildroot 2023.02.6"
    assert report["versions"]["rknpu.ko for kernel"] == "5.10.160"
    assert part(report, "boot")["content"]["images"][0]["hashes"] == {"sha256": "good"}

    same = diff_images(Console(), image, folder)
    assert same["same"], describe_diff(same)
    ours = tmp_path / "ours.img"
    compose(Console(), {name: folder / f"{name}.img" for name in offsets}, table, ours)
    assert diff_images(Console(), image, ours)["same"]


def test_a_folder_is_read_like_an_image(sample: Sample) -> None:
    parts, _, image = sample
    folder = inspect_image(parts["env"].parent)
    assert folder["kind"] == "folder"
    assert folder["problems"] == []
    whole = inspect_image(image)
    assert folder["versions"] == whole["versions"]
    kinds = [item["content"]["kind"] for item in whole["partitions"]]
    assert [item["content"]["kind"] for item in folder["partitions"]] == kinds


def copy_parts(sample: Sample, folder: Path) -> Path:
    shutil.copytree(sample[0]["env"].parent, folder, ignore=shutil.ignore_patterns("*.fit"))
    return folder


def test_the_env_text_of_the_vendor_may_be_cut_short(sample: Sample, tmp_path: Path) -> None:
    """The vendor's build.sh truncates .env.txt on every call; env.img is the truth."""
    folder = copy_parts(sample, tmp_path / "parts")
    (folder / ".env.txt").write_text(f"blkdevparts={sample[1]}\n", encoding="utf-8")
    report = inspect_image(folder)
    assert report["cma"] == "24M"
    assert [text for text in report["problems"] if ".env.txt" in text]
    (folder / "env.img").unlink()
    report = inspect_image(folder)
    assert report["cma"] is None
    assert "there is no env.img; the layout is taken from .env.txt" in report["problems"]
    (folder / ".env.txt").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"\.env\.txt:1: 'nonsense'"):
        inspect_image(folder)
    (folder / ".env.txt").unlink()
    with pytest.raises(UserError, match=r"neither env\.img nor"):
        inspect_image(folder)


def test_damage_is_reported(sample: Sample, tmp_path: Path) -> None:
    parts, table, image = sample
    data = bytearray(image.read_bytes())
    kernel = parts["boot"].with_suffix(".fit") / "kernel"
    data[data.index(kernel.read_bytes()[:64])] ^= 4
    copy = tmp_path / "copy.img"
    copy.write_bytes(data)
    assert inspect_image(copy)["problems"] == ["boot: kernel: its sha256 is wrong"]
    copy.write_bytes(data[: table["rootfs"].offset + (5 << 20)])
    assert "cut short" in inspect_image(copy)["problems"][1]
    data[9] ^= 1
    copy.write_bytes(data)
    with pytest.raises(UserError, match="CRC is wrong"):
        inspect_image(copy)
    report = inspect_image(copy, layout=card_images.LAYOUT)
    assert part(report, "rootfs")["content"]["kind"] == "ext4"
    assert any("CRC" in text for text in report["problems"])
    copy.write_bytes(env_image({"a": "b"}))
    with pytest.raises(UserError, match="no blkdevparts"):
        inspect_image(copy)
    with pytest.raises(UserError, match="cannot read"):
        inspect_image(tmp_path / "none")


def test_an_image_is_taken_apart_and_composed_again(sample: Sample, tmp_path: Path) -> None:
    parts, table, image = sample
    folder = tmp_path / "apart"
    extract(Console(), image, folder, files=True)
    for name, path in parts.items():
        expected = path.read_bytes()
        assert (folder / f"{name}.img").read_bytes()[: len(expected)] == expected
    assert (folder / ".env.txt").read_text(encoding="utf-8") == env_text(
        boot_variables(table, cma_mib=24)
    )
    assert (folder / "rootfs" / "etc" / "hostname").read_text(encoding="utf-8") == "pico\n"
    again = tmp_path / "again.img"
    compose(Console(), {name: folder / f"{name}.img" for name in parts}, table, again)
    assert again.read_bytes() == image.read_bytes()
    with pytest.raises(UserError, match="not an empty folder"):
        extract(Console(), image, folder)


def test_a_difference_is_named_down_to_the_file(sample: Sample, tmp_path: Path) -> None:
    _, table, image = sample
    folder = copy_parts(sample, tmp_path / "parts")
    script = "rm /etc/hostname\nmkdir /srv\nwrite {0} /srv/new\nrm /usr/bin/npu-bench\n"
    script += "write {0} /usr/bin/npu-bench\n"
    new = tmp_path / "new"
    new.write_text("new\n", encoding="utf-8")
    subprocess.run(
        [card_images.tool("debugfs", "e2fsprogs"), "-w", "-f", "-", folder / "rootfs.img"],
        input=script.format(new),
        text=True,
        check=True,
        capture_output=True,
    )
    other = table.resized({"oem": "5M"})
    (folder / "env.img").write_bytes(env_image(boot_variables(other, cma_mib=8)))
    report = diff_images(Console(), image, folder)
    assert not report["same"]
    assert set(report["environment"]) == {"blkdevparts", "sys_bootargs"}
    assert report["partitions"]["oem"] == {"slot": (4 << 20, 5 << 20)}
    assert set(report["partitions"]) == {"env", "oem", "userdata", "rootfs"}
    assert report["partitions"]["rootfs"]["files"] == {
        "added": ["/srv", "/srv/new"],
        "removed": ["/etc/hostname"],
        "changed": ["/usr/bin/npu-bench"],
    }
    assert "removed /etc/hostname" in describe_diff(report)


def rootfs_with(sample: Sample, folder: Path, script: str) -> dict[str, Any]:
    """The report on a copy of the sample's parts after ``script``, commands of debugfs."""
    copy_parts(sample, folder)
    (folder / "file").write_text("#!/bin/sh\n", encoding="utf-8")
    subprocess.run(
        [card_images.tool("debugfs", "e2fsprogs"), "-w", "-f", "-", folder / "rootfs.img"],
        input=script.format(file=folder / "file"), text=True, check=True, capture_output=True,
    )  # fmt: skip
    return inspect_image(folder)


def test_what_an_image_may_not_have_is_told(sample: Sample, tmp_path: Path) -> None:
    assert inspect_image(sample[2])["not_allowed"] == []
    script = "mkdir /etc/init.d\nwrite {file} /etc/init.d/S60mine\nsif /etc/hostname uid 1005\n"
    script += "symlink /usr/bin/telnetd /bin/busybox\nsif /usr/bin/npu-bench mode 0104755\n"
    report = rootfs_with(sample, tmp_path / "parts", script)
    text = describe(report)
    for expected in (
        "/etc/init.d/S60mine: an init script that is not allowed",
        "/usr/bin/telnetd: telnetd may not be in an image",
        "/etc/hostname belong to 1005:0",
        "/usr/bin/npu-bench runs with the rights of 0:0 (mode 4755), allowed is none",
    ):
        assert f"not allowed: {expected}" in text
    assert report["problems"] == [] and len(report["not_allowed"]) == 4


def test_what_its_variant_allowed_is_in_the_image(sample: Sample, tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.write_text('BACKEND=luckfox-sdk\nALLOWED="init S60mine; service mined tcp/9 any"\n')
    script = (
        "mkdir /etc/init.d\nwrite {file} /etc/init.d/S60mine\nwrite {file} /etc/init.d/S50dropbear"
    )
    script += f"\nrm /etc/pico-image-release\nwrite {release} /etc/pico-image-release\n"
    report = rootfs_with(sample, tmp_path / "parts", script)
    assert report["not_allowed"] == ["/etc/init.d/S50dropbear: an init script that is not allowed"]
    assert report["versions"]["image allowed"] == "init S60mine; service mined tcp/9 any"


def test_an_image_of_somebody_else_is_not_compared(sample: Sample, tmp_path: Path) -> None:
    script = "rm /etc/pico-image-release\nmkdir /etc/init.d\nwrite {file} /etc/init.d/S50telnet\n"
    assert rootfs_with(sample, tmp_path / "parts", script)["not_allowed"] is None


def test_the_module_of_the_root_file_system_tells_its_kernel(
    sample: Sample, tmp_path: Path
) -> None:
    module = tmp_path / "rknpu.ko"
    module.write_bytes(b"\0vermagic=5.10.160 mod_unload\0")
    script = "mkdir /lib\nmkdir /lib/modules\nmkdir /lib/modules/5.10.160\n"
    script += f"write {module} /lib/modules/5.10.160/rknpu.ko\n"
    report = rootfs_with(sample, tmp_path / "parts", script)
    assert report["versions"]["rknpu.ko for kernel"] == "5.10.160"


def test_names_with_blanks_are_listed(tmp_path: Path) -> None:
    image = card_images.ext4(tmp_path / "x.img", 2 << 20, {"a folder/a file": b"12345"})
    sizes = {entry.path: entry.size for entry in list_files(Slice(image))}
    assert sizes["/a folder/a file"] == 5
