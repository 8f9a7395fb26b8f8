"""A rootfs.tar as Buildroot makes it boots in QEMU as it is, and does what a board's must do."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.card import allowed, filesystem
from pico_image.compile.toolchain import Toolchain
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.emulator import board_card, bootloader
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine
from pico_image.emulator.system import userland
from tests.support import booted_rootfs as expect
from tests.support import card_images
from tests.support.emulated import Kit
from tests.support.model_cards import model_folder

from . import buildroot_like

pytestmark = pytest.mark.qemu

PASSWORD = "correct horse battery"
VARIANT = "luckfox-pico-mini"


@pytest.fixture(scope="module")
def archive(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rootfs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        images = kit.build({"colours": model_folder(folder / "colours")})
    server = userland.dropbear(kit.console, kit.config, Toolchain())
    return buildroot_like.archive(images / "rootfs.img", PASSWORD, server, folder)


@pytest.fixture(scope="module")
def card(kit: Kit, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    target = Target.of(kit.config, VARIANT)
    return working_copy(board_card.make(kit.console, target, archive, folder), folder / "copy")


@pytest.fixture(scope="module")
def machine(kit: Kit, card: Path) -> Iterator[tuple[Machine, str]]:
    """The machine after a login, and what its console showed before."""
    with expect.booted(kit.console, card) as running:
        shown = expect.log_in(running, PASSWORD)
        yield running, shown


def test_init_scripts_run_in_order_without_a_complaint(machine: tuple[Machine, str]) -> None:
    running, shown = machine
    expect.check_init_order(shown, expect.init_scripts(running))
    assert expect.complaints(shown) == []


def test_the_check_of_the_order_catches_a_script_out_of_place(
    machine: tuple[Machine, str],
) -> None:
    running, shown = machine
    names = expect.init_scripts(running)
    with pytest.raises(AssertionError, match=r"no sign of \['S02sysctl'\]"):
        expect.check_init_order(shown, [*names, "S02sysctl"])
    with pytest.raises(AssertionError, match="S40network"):
        expect.check_init_order(shown, [name for name in names if name != "S40network"])
    late = shown.replace("Starting syslogd: OK", "") + "Starting syslogd: OK\n"
    with pytest.raises(AssertionError, match="in another order"):
        expect.check_init_order(late, names)
    line = "/etc/init.d/S21appinit: line 9: lsmod: not found"
    assert expect.complaints(f"{shown}\n{line}\n[    1.0] x: not found\n") == [line]


def test_partitions_are_mounted_and_grow_to_their_slots(machine: tuple[Machine, str]) -> None:
    running, _ = machine
    text = expect.ask(running, "cat /proc/mounts")
    expect.check_mounts(text)
    for change in (("nosuid,", ""), ("/dev/mmcblk0p6 /userdata", "tmpfs /userdata")):
        with pytest.raises(AssertionError):
            expect.check_mounts(text.replace(*change))
    for place, mebibytes in (("/", 6144), ("/oem", 512), ("/userdata", 256)):
        kib = int(expect.ask(running, f"df -k {place} | tail -n 1").split()[1])
        assert mebibytes * 0.9 < kib / 1024 <= mebibytes, f"{place} has {kib} KiB"


def test_what_listens_is_on_the_list_and_something_else_is_named(
    machine: tuple[Machine, str],
) -> None:
    running, _ = machine
    services = allowed.rules_of().services()
    found = expect.listeners(running)
    assert {(each.program, each.port) for each in found} == {("sshd", 22)}
    assert expect.not_allowed(found, services) == []
    # Another program, another port, and one for this machine alone.
    start = "dropbearkey -t ed25519 -f /tmp/key >/dev/null 2>&1; cp /usr/sbin/sshd /tmp/other"
    expect.ask(running, f"{start}; /tmp/other -r /tmp/key -p 2222 -P /tmp/one")
    expect.ask(running, "/usr/sbin/sshd -r /tmp/key -p 127.0.0.1:23 -P /tmp/two")
    try:
        found = expect.listeners(running)
        assert expect.not_allowed(found, services) == ["other tcp/2222"] * 2  # IPv4 and IPv6
        assert [each.port for each in found if each.local] == [23]
    finally:
        running.run("kill $(cat /tmp/one /tmp/two); rm -f /tmp/one /tmp/two /tmp/key /tmp/other")


def test_users_have_no_more_rights_than_they_should(
    machine: tuple[Machine, str], tmp_path: Path
) -> None:
    running, _ = machine
    expect.check_users(running, tmp_path)
    expect.ask(running, "cp -p /etc/shadow /tmp/shadow; chmod 0644 /etc/shadow")
    (tmp_path / "again").mkdir()
    try:
        with pytest.raises(AssertionError):
            expect.check_users(running, tmp_path / "again")
    finally:
        running.run("cp -p /tmp/shadow /etc/shadow; chmod 0600 /etc/shadow; rm /tmp/shadow")


def test_no_npu_is_told_and_the_benchmark_runs_on_the_processor(
    machine: tuple[Machine, str],
) -> None:
    running, _ = machine
    expect.check_npu_absent(running)
    expect.check_benchmark(running, "colours")


def test_a_cut_while_writing_is_repaired_at_the_next_start(
    kit: Kit, archive: Path, tmp_path: Path
) -> None:
    target = Target.of(kit.config, VARIANT)
    card = working_copy(board_card.make(kit.console, target, archive, tmp_path), tmp_path / "copy")
    with expect.booted(kit.console, card) as machine:
        expect.log_in(machine, PASSWORD)
        reported = expect.cut_while_writing(machine, card)
    with expect.booted(kit.console, card) as machine:
        shown = expect.log_in(machine, PASSWORD)
        expect.check_repaired(machine, reported)
        # The layout that S19growfs wrote before the cut: an 8 GiB card instead of the slot's 6.
        assert "growfs:" not in shown
        kib = int(expect.ask(machine, "df -k / | tail -n 1").split()[1])
        assert kib > 7000 << 10
        machine.poweroff()
    expect.check_clean(card)


def test_the_root_file_system_is_taken_as_it_is(kit: Kit, archive: Path, tmp_path: Path) -> None:
    """All names, owners and permissions; an image of it goes into the card byte by byte."""
    target = Target.of(kit.config, VARIANT)
    (tmp_path / "first").mkdir()
    card = board_card.make(kit.console, target, archive, tmp_path / "first")
    rootfs = bootloader.read_card(card).parts["rootfs"]
    there = {entry.path: entry for entry in filesystem.list_files(rootfs)}
    with tarfile.open(archive) as tar:
        members = {f"/{each.name.removeprefix('./')}": each for each in tar if each.name != "."}
    assert there.keys() - {"/lost+found"} == members.keys()
    for path, member in members.items():
        entry = there[path]
        owner = (entry.uid, entry.gid, entry.mode & 0o7777)
        assert owner == (member.uid, member.gid, member.mode), path
    images = tmp_path / "images"
    images.mkdir()
    image = shutil.copyfile(tmp_path / "first/rootfs.img", images / "rootfs.img")
    # Beside it, what the board's userdata has.
    card_images.ext4(images / "userdata.img", 4 << 20, {"mine": b"of the board"}, "userdata")
    before = sha256_file(image)
    (tmp_path / "second").mkdir()
    card = board_card.make(kit.console, target, image, tmp_path / "second")
    parts = bootloader.read_card(card).parts
    assert parts["rootfs"].read(0, image.stat().st_size) == image.read_bytes()
    assert bootloader.read_partition_file(card, "userdata", "/mine") == b"of the board"
    assert sha256_file(image) == before


# -- bad input ------------------------------------------------------------------------------


def emulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", "emulate", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def tar_of(path: Path, files: dict[str, bytes], mode: int = 0o755) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return path


#: Headers of programs: 64-bit little endian for x86-64 and ARM, 32-bit big endian for ARM.
X86_64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(40)
AARCH64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(40)
BIG_ENDIAN = b"\x7fELF\x01\x02\x01" + bytes(9) + b"\x00\x02\x00\x28" + bytes(40)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be booted, and what is said of each."""
    text = folder / "text.img"
    text.write_bytes(b"no archive " * 1000)
    packed = folder / "rootfs.tar.gz"
    with tarfile.open(packed, "w:gz"):
        pass
    good = tar_of(folder / "good.tar", {"sbin/init": b"#!/bin/sh\n" * 200})
    short = folder / "short.tar"
    short.write_bytes(good.read_bytes()[:1500])
    image = card_images.ext4(folder / "cut.img", 2 << 20, {"sbin/init": b"x"})
    with image.open("r+b") as stream:
        stream.truncate(1 << 20)
    large = folder / "large.img"
    with large.open("wb") as stream:
        stream.write(card_images.ext4(folder / "small.img", 2 << 20, {"a": b"x"}).read_bytes())
        stream.truncate(1 << 30)
    either = "is neither a tar archive (without compression) nor an ext4 image"
    files = {
        "absent": (folder / "absent.tar", "there is no file"),
        "text": (text, either),
        "packed": (packed, either),
        "short": (short, "short.tar"),
        "empty": (tar_of(folder / "empty.tar", {"etc/passwd": b""}), "has no /sbin/init"),
        "cut": (image, "is cut short"),
        "large": (large, "its partition rootfs only"),
    }
    for name, header, machine in (
        ("x86", X86_64, "x86-64"),
        ("arm64", AARCH64, "64-bit ARM"),
        ("big", BIG_ENDIAN, "big-endian ARM"),
    ):
        programs = {"sbin/init": b"#!/bin/busybox sh\n", "bin/busybox": header}
        path = tar_of(folder / f"{name}.tar", programs)
        files[name] = (path, f"is for another processor: /bin/busybox is a program for {machine}")
    return files


def test_what_cannot_be_booted_is_told_in_a_sentence(tmp_path: Path) -> None:
    """Before anything is booted or compiled."""
    target = Target.of(configuration.load(), "emulator")  # 512 MiB for rootfs
    for name, (path, says) in bad_files(tmp_path).items():
        folder = tmp_path / f"card-{name}"
        folder.mkdir()
        with pytest.raises(UserError) as error:
            board_card.make(Console(), target, path, folder)
        assert says in error.value.message and str(path) in error.value.message, name
        assert "\n" not in error.value.message, name
        assert not (folder / "sdcard.img").exists()


def test_the_task_ends_with_2_for_bad_input(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "rootfs.tar", {"etc/passwd": b""})
    for words, says in (
        (("--rootfs", str(path)), f"{path} has no /sbin/init"),
        (("--rootfs", str(path), "--variant", "luckfox-pico-mnii"), "did you mean"),
        (("--rootfs", str(path), "--image", "sdcard.img"), "--image is a whole card"),
        (("--variant", "luckfox-pico-mini"), "there is no image of variant luckfox-pico-mini"),
    ):
        done = emulate(*words)
        assert done.returncode == 2, done.stderr
        assert f"error: {says}" in done.stderr or says in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
