"""Flashing to loop devices and files: what arrives, what is refused, what is found afterwards."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.card.compose import Composed, compose
from pico_image.card.env import env_image
from pico_image.card.flash import Options, flash
from pico_image.card.verify import write_sums
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables
from tests.support import card_images

CARD = 26 << 20
FORCE = ("not-removable",)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Composed:
    folder = tmp_path_factory.mktemp("image")
    layout = card_images.LAYOUT.replace("mmcblk0", "mmcblk1")
    parts, table = card_images.make_parts(folder / "parts", layout)
    return compose(Console(), parts, table, folder / "sdcard.img")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "card"
    path.write_bytes(b"\xa5" * CARD)  # what an old card may hold
    return path


def same(image: Composed, card: Path) -> None:
    """Every mapped byte as in the image, every other byte as it was."""
    content, held = image.image.read_bytes(), card.read_bytes()
    expected = bytearray(b"\xa5" * len(held))
    for first, last in image.bmap.spans:
        expected[first:last] = content[first:last]
    assert held == bytes(expected)


def test_a_loop_device_gets_exactly_what_is_mapped(image: Composed, backing: Path) -> None:
    with card_images.loop(backing) as device:
        done = flash(Console(), image.image, device, Options(yes=True, allow=FORCE))
        assert done.verified == done.written == image.bmap.mapped_bytes
        flash(Console(), image.image, device, Options(verify_only=True))
    same(image, backing)


def test_a_file_system_that_was_flashed_is_sound(image: Composed, backing: Path) -> None:
    """The gaps held 0xa5 before: what ext4 takes for zero has to be written as zero."""
    flash(Console(), image.image, str(backing), Options(yes=True))
    for name in ("oem", "userdata", "rootfs"):
        table = PartitionTable.parse(card_images.LAYOUT)
        size = 9 << 20 if name == "rootfs" else table[name].size or 0
        part = backing.with_name(f"{name}.ext4")
        with backing.open("rb") as stream:
            stream.seek(table[name].offset)
            part.write_bytes(stream.read(size))
        check: list[str | Path] = [card_images.tool("e2fsck", "e2fsprogs"), "-fn", part]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_full_writes_the_gaps_too(image: Composed, backing: Path) -> None:
    flash(Console(), image.image, str(backing), Options(yes=True, full=True))
    content = image.image.read_bytes()
    assert backing.read_bytes() == content + b"\xa5" * (CARD - len(content))


@pytest.mark.parametrize("form", ["zst", "xz", "gz"])
@pytest.mark.parametrize("mapped", [True, False])
def test_compressed_images_are_written(
    image: Composed, backing: Path, tmp_path: Path, form: str, mapped: bool
) -> None:
    packed = tmp_path / f"sdcard.img.{form}"
    data = image.image.read_bytes()
    if form == "zst":
        subprocess.run(
            [card_images.tool("zstd", "zstd"), "-q1", image.image, "-o", packed], check=True
        )
    elif form == "xz":
        packed.write_bytes(lzma.compress(data, preset=0))
    else:
        packed.write_bytes(gzip.compress(data, 1))
    if mapped:
        shutil.copy(image.bmap_path, tmp_path)
    done = flash(Console(), packed, str(backing), Options(yes=True))
    assert done.verified == (image.bmap.mapped_bytes if mapped else len(data))
    if mapped:
        same(image, backing)
    else:
        assert backing.read_bytes().startswith(data)
    flash(Console(), packed, str(backing), Options(verify_only=True))

    before = backing.read_bytes()
    packed.write_bytes(packed.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cannot be decompressed"):
        flash(Console(), packed, str(backing), Options(yes=True))
    assert len(backing.read_bytes()) == len(before)


def test_a_compressed_image_is_checked_by_its_sum_before_it_is_written(
    image: Composed, backing: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "sdcard.img.xz"
    packed.write_bytes(lzma.compress(image.image.read_bytes(), preset=0))
    shutil.copy(image.bmap_path, tmp_path)
    write_sums(tmp_path, [packed.name])
    flash(Console(), packed, str(backing), Options(yes=True))
    before = backing.read_bytes()
    raw = bytearray(packed.read_bytes())
    raw[len(raw) // 2] ^= 1
    packed.write_bytes(raw)
    with pytest.raises(UserError, match="SHA-256"):
        flash(Console(), packed, str(backing), Options(yes=True))
    assert backing.read_bytes() == before


def test_any_single_flipped_byte_is_found(image: Composed, backing: Path) -> None:
    flash(Console(), image.image, str(backing), Options(yes=True))
    choose = random.Random(6)
    spans = image.bmap.spans
    places = [spans[0][0], spans[0][1] - 1, spans[-1][0], spans[-1][1] - 1]
    places += [choose.randrange(*choose.choice(spans)) for _ in range(20)]
    with backing.open("r+b") as stream:
        for place in places:
            stream.seek(place)
            right = stream.read(1)
            stream.seek(place)
            stream.write(bytes([right[0] ^ (1 << choose.randrange(8))]))
            stream.flush()
            with pytest.raises(CheckFailed, match=f"first wrong byte is at {place}") as caught:
                flash(Console(), image.image, str(backing), Options(verify_only=True))
            assert caught.value.exit_code == 1
            stream.seek(place)
            stream.write(right)
            stream.flush()
    flash(Console(), image.image, str(backing), Options(verify_only=True))


def test_a_full_verification_finds_flips_in_the_gaps(image: Composed, backing: Path) -> None:
    flash(Console(), image.image, str(backing), Options(yes=True, full=True))
    gap = next(end for (_, end) in image.bmap.spans if end < image.bmap.image_size)
    with backing.open("r+b") as stream:
        stream.seek(gap)
        stream.write(b"\x01")
    with pytest.raises(CheckFailed, match=f"first wrong byte is at {gap}"):
        flash(Console(), image.image, str(backing), Options(verify_only=True, full=True))


def test_verification_names_the_partition(image: Composed, backing: Path) -> None:
    flash(Console(), image.image, str(backing), Options(yes=True))
    with backing.open("r+b") as stream:
        stream.seek(PartitionTable.parse(card_images.LAYOUT)["boot"].offset + 9)
        stream.write(b"xyz")
    with pytest.raises(CheckFailed, match="differs in boot;"):
        flash(Console(), image.image, str(backing), Options(verify_only=True))


def refused(
    image: Path, device: str, words: str, card: Path | None = None, **options: object
) -> UserError:
    before = card.read_bytes() if card else b""
    with pytest.raises(UserError, match=words) as caught:
        flash(Console(), image, device, Options(**{"yes": True, **options}))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    if card:
        assert card.read_bytes() == before, "something was written"
    return caught.value


def test_a_disk_that_is_not_removable_is_refused_unless_named(
    image: Composed, backing: Path
) -> None:
    with card_images.loop(backing) as device:
        error = refused(image.image, device, "not a removable disk", backing)
        assert "--allow not-removable" in str(error)
        refused(image.image, device, "no objection called fixed", backing, allow=["fixed"])


def test_a_mounted_device_is_refused_unless_named(
    image: Composed, backing: Path, tmp_path: Path
) -> None:
    card_images.ext4(tmp_path / "old.img", CARD, {"a": b"b"})
    folder = tmp_path / "mounted"
    folder.mkdir()
    with card_images.loop(tmp_path / "old.img") as device, ExitStack() as stack:
        mount = subprocess.run(["mount", device, folder], capture_output=True, check=False)
        if mount.returncode != 0:
            pytest.skip("cannot mount here")
        stack.callback(lambda: subprocess.run(["umount", "-q", folder], check=False))
        error = refused(image.image, device, f"is mounted at {folder}", allow=FORCE)
        assert "unmount it first" in str(error)
        assert (folder / "a").read_bytes() == b"b"
        flash(Console(), image.image, device, Options(yes=True, allow=[*FORCE, "mounted"]))
        assert not os.path.ismount(folder)


def test_the_running_system_is_refused(image: Composed) -> None:
    from pico_image.card.devices import list_devices

    system = [device for device in list_devices() if device.system]
    if not system:  # a container: its root is on no disk that it can see
        pytest.xfail("the root file system of this machine is on no block device")
    refused(image.image, str(system[0].path), "holds the running system", allow=FORCE)


def test_a_block_device_that_is_no_whole_disk_is_refused(
    image: Composed, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition: a block device that is not among the disks."""
    monkeypatch.setattr("pico_image.card.devices.list_devices", list)
    with card_images.loop(backing) as device:
        refused(image.image, device, "no whole disk", backing, allow=FORCE)


