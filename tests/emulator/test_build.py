"""The emulator's image as files: parts, layout, owners, repeatability, what happens on errors."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.card import filesystem, fit
from pico_image.card.blocks import Slice
from pico_image.card.env import read_env
from pico_image.card.filesystem import path_with_sbin
from pico_image.card.parts import PARTS
from pico_image.card.verify import read_sums
from pico_image.config.partitions import PartitionTable
from pico_image.config.schema import Board
from pico_image.emulator import bootloader
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import boot
from tests.support import other_user
from tests.support.emulated import Kit
from tests.support.model_cards import card

MIB = 1 << 20


def debugfs(image: Path, command: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", command, str(image)],
        env={"PATH": path_with_sbin()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def names_in(image: Path, folder: str) -> list[str]:
    paths = [PurePosixPath(entry.path) for entry in filesystem.list_files(Slice(image))]
    return [path.name for path in paths if str(path.parent) == folder]


def stamps(images: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in images.iterdir()}


def model(folder: Path, text: str = "tabby\n") -> dict[str, Path]:
    """A folder like those that models.convert makes, filled with what matters here: bytes."""
    folder.mkdir(exist_ok=True)
    (folder / "labels.txt").write_text(text)
    (folder / "int8.tflite").write_bytes(b"weights" * 1000)
    (folder / "report.json").write_text("{}")
    (folder / "model.json").write_text(json.dumps(card(name="toy").plain()))
    return {"toy": folder}


def test_every_part_is_there_at_its_offset_in_the_card(kit: Kit, images: Path) -> None:
    table = PartitionTable.parse(kit.config.board("emulator").partitions)
    card = (images / "sdcard.img").read_bytes()
    for name in PARTS:
        part = (images / f"{name}.img").read_bytes()
        offset = table[name].offset
        if name in ("oem", "userdata", "rootfs"):  # free blocks are not copied
            assert card[offset + 1024 : offset + 2048] == part[1024:2048]
        else:
            assert card[offset : offset + len(part)] == part
    assert bootloader.read_card(images / "sdcard.img").table.parts == table.parts


def test_env_hands_the_kernel_layout_and_root(images: Path) -> None:
    variables = read_env((images / "env.img").read_bytes())
    assert variables["blkdevparts"].startswith("mmcblk0:32K(env),512K@32K(idblock),")
    assert " root=/dev/mmcblk0p7 rootfstype=ext4" in variables["sys_bootargs"]
    assert (images / "env.img").stat().st_size == 0x8000
    assert f"blkdevparts={variables['blkdevparts']}\n" in (images / ".env.txt").read_text()


def test_the_slots_of_the_boot_loaders_say_what_they_are(images: Path) -> None:
    for name in ("idblock", "uboot"):
        text = (images / f"{name}.img").read_bytes().rstrip(b"\0").decode("ascii")
        assert text.startswith("This is not a boot loader.") and f"`{name}`" in text


def test_boot_is_a_fit_whose_content_is_checked(kit: Kit, images: Path, tmp_path: Path) -> None:
    def read(data: bytes, name: str) -> bytes:
        (tmp_path / "boot.img").write_bytes(data)
        boot = fit.read(Slice(tmp_path / "boot.img"))
        assert boot is not None
        return boot.content(name)

    good = (images / "boot.img").read_bytes()
    kernel = (kit.materials["kernel"] / "zImage").read_bytes()
    assert read(good, "kernel") == kernel
    assert read(good, "ramdisk") == (kit.materials["initramfs"] / "initramfs.cpio.gz").read_bytes()
    with pytest.raises(UserError, match="cut short"):
        read(good[:100_000], "kernel")
    with pytest.raises(UserError, match="it has no fdt"):
        read(good, "fdt")
    at = good.index(kernel) + 5000
    with pytest.raises(UserError, match="kernel .* does not have the hash"):
        read(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], "kernel")


def test_the_root_file_system_is_small(images: Path) -> None:
    # 12,361,728 bytes, of which npu-doctor has 470,000.
    assert (images / "rootfs.img").stat().st_size <= 12_500_000


def test_everything_belongs_to_root_and_nobody_has_a_password(kit: Kit, images: Path) -> None:
    rootfs = images / "rootfs.img"
    for folder in ("/", "/etc", "/etc/init.d", "/bin", "/usr/bin", "/usr/share/npu-models"):
        rows = [row for row in debugfs(rootfs, f"ls -p {folder}").splitlines() if row[:1] == "/"]
        assert rows
        for row in rows:
            assert row.split("/")[3:5] == ["0", "0"], row
    modes = debugfs(rootfs, "stat /etc/shadow")
    assert "Mode:  0600" in modes
    for line in filesystem.read_file(Slice(rootfs), "/etc/shadow").decode().splitlines():
        name, secret = line.split(":")[:2]
        assert secret == "*", f"{name} can log in with a password"
    for line in filesystem.read_file(Slice(rootfs), "/etc/passwd").decode().splitlines():
        assert line.split(":")[1] == "x"
    for script in names_in(rootfs, "/etc/init.d"):
        assert "Mode:  0755" in debugfs(rootfs, f"stat /etc/init.d/{script}")


def test_release_and_settings_follow_the_variant(kit: Kit, images: Path) -> None:
    def read(path: str) -> str:
        return filesystem.read_file(Slice(images / "rootfs.img"), path).decode()

    release = dict(line.split("=", 1) for line in read("/etc/pico-image-release").splitlines())
    assert set(release) == {"VARIANT", "VERSION", "COMMIT", "BACKEND", "BUILD_DATE"}
    assert (release["VARIANT"], release["BACKEND"]) == ("emulator-test", "emulator")
    assert read("/etc/hostname") == "pico-test\n"
    assert "AT_BOOT=no\n" in read("/etc/npu-bench.conf")
    assert "ttyAMA0::respawn:-/bin/sh" in read("/etc/inittab")


def test_sums_and_build_info_are_those_of_the_files(images: Path) -> None:
    sums = read_sums(images / "SHA256SUMS")
    assert {f"{name}.img" for name in PARTS} | {"sdcard.img"} <= set(sums)
    for name, value in sums.items():
        assert sha256_file(images / name) == value, name
    info = json.loads((images / "build-info.json").read_text())
    assert info["parts"]["rootfs"]["sha256"] == sums["rootfs.img"]


def test_nothing_changed_nothing_made(kit: Kit, images: Path) -> None:
    before = stamps(images)
    assert kit.build() == images
    assert stamps(images) == before


def test_a_changed_label_makes_only_rootfs_anew(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    images = kit.build(model(tmp_path / "toy"))
    before = stamps(images)
    kit.build(model(tmp_path / "toy", "tiger cat\n"))
    changed = {name for name, stamp in stamps(images).items() if before[name] != stamp}
    assert changed == {
        *("rootfs.img", "sdcard.img", "sdcard.img.bmap", "sdcard.img.zst", "SHA256SUMS"),
        *("build-info.json", "sbom.cdx.json", "README.txt"),
    }
    rootfs = images / "rootfs.img"
    folder = "/usr/share/npu-models/toy"
    assert filesystem.read_file(Slice(rootfs), f"{folder}/labels.txt") == b"tiger cat\n"
    assert names_in(rootfs, folder) == ["int8.tflite", "labels.txt", "model.json"]


def test_a_part_changed_by_hand_is_made_again(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    images = kit.build()
    good = sha256_file(images / "sdcard.img")
    (images / "userdata.img").write_bytes(b"something else")
    (images / ".rootfs.killed").mkdir()  # what a killed build leaves
    kit.build()
    assert sha256_file(images / "sdcard.img") == good
    assert not (images / ".rootfs.killed").exists()


def test_two_builds_in_different_folders_are_identical(
    kit: Kit, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "some" / "where else"))
    other = kit.build()
    assert other != images
    for name in [*(f"{part}.img" for part in PARTS), "sdcard.img", "SHA256SUMS"]:
        assert sha256_file(other / name) == sha256_file(images / name), name


def test_a_full_disk_is_told_and_the_next_build_is_right(
    kit: Kit, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(small))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(small)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        # While copying, making rootfs, making boot, composing.
        for size in ("4m", "12m", "20m", "30m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(small)], check=True)
            with pytest.raises(UserError, match="[Nn]o space left"):
                kit.build()
        subprocess.run(["mount", "-o", "remount,size=300m", str(small)], check=True)
        built = kit.build()
        assert sha256_file(built / "sdcard.img") == sha256_file(images / "sdcard.img")
        left = {path.name for path in built.glob(".*")}
        assert left == {".env.txt"}
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_ordinary_user_builds_the_same_bytes(kit: Kit, images: Path, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pico-other-user-", dir="/tmp"))
    try:
        folder.chmod(0o777)
        stage = folder / "base"
        for name, path in kit.materials.items():
            shutil.copytree(path, stage / name)
        os.chmod(stage, 0o755)
        done = subprocess.run(
            [
                *other_user.words(),
                sys.executable,
                "-c",
                OTHER_BUILD,
                str(stage),
                kit.variant.model_dump_json(),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PICO_OUTPUT_DIR": str(folder / "out"),
                "PICO_CACHE_DIR": str(folder / "cache"),
                "HOME": str(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            umask=0o077,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        other = folder / "out" / kit.variant.name / "images"
        for part in PARTS:
            assert sha256_file(other / f"{part}.img") == sha256_file(images / f"{part}.img"), part
        assert sha256_file(other / "sdcard.img") == sha256_file(images / "sdcard.img")
    finally:
        shutil.rmtree(folder)


OTHER_BUILD = """
import sys
from pathlib import Path
from pico_image.base import project
from pico_image.base.console import Console
from pico_image.config import configuration
from pico_image.config.schema import Variant
from tests.support.emulated import REVISION, Kit
project.revision = lambda root: REVISION
materials = {path.name: path for path in Path(sys.argv[1]).iterdir()}
variant = Variant.model_validate_json(sys.argv[2])
Kit(Console(), configuration.load(), materials, variant).build()
"""


def test_source_date_epoch_is_the_time_of_every_file(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    images = kit.build()
    assert "mtime: 0x6553f100" in debugfs(images / "rootfs.img", "stat /bin/busybox")
    release = filesystem.read_file(Slice(images / "rootfs.img"), "/etc/pico-image-release")
    assert b"BUILD_DATE=2023-11-14T22:13:20Z" in release


def _resized(board: Board, **sizes: str) -> str:
    return str(PartitionTable.parse(board.partitions).resized(sizes))


def test_too_small_a_slot_is_told_with_sizes_and_keeps_the_earlier_image(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    images = kit.build()
    good = sha256_file(images / "sdcard.img")
    layout = _resized(kit.config.board("emulator"), rootfs="4M")
    with pytest.raises(UserError, match=r"rootfs needs about .* has 4\.0 MiB"):
        kit.build(partitions=layout)
    assert sha256_file(images / "sdcard.img") == good
    layout = _resized(kit.config.board("emulator"), boot="4M")
    with pytest.raises(UserError, match=r"boot\.img has .* its partition 4\.0 MiB"):
        kit.build(partitions=layout)
    assert sha256_file(images / "sdcard.img") == good
    kit.build()
    assert sha256_file(images / "sdcard.img") == good


def test_a_layout_without_a_part_is_refused_by_name(kit: Kit) -> None:
    with pytest.raises(UserError, match="no partition 'userdata'"):
        kit.build(partitions="32K(env),512K@32K(idblock),256K(uboot),32M(boot),16M(oem),1G(rootfs)")


def test_a_package_without_a_program_is_refused_by_name(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    with pytest.raises(UserError, match="package no-such-runner has no program"):
        kit.build(packages=["no-such-runner"])


HOLDER = """
import sys
from pathlib import Path, PurePosixPath
from pico_image.base.files import locked
with locked(Path(sys.argv[1]), "the test"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Release(io.StringIO):
    """A console's stream that lets the holder of a lock go once the build says that it waits."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        super().__init__()
        self.holder = holder
        self.held_then = False

    def write(self, text: str) -> int:
        if f"process {self.holder.pid}" in text and not self.held_then:
            self.held_then = self.holder.poll() is None
            assert self.holder.stdin is not None
            self.holder.stdin.close()
        return super().write(text)


def test_a_second_build_waits_and_says_for_whom(kit: Kit, images: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(images.parent / ".lock")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        said = Release(holder)
        replace(kit, console=Console(stream=said)).build()  # never ends if it says nothing
        assert said.held_then
        assert holder.wait() == 0


def test_only_an_image_with_a_layout_can_be_booted(images: Path, tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(bytes(1 << 20))
    with pytest.raises(UserError, match="cannot be booted"):
        working_copy(tmp_path / "x.img", tmp_path)
    with pytest.raises(UserError, match="cannot be booted"):
        working_copy(tmp_path / "missing.img", tmp_path)
    cut = (images / "sdcard.img").read_bytes()[: 2 * MIB]
    (tmp_path / "cut.img").write_bytes(cut)
    card = working_copy(tmp_path / "cut.img", tmp_path)
    with (
        pytest.raises(UserError, match="boot image"),
        boot(Console(), card),
    ):
        pytest.fail("a card with half a kernel was booted")
