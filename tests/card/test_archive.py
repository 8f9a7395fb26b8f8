"""File systems made of tar archives without root: what is kept, and what is refused by name."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.card import archive, filesystem
from pico_image.card.archive import Archive
from pico_image.card.blocks import Slice
from pico_image.card.filesystem import Entry, path_with_sbin
from tests.support import other_user

EPOCH = 1_700_000_000
FOLDER, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
CHARACTER, BLOCK, FIFO = tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", **fields: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, mode: int = 0o755, **fields: Any) -> Member:
    return member(name, type=FOLDER, mode=mode, **fields)


def write(path: Path, members: Sequence[Member]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def make(image: Path, *archives: Archive, slot: int = 64 << 20, label: str = "rootfs") -> Path:
    with tempfile.TemporaryDirectory(dir=image.parent) as scratch:
        entries = archive.unpack(archives, Path(scratch))
        volume = filesystem.Volume(label, slot)
        filesystem.make(Console(), Path(scratch), image, volume, EPOCH, entries)
    return image


def listed(image: Path) -> list[Entry]:
    return [each for each in filesystem.list_files(Slice(image)) if each.path != "/lost+found"]


def debugfs(image: Path, command: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", command, str(image)],
        env={"PATH": path_with_sbin()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


#: Everything that a root file system may have; owners as Buildroot's users table gives them.
SYSTEM = [
    folder("./"),
    folder("./bin"),
    member("./bin/busybox", b"\x7fELF" * 9000, mode=0o4755),
    member("./bin/sh", type=LINK, linkname="busybox"),
    member("./bin/ash", type=HARD, linkname="./bin/busybox"),
    folder("./dev"),
    member("./dev/console", type=CHARACTER, mode=0o622, devmajor=5, devminor=1),
    member("./dev/mmcblk1", type=BLOCK, mode=0o660, gid=6, devmajor=179, devminor=0),
    member("./dev/initctl", type=FIFO, mode=0o600),
    folder("./etc"),
    member("./etc/mtab", type=LINK, linkname="/proc/self/mounts"),
    member("./etc/shadow", b"root:*:\n", mode=0o600),
    member("./etc/empty", mode=0o440, uid=4_000_000_000, gid=1005),
    folder("./srv", 0o2775, uid=1000, gid=100),
    member("./srv/results", b"x" * 100_000, uid=1000, gid=100),
    folder("./tmp", 0o1777),
    member("./tmp/climb", type=LINK, linkname="../etc/../bin/sh"),
    member("./etc/long", type=LINK, linkname="/" + "long" * 200),
]


def rootfs_tar(
    tmp_path: Path, members: Sequence[Member] = SYSTEM, name: str = "rootfs.tar"
) -> Archive:
    return Archive(write(tmp_path / name, members), devices=True)


def test_everything_is_kept(tmp_path: Path) -> None:
    tar = rootfs_tar(tmp_path)
    image = make(tmp_path / "i.img", tar)
    entries = archive.entries_of(tar.path)
    assert listed(image) == entries
    found = {entry.path: entry for entry in entries}
    assert len(found) == len(SYSTEM) - 1
    assert str(found["/bin/busybox"]) == "-rwsr-xr-x     0     0      36000 /bin/busybox"
    assert str(found["/srv"]) == "drwxrwsr-x  1000   100          0 /srv"
    assert str(found["/tmp"]) == "drwxrwxrwt     0     0          0 /tmp"
    assert (found["/etc/empty"].uid, found["/etc/empty"].gid) == (4_000_000_000, 1005)
    assert found["/bin/ash"].mode == found["/bin/busybox"].mode, "one file with two names"
    assert "Links: 2" in debugfs(image, "stat /bin/ash")
    assert "Device major/minor number: 05:01" in debugfs(image, "stat /dev/console")
    assert "Device major/minor number: 179:00" in debugfs(image, "stat /dev/mmcblk1")
    assert 'Fast link dest: "busybox"' in debugfs(image, "stat /bin/sh")
    assert filesystem.read_file(Slice(image), "/etc/long") == b"/" + b"long" * 200
    assert filesystem.read_file(Slice(image), "/srv/results") == b"x" * 100_000
    for path in ("/", "/dev/console", "/dev/initctl", "/bin/sh", "/tmp", "/lost+found"):
        status = debugfs(image, f"stat {path}")
        for time in ("ctime", "atime", "mtime", "crtime"):
            assert f"{time}: 0x6553f100:00000000" in status, (path, status)


def test_the_same_bytes_whatever_the_order_the_folder_the_umask_and_the_user(
    tmp_path: Path,
) -> None:
    one = make(tmp_path / "one.img", rootfs_tar(tmp_path))
    other = list(SYSTEM)
    random.Random(7).shuffle(other)
    for info, _ in other:
        info.mtime = 1_600_000_000
    place = Path(tempfile.mkdtemp(prefix="pico-other-user-", dir="/tmp"))
    try:
        place.chmod(0o777)
        tar = rootfs_tar(place, other)
        tar.path.chmod(0o644)
        done = subprocess.run(
            [*other_user.words(), sys.executable, "-c", OTHER, str(tar.path), str(place / "i.img")],
            cwd=ROOT,
            env={**os.environ, "HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
            umask=0o077,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert sha256_file(place / "i.img") == sha256_file(one)
    finally:
        shutil.rmtree(place)


OTHER = """
import sys
from pathlib import Path
from tests.card.test_archive import Archive, make
make(Path(sys.argv[2]), Archive(Path(sys.argv[1]), devices=True))
"""


@pytest.mark.parametrize(
    "name",
    [
        *("with space", 'a"quote', '""', "it's", "back\\slash", "line\nbreak", "carriage\rreturn"),
        *("-rf", "-", "<2>", "?offset=9", "#", "tab\there", "grün/日本", "\udcff\udc80 not UTF-8"),
        *("\x85\u2028", "debugfs: ls -p <2>", "\ndebugfs: ls -p <2>", ". .", "...", "x" * 255),
        "Filesystem not open",
    ],
)  # fmt: skip
def test_any_name(tmp_path: Path, name: str) -> None:
    members = [
        folder("d"),
        member(f"d/{name}", b"content", mode=0o640, uid=7),
        folder(f"e/{name}", 0o700, gid=9),
        member(f"e/{name}/inside", b"more"),
        member(f"e/{name}/device", type=CHARACTER, devmajor=1, devminor=3),
        member("f", type=LINK, linkname=name),
    ]
    tar = rootfs_tar(tmp_path, members)
    image = make(tmp_path / "i.img", tar)
    entries = archive.entries_of(tar.path)
    found = {entry.path: entry for entry in entries}
    assert found[f"/d/{name}"] == Entry(f"/d/{name}", 0o100640, 7, 0, 7)
    assert found[f"/e/{name}/inside"].size == 4
    assert listed(image) == entries


def test_a_name_that_answers_for_debugfs_is_refused(tmp_path: Path) -> None:
    tar = rootfs_tar(tmp_path, [member("a\ndebugfs: ls -p <2>\nb")])
    with pytest.raises(UserError, match="one has the name of a command"):
        make(tmp_path / "i.img", tar)


def test_several_archives_go_into_their_folders(tmp_path: Path) -> None:
    modules = write(tmp_path / "m.tar", [folder("."), member("./rknpu.ko", b"ELF"), member("a")])
    modules_again = write(tmp_path / "n.tar", [member("wifi/b.ko", b"ELF", mode=0o600)])
    media = write(tmp_path / "media.tar", [folder("lib"), folder("ko"), member("lib/librga.so")])
    image = make(
        tmp_path / "oem.img",
        *(Archive(modules, "usr/ko"), Archive(modules_again, "/usr/ko/"), Archive(media, "usr")),
        label="oem",
    )
    assert [str(entry).replace("     0     0", "") for entry in listed(image)] == [
        "drwxr-xr-x          0 /usr",
        "drwxr-xr-x          0 /usr/ko",
        "-rw-r--r--          0 /usr/ko/a",
        "-rw-r--r--          3 /usr/ko/rknpu.ko",
        "drwxr-xr-x          0 /usr/ko/wifi",
        "-rw-------          3 /usr/ko/wifi/b.ko",
        "drwxr-xr-x          0 /usr/lib",
        "-rw-r--r--          0 /usr/lib/librga.so",
    ]
    with pytest.raises(UserError, match=r"media.tar has '/usr/ko/a' twice, first in .*m.tar"):
        again = write(tmp_path / "media.tar", [member("ko/a")])
        make(tmp_path / "x.img", Archive(modules, "usr/ko"), Archive(again, "usr"))


CAPABILITY = {"SCHILY.xattr.security.capability": "\x01\0\0\x02"}
REFUSED: dict[str, tuple[list[Member], str]] = {
    "absolute": ([member("/etc/passwd")], "leads out of it: '/etc/passwd'"),
    "climbing": ([member("a/../../x")], "leads out of it: 'a/../../x'"),
    "inside with ..": ([folder("a"), member("a/../b")], "leads out of it: 'a/../b'"),
    "file twice": ([member("a"), member("./a")], "'/a' twice"),
    "folder twice": ([folder("a"), folder("a", 0o700)], "'/a' twice"),
    "file and folder": ([member("a"), folder("a")], "'/a' twice"),
    "behind a link": (
        [member("a", type=LINK, linkname="/etc"), member("a/passwd")],
        "'/a/passwd' inside '/a', which is no folder",
    ),
    "inside a file": ([member("a"), folder("a/b")], "'/a/b' inside '/a'"),
    "link that climbs": (
        [folder("a"), member("a/b", type=LINK, linkname="../../../etc")],
        r"the link '/a/b' that leads out of it: '\.\./\.\./\.\./etc'",
    ),
    "empty link": ([member("a", type=LINK, linkname="")], "'/a' with a target that no file"),
    "long link": ([member("a", type=LINK, linkname="x" * 1024)], "'/a' with a target that no file"),
    "hard link out": (
        [member("a", type=HARD, linkname="../../etc/passwd")],
        "hard link '/a', whose target that leads out of it: '../../etc/passwd'",
    ),
    "absolute hard link": ([member("a", type=HARD, linkname="/etc/passwd")], "leads out"),
    "hard link to nothing": ([member("a", type=HARD, linkname="b")], "'/a' to '/b', which is no"),
    "hard link to itself": ([member("a", type=HARD, linkname="a")], "'/a' to '/a', which is no"),
    "hard link to a folder": (
        [folder("b"), member("a", type=HARD, linkname="b")],
        "'/a' to '/b', which is no file",
    ),
    "hard link to a device": (
        [member("b", type=CHARACTER), member("a", type=HARD, linkname="b")],
        "'/a' to '/b', which is no file",
    ),
    "long name": ([member("x" * 256)], "a name that is too long: 'xxx"),
    "long path": ([member("x/" * 1100 + "y")], "a name that is too long: 'x/x/"),
    "root is a file": ([member(".", b"x")], "something else than a folder as its root"),
    "device with a line break": ([member("a\nb", type=BLOCK)], r"'/a\\nb' \(0, 0\), which debugfs"),
    "large device": ([member("a", type=BLOCK, devmajor=4000)], r"'/a' \(4000, 0\), which debugfs"),
    "negative owner": ([member("a", uid=-2)], "'/a' with owner -2:0"),
    "capability": ([member("ping", pax_headers=CAPABILITY)], "'/ping' by SCHILY.xattr.sec"),
    "acl": ([member("a", pax_headers={"SCHILY.acl.access": "x"})], "'/a' by SCHILY.acl.access"),
    "sparse": (
        [member("a", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000"})],
        "'/a', which is a sparse file",
    ),
    "unknown type": ([member("a", type=b"V")], "'/a', which is type b'V'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_name_before_anything_is_written(tmp_path: Path, case: str) -> None:
    members, message = REFUSED[case]
    tar = rootfs_tar(tmp_path, [member("first", b"first"), *members])
    (tmp_path / "scratch").mkdir()
    with pytest.raises(UserError, match=message) as error:
        archive.unpack([tar], tmp_path / "scratch")
    assert str(tar.path) in error.value.message and error.value.hint
    with pytest.raises(UserError, match=message):
        archive.entries_of(tar.path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["rootfs.tar", "scratch"]


def test_a_device_is_refused_outside_of_the_root_file_system(tmp_path: Path) -> None:
    tar = write(tmp_path / "media.tar", [member("null", type=CHARACTER, devmajor=1, devminor=3)])
    with pytest.raises(UserError, match="has the device '/usr/null'; only a root file system"):
        archive.unpack([Archive(tar, "usr")], tmp_path)


def test_labels_of_the_machine_that_built_are_left_out(tmp_path: Path) -> None:
    labels = {"SCHILY.xattr.security.selinux": "system_u", "SCHILY.xattr.user.x": "1"}
    one = make(tmp_path / "1.img", rootfs_tar(tmp_path, [member("a", pax_headers=labels)]))
    two = make(tmp_path / "2.img", rootfs_tar(tmp_path, [member("a")]))
    assert one.read_bytes() == two.read_bytes()


def cut(data: bytes) -> bytes:
    return data[:2000]


def cut_between_members(data: bytes) -> bytes:
    return data[:1024]


def spoil_a_header(data: bytes) -> bytes:
    return data[:1024] + b"\xff" * 512 + data[1536:]


def compress(data: bytes) -> bytes:
    return b"\x1f\x8b\x08" + data


@pytest.mark.parametrize("damage", [cut, cut_between_members, spoil_a_header, compress, bytes.hex])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    tar = tmp_path / "rootfs.tar"
    write(tar, [member("a", b"x" * 512), member("b", b"y" * 1000), member("c")])
    data = damage(tar.read_bytes())
    tar.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UserError, match=r"rootfs\.tar (cannot be read|is damaged or cut short)"):
        archive.unpack([Archive(tar)], tmp_path)
    with pytest.raises(UserError, match="there is no archive"):
        archive.entries_of(tmp_path / "absent.tar")


def test_a_root_file_system_larger_than_its_slot(tmp_path: Path) -> None:
    tar = rootfs_tar(tmp_path, [member("data", bytes(20 << 20))])
    image = tmp_path / "i.img"
    image.write_text("the earlier image")
    with pytest.raises(
        UserError, match=r"rootfs needs about 2\d\.\d MiB .* has 16\.0 MiB"
    ) as error:
        make(image, tar, slot=16 << 20)
    assert "larger slot" in (error.value.hint or "")
    assert image.read_text() == "the earlier image"


def test_an_archive_is_not_read_whole(tmp_path: Path) -> None:
    half = b"content " * (2 << 20)
    tar = rootfs_tar(tmp_path, [member("a", half), member("b", half)])
    (tmp_path / "scratch").mkdir()
    tracemalloc.start()
    try:
        archive.unpack([tar], tmp_path / "scratch")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20, "of 32 MiB"
    assert (tmp_path / "scratch/b").read_bytes() == half


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30
).filter(lambda name: name not in (".", "..", "lost+found") and "debugfs: ls" not in name)
MODES = st.integers(0, 0o7777)
OWNERS = st.sampled_from([0, 1, 1000, 65534, 65536, 4_000_000_000])


@st.composite
def trees(draw: st.DrawFn) -> list[Member]:
    """Archives of which nothing is refused."""
    folders = [""]
    members: list[Member] = []
    files: list[str] = []
    taken = set()
    for name in draw(st.lists(NAMES, max_size=25)):
        path = f"{draw(st.sampled_from(folders))}{name}"
        kind = draw(st.sampled_from([tarfile.REGTYPE, FOLDER, LINK, HARD, CHARACTER, BLOCK, FIFO]))
        plain = "\n" not in name and "\r" not in name
        if path in taken or (kind in (CHARACTER, BLOCK) and not plain):
            continue
        if kind == HARD and not files:
            kind = tarfile.REGTYPE
        taken.add(path)
        owner, group, mode = draw(OWNERS), draw(OWNERS), draw(MODES)
        fields: dict[str, Any] = {"type": kind, "mode": mode, "uid": owner, "gid": group}
        content = b""
        if kind == tarfile.REGTYPE:
            size = draw(st.sampled_from([0, 1, 1023, 1024, 70_000, 3_000_000]))
            content = draw(st.sampled_from([b"\0", b"x"])) * size
            files.append(path)
        elif kind == FOLDER:
            folders.append(f"{path}/")
        elif kind == LINK:
            fields["linkname"] = draw(NAMES | st.just("/" + "target" * 40))
        elif kind == HARD:
            fields["linkname"] = draw(st.sampled_from(files))
        elif kind in (CHARACTER, BLOCK):
            fields |= {"devmajor": draw(st.integers(0, 255)), "devminor": draw(st.integers(0, 255))}
        members.append(member(path, content, **fields))
    return draw(st.permutations(members))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(members=trees(), slot=st.sampled_from([512 << 20, 6 << 30]))
def test_any_archive_gives_an_image_with_its_own_list(members: list[Member], slot: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        tar = rootfs_tar(Path(name), members)
        image = make(Path(name) / "i.img", tar, slot=slot)
        assert listed(image) == archive.entries_of(tar.path)
        contents = {f"/{info.name}": content for info, content in members if info.isreg()}
        for path, content in contents.items():
            if "\n" not in path and "\r" not in path:
                assert filesystem.read_file(Slice(image), path) == content
