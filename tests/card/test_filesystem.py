"""ext4 images made without root: owners, permissions, size, the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import filesystem
from pico_image.card.blocks import Slice
from pico_image.card.filesystem import Entry, path_with_sbin

EPOCH = 1_700_000_000
SLOT = 64 << 20


def tree(folder: Path, names: list[str], umask: int = 0o022) -> Path:
    """A folder with those files, a program and a link, made in the given order."""
    before = os.umask(umask)
    folder.mkdir(parents=True)
    try:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * 500)
        (folder / "run").write_text("#!/bin/sh\n")
        (folder / "run").chmod(0o700)
        (folder / "link").symlink_to("run")
    finally:
        os.umask(before)
    return folder


def make(folder: Path, image: Path, slot_size: int = SLOT, *entries: Entry) -> Path:
    volume = filesystem.Volume("rootfs", slot_size)
    known = {entry.path: entry for entry in entries}
    filesystem.make(Console(), folder, image, volume, EPOCH, known)
    return image


def debugfs(image: Path, command: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", command, str(image)],
        env={"PATH": path_with_sbin()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


NAMES = [f"d{number % 5}/with space {number}" for number in range(60)]


def test_same_bytes_whatever_the_order_time_umask_and_folder(tmp_path: Path) -> None:
    one = make(tree(tmp_path / "a", NAMES), tmp_path / "one.img")
    time.sleep(1.1)  # the resolution of ext4's superblock times
    other = tree(tmp_path / "deeper" / "b", NAMES[::-1], umask=0o077)
    two = make(other, tmp_path / "two.img")
    assert one.read_bytes() == two.read_bytes()


def test_labels_of_the_build_machine_stay_there(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a", NAMES)
    plain = make(folder, tmp_path / "plain.img")
    try:
        for path in (folder, folder / "run"):
            os.setxattr(path, "user.label", b"object_r:user_tmp_t")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error.strerror}")
    assert make(folder, tmp_path / "labelled.img").read_bytes() == plain.read_bytes()


def test_owned_by_root_with_usual_permissions(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a", ["etc/shadow", "etc/passwd"], umask=0o077)
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.lchown(path, 1000, 1000)
    image = make(folder, tmp_path / "i.img", SLOT, Entry("/etc/shadow", 0o600))
    seen = {}
    for place in ("/", "/etc"):
        for line in debugfs(image, f"ls -p {place}").splitlines():
            if line.startswith("/"):
                _, _, mode, uid, gid, name, _, _ = line.split("/")
                assert (uid, gid) == ("0", "0"), line
                seen[name] = mode
    assert seen["etc"] == "040755"
    assert seen["passwd"] == "100644"
    assert seen["shadow"] == "100600"
    assert seen["run"] == "100755"
    assert seen["link"] == "120777"
    assert "ctime: 0x6553f100:00000000" in debugfs(image, "stat /etc/passwd")


def test_an_image_is_as_small_as_its_content(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a", ["data"])
    assert make(folder, tmp_path / "least.img").stat().st_size == 9 << 20
    (folder / "data").write_bytes(os.urandom(20 << 20))
    os.link(folder / "data", folder / "the same")
    assert (21 << 20) < make(folder, tmp_path / "small.img").stat().st_size < (24 << 20)


def report(image: Path) -> dict[str, str]:
    """What dumpe2fs tells of an image, by the words before the first colon."""
    text = subprocess.run(
        ["dumpe2fs", str(image)],
        env={"PATH": path_with_sbin()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, str] = {}
    for line in text.splitlines():
        words, _, value = line.replace(" at ", ":", 1).partition(":")
        found.setdefault(words.strip(), value.strip())  # of the first group
    return found


@pytest.mark.parametrize(
    ("slot", "grown", "limit"),
    [
        (512 << 20, [512 << 20], 9 << 30),
        (1 << 30, [1 << 30, 64_000_000_000], 2 << 40),
        (6 << 30, [6 << 30, 64_000_000_000, 512_000_000_000], 2 << 40),
    ],
)  # fmt: skip
def test_an_image_grows_to_its_slot_and_to_large_cards(
    tmp_path: Path, slot: int, grown: list[int], limit: int
) -> None:
    """A mounted file system grows as far as the blocks reach that are reserved for descriptors.

    resize2fs of a file moves what is in its way, which the board's kernel does not: so nothing may
    have moved, and what is reserved is counted.
    """
    image = make(tree(tmp_path / "a", NAMES), tmp_path / "i.img", slot)
    before = report(image)
    block = int(before["Block size"])
    assert block == (1024 if slot == 512 << 20 else 4096)
    of_a_block = block // 32 * int(before["Blocks per group"]) * block  # descriptors of 32 bytes
    assert (1 + int(before["Reserved GDT blocks"])) * of_a_block >= limit
    for size in grown:
        os.truncate(image, size)
        for command in (["resize2fs", str(image)], ["e2fsck", "-fn", str(image)]):
            done = subprocess.run(command, env={"PATH": path_with_sbin()}, capture_output=True)
            assert done.returncode == 0, done
        after = report(image)
        assert int(after["Block count"]) * block > size - (1 << 20)
        for name in ("Filesystem features", "Inode table"):
            assert after[name] == before[name]
        used = -(-size // of_a_block)
        assert int(after["Reserved GDT blocks"]) == int(before["Reserved GDT blocks"]) + 1 - used
    assert image.stat().st_blocks * 512 < 100 << 20, "it stays sparse"


def test_content_larger_than_its_slot_is_told_with_sizes_and_writes_nothing(
    tmp_path: Path,
) -> None:
    folder = tree(tmp_path / "a", [])
    (folder / "data").write_bytes(bytes(5 << 20))
    image = tmp_path / "i.img"
    image.write_text("the image of an earlier build")
    with pytest.raises(UserError, match=r"rootfs needs about \d\.\d MiB .* has 4\.0 MiB") as error:
        make(folder, image, slot_size=4 << 20)
    assert "larger slot" in (error.value.hint or "")
    assert image.read_text() == "the image of an earlier build"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "i.img"]


def test_files_come_back_and_missing_ones_are_errors(tmp_path: Path) -> None:
    image = make(tree(tmp_path / "a", ["d/x y"]), tmp_path / "i.img")
    card = tmp_path / "card"
    card.write_bytes(bytes(8192) + image.read_bytes())
    content = Slice(card, 8192)
    assert filesystem.read_file(content, "/d/x y") == b"d/x y" * 500
    assert "/d/x y" in [entry.path for entry in filesystem.list_files(content)]
    with pytest.raises(UserError, match="no file /d/z"):
        filesystem.read_file(content, "/d/z")
    with pytest.raises(UserError, match="cannot read"):
        filesystem.read_file(Slice(card, 4096), "/d/x y")


def test_names_with_quotes_go_in_and_come_out(tmp_path: Path) -> None:
    image = make(tree(tmp_path / 'a "b"', ['a "b" c/d"e']), tmp_path / "i.img")
    content = Slice(image)
    paths = {entry.path: entry for entry in filesystem.list_files(content)}
    assert (paths['/a "b" c/d"e'].uid, paths['/a "b" c/d"e'].mode) == (0, 0o100644)
    assert filesystem.read_file(content, '/a "b" c/d"e') == b'a "b" c/d"e' * 500


@pytest.mark.parametrize("name", ["a b", 'a"b', "a?offset=9", "a'b"])
def test_no_name_of_a_folder_stops_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Debugfs splits its commands at spaces, and libext2fs takes what follows a ? for options."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    content = Slice(make(tree(folder / "tree", ["d/x y"]), folder / f"{name}.img"))
    assert filesystem.read_file(content, "/d/x y") == b"d/x y" * 500
    assert filesystem.free_spans(content)
    filesystem.extract(content, folder / "out")
    assert (folder / "out/d/x y").read_bytes() == b"d/x y" * 500