def test_a_small_card_is_refused(image: Composed, tmp_path: Path) -> None:
    card = tmp_path / "small"
    card.write_bytes(bytes(image.bmap.image_size - 512))
    refused(image.image, str(card), f"the image needs {image.bmap.image_size}", card)
    with card_images.loop(card) as device:
        refused(image.image, device, "the image needs", card, allow=FORCE)
    refused(image.image, str(card), "smaller than the image", card, verify_only=True)
    card.write_bytes(bytes(image.bmap.image_size))
    flash(Console(), image.image, str(card), Options(yes=True))


def test_a_write_protected_device_is_refused(image: Composed, backing: Path) -> None:
    with card_images.loop(backing, "--read-only") as device:
        refused(image.image, device, "write-protected", backing, allow=FORCE)


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_device_that_fails_while_it_is_written(image: Composed, tmp_path: Path) -> None:
    """The store behind the loop device is full after 4 MB, so that its writes fail."""
    with tmpfs(tmp_path / "small", 4 << 20) as folder:
        card = folder / "card"
        with card.open("wb") as stream:
            stream.truncate(CARD)
        with card_images.loop(card) as device:
            error = refused(image.image, device, "failed or went away at byte", allow=FORCE)
            assert "not whole" in str(error)


def test_a_device_that_goes_away_while_it_is_read(image: Composed, backing: Path) -> None:
    with card_images.loop(backing) as device:
        flash(Console(), image.image, device, Options(yes=True, allow=FORCE))
        os.truncate(backing, 1 << 20)  # the kernel gives EIO beyond, as for a card pulled out
        refused(image.image, device, "failed or went away at byte", verify_only=True)


