"""Bytes by package and by kind of file, from a folder, an archive and an image."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from pico_image.base.errors import UserError
from pico_image.card.filesystem import path_with_sbin
from pico_image.image import sizes as size_report

ELF = b"\x7fELF" + b"\0" * 996
FILES = {
    "bin/busybox": ELF,
    "usr/bin/neon-runner": ELF * 3,
    "usr/lib/libz.so.1.2.13": ELF,
    "oem/usr/ko/rknpu.ko": ELF,
    "usr/share/npu-models/net/fp32.tflite": b"m" * 5000,
    "usr/share/npu-models/net/images/cat.jpg": b"j" * 300,
    "usr/share/npu-models/net/labels.txt": b"cat\n",
    "etc/init.d/S95npu-bench": b"#!/bin/sh\n",
    "etc/passwd": b"root:x:0:0\n",
    "usr/share/other.bin": b"x" * 7,
}
KINDS = {
    "models": 5000,
    "programs": 4000,
    "libraries": 1000,
    "kernel modules": 1000,
    "pictures": 300,
    "settings": 11,
    "scripts": 10,
    "other": 7,
    "text": 4,
}


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "bin/sh").symlink_to("busybox")
    (root / "bin/hard").hardlink_to(root / "bin/busybox")
    return root


def test_a_folder_an_archive_and_an_image_agree(
    rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "rootfs.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, ".")
    places = [rootfs, archive]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # as of a user whose tools are in /usr/sbin
    if shutil.which("mke2fs", path=path_with_sbin()):
        (rootfs / "bin/hard").unlink()  # debugfs copies a file with two names twice
        image = tmp_path / "rootfs.img"
        command = ["mke2fs", "-q", "-t", "ext4", "-d", str(rootfs), str(image), "4M"]
        subprocess.run(command, check=True, env={"PATH": path_with_sbin()})
        places.append(image)
    for place in places:
        sizes = size_report.measure(place)
        assert dict(sizes.by_kind) == KINDS, place
        assert sizes.total == sum(KINDS.values())
        assert sizes.largest[0] == (5000, "usr/share/npu-models/net/fp32.tflite")
        assert list(sizes.by_package) == [size_report.UNKNOWN]


def test_packages(rootfs: Path, tmp_path: Path) -> None:
    owners = tmp_path / "packages-file-list.txt"
    owners.write_text(
        "skeleton,./bin/busybox\nbusybox,./bin/busybox\nneon-runner,./usr/bin/neon-runner\n"
        "npu-models,./usr/share/npu-models/net/fp32.tflite\n\n"
    )
    sizes = size_report.measure(rootfs, owners)
    assert sizes.by_package["neon-runner"] == 3000
    assert sizes.by_package["npu-models"] == 5000
    assert "skeleton" not in sizes.by_package
    assert sum(sizes.by_package.values()) == sizes.total
    text = size_report.table(sizes)
    assert "neon-runner" in text and size_report.UNOWNED in text
    assert sizes.as_json()["total"] == sizes.total


def test_the_difference_of_two_images(rootfs: Path) -> None:
    before = size_report.measure(rootfs)
    (rootfs / "usr/share/npu-models/net/fp32.tflite").unlink()
    (rootfs / "usr/bin/neon-runner").write_bytes(ELF)
    after = size_report.measure(rootfs)
    assert size_report.compare(before.by_kind, after.by_kind) == [
        ("models", 5000, 0),
        ("programs", 4000, 2000),
    ]
    text = size_report.difference(before, after)
    assert "(-0.01 MB)" in text and "models" in text and "pictures" not in text
    assert "no difference" in size_report.difference(after, after)


def test_what_is_no_root_file_system(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no root file system at"):
        size_report.measure(tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"x" * 4000)
    with pytest.raises(UserError, match="neither a folder"):
        size_report.measure(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no files"):
        size_report.measure(tmp_path / "empty")
    with pytest.raises(UserError, match="could not read"):
        size_report.measure(tmp_path, tmp_path / "no-list")