def test_a_damaged_image_is_refused_before_anything_is_written(
    image: Composed, backing: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "sdcard.img"
    shutil.copy(image.bmap_path, tmp_path)
    data = bytearray(image.image.read_bytes())
    data[image.bmap.spans[-1][0] + 77] ^= 1
    copy.write_bytes(data)
    refused(copy, str(backing), "is damaged: bytes", backing)


@pytest.mark.parametrize("keep", [0, 100, 30000, 40000, 2_000_000, -4096, -1])
@pytest.mark.parametrize("mapped", [True, False])
def test_a_truncated_image_is_refused(
    image: Composed, backing: Path, tmp_path: Path, keep: int, mapped: bool
) -> None:
    copy = tmp_path / "sdcard.img"
    if mapped:
        shutil.copy(image.bmap_path, tmp_path)
    copy.write_bytes(
        image.image.read_bytes()[: keep if keep >= 0 else image.bmap.image_size + keep]
    )
    refused(copy, str(backing), "cut short|not a card image", backing)


def test_an_image_of_another_kind_is_refused(
    image: Composed, backing: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "sdcard.img"
    data = image.image.read_bytes()
    copy.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    refused(copy, str(backing), "CRC is wrong", backing)
    copy.write_bytes(env_image({"sys_bootargs": "x"}) + data[0x8000:])
    refused(copy, str(backing), "no blkdevparts", backing)
    copy.write_bytes(env_image({"blkdevparts": "mmcblk1:1M(a),1M@0(b)"}) + data[0x8000:])
    refused(copy, str(backing), "overlap", backing)
    copy.write_bytes(b"RKFW" + data[4:])
    refused(copy, str(backing), "update.img", backing)
    refused(tmp_path / "none.img", str(backing), "cannot read the card image", backing)
    refused(image.image, str(image.image), "the image itself")
    refused(image.image, str(tmp_path / "none"), "no device")


def test_an_emulators_image_does_not_get_onto_a_card(image: Composed, tmp_path: Path) -> None:
    from pico_image.card.devices import Device
    from pico_image.card.flash import _refuse
    from pico_image.card.image_file import open_image

    parts, table = card_images.make_parts(tmp_path / "parts")
    parts["env"].write_bytes(env_image(boot_variables(table, 0, "pico.emulated=1")))
    composed = compose(Console(), parts, table, tmp_path / "sdcard.img")
    card = Device(Path("/dev/sdz"), CARD, removable=True)
    _refuse(open_image(image.image), card, image.bmap.image_size, ())
    with pytest.raises(UserError, match="no Luckfox board boots"):
        _refuse(open_image(composed.image), card, composed.bmap.image_size, ())
    _refuse(open_image(composed.image), card, composed.bmap.image_size, ("emulator",))


def test_nothing_is_written_without_a_yes(
    image: Composed,
    backing: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    refused(image.image, str(backing), "did not say yes", backing, yes=False)
    question = capsys.readouterr().err
    assert f"to {backing}" in question
    assert "All that is on it will be lost" in question
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        error = refused(image.image, str(backing), "no terminal", backing, yes=False)
    assert "--yes" in str(error)
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    flash(Console(), image.image, str(backing))
    same(image, backing)


def test_without_a_device_the_cards_are_listed(image: Composed) -> None:
    with pytest.raises(UserError) as caught:
        flash(Console(), image.image, None)
    assert "card" in str(caught.value.hint)


def test_a_folder_stands_for_the_image_in_it(image: Composed, backing: Path) -> None:
    flash(Console(), image.image.parent, str(backing), Options(yes=True))
    same(image, backing)


def test_an_image_that_is_no_multiple_of_a_sector_is_padded(tmp_path: Path, backing: Path) -> None:
    """Images of other tools may end anywhere; a card is written in whole sectors."""
    table = PartitionTable.parse("mmcblk1:32K(env),1M(rootfs)")
    head = env_image(boot_variables(table, cma_mib=1))
    foreign = tmp_path / "foreign.img"
    foreign.write_bytes(head + os.urandom(5001))
    with card_images.loop(backing) as device:
        done = flash(Console(), foreign, device, Options(yes=True, allow=FORCE))
        assert done.verified == 32768 + 5001
    assert backing.read_bytes()[: 32768 + 5001] == foreign.read_bytes()
