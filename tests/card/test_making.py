"""Parts are made when their inputs changed, and only then."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import archive, filesystem
from pico_image.card.archive import Archive
from pico_image.card.blocks import Slice
from pico_image.card.env import read_env
from pico_image.card.filesystem import Entry
from pico_image.card.making import Maker
from pico_image.config import configuration
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import Target


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return Target.of(configuration.load(), "emulator")


def maker(target: Target, recipe: str = "pico_image.emulator") -> Maker:
    return Maker(Console(), target, recipe)


def text(content: str, made: list[str], image: Path) -> None:
    made.append(content)
    image.write_text(content)


def test_a_part_is_made_for_its_inputs_once(target: Target) -> None:
    made: list[str] = []

    def build(content: str, **inputs: object) -> None:
        maker(target).part("uboot", inputs, functools.partial(text, content, made))

    build("a", version=1, folders=("x", "y"))
    build("b", version=1, folders=("x", "y"))
    assert made == ["a"]
    build("c", version=2, folders=("x", "y"))
    image = maker(target).images / "uboot.img"
    assert image.read_text() == "c"
    image.write_text("by hand")
    build("d", version=2, folders=("x", "y"))
    (maker(target).stamps / "uboot.img.json").write_text("{cut")
    build("e", version=2, folders=("x", "y"))
    image.unlink()
    build("f", version=2, folders=("x", "y"))
    build("g", version=2, folders=("x", "y"))
    assert made == ["a", "c", "d", "e", "f"]


def test_layout_time_and_recipe_are_inputs_of_every_part(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def build(target: Target, recipe: str = "pico_image.emulator") -> int:
        maker(target, recipe).part("uboot", {}, functools.partial(text, "x", made))
        return len(made)

    assert (build(target), build(target)) == (1, 1)
    larger = PartitionTable.parse(str(target.layout)).resized({"oem": "32M"})
    assert build(replace(target, layout=larger)) == 2
    assert build(target) == 3
    assert build(target, "pico_image.sdk") == 4
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000001")
    assert build(target, "pico_image.sdk") == 5


def test_a_part_that_failed_is_made_again(target: Target) -> None:
    made: list[str] = []

    def fail(image: Path) -> None:
        image.write_text("half of it")
        raise UserError("the disk is full")

    maker(target).part("uboot", {}, functools.partial(text, "old", made))
    with pytest.raises(UserError, match="disk is full"):
        maker(target).part("uboot", {"new": 1}, fail)
    maker(target).part("uboot", {}, functools.partial(text, "old", made))
    assert made == ["old", "old"]

    def gone() -> None:
        raise UserError("the folder was removed")

    checked = Maker(Console(), target, "pico_image.emulator", gone)
    with pytest.raises(UserError, match="folder was removed"):
        checked.part("idblock", {}, functools.partial(text, "1", made))
    maker(target).part("idblock", {}, functools.partial(text, "2", made))
    assert made[2:] == ["1", "2"]


def test_a_part_larger_than_its_slot_is_refused_with_both_sizes(target: Target) -> None:
    made: list[str] = []
    with pytest.raises(
        UserError, match=r"uboot\.img has 0\.3 MiB and its partition 0\.2 MiB"
    ) as error:
        maker(target).part("uboot", {}, functools.partial(text, "x" * 300_000, made))
    assert "partition string" in (error.value.hint or "")
    assert list(maker(target).images.iterdir()) == []


def test_what_a_killed_build_left_goes(target: Target) -> None:
    images = maker(target).images
    (images / ".rootfs.killed").mkdir()
    (images / ".rootfs.killed/file").touch()
    (images / ".env.txt").touch()
    assert [path.name for path in maker(target).images.iterdir()] == [".env.txt"]


def test_the_parts_that_every_backend_makes_alike(target: Target) -> None:
    made = maker(target)
    made.oem()
    made.userdata()
    made.env()

    def files(name: str) -> list[str]:
        return [entry.path for entry in filesystem.list_files(Slice(made.images / name))]

    assert files("oem.img") == ["/lost+found", "/usr", "/usr/ko"]
    assert "npu-bench" in target.packages and files("userdata.img") == ["/bench", "/lost+found"]
    variables = read_env((made.images / "env.img").read_bytes())
    assert variables == target.env()
    assert f"blkdevparts={target.layout}\n" in (made.images / ".env.txt").read_text()
    before = {path: path.stat().st_mtime_ns for path in made.images.iterdir()}
    again = maker(target)
    again.oem()
    again.userdata()
    again.env()
    assert {path: path.stat().st_mtime_ns for path in made.images.iterdir()} == before
    packages = [name for name in target.packages if name != "npu-bench"]
    plain = replace(target, variant=target.variant.model_copy(update={"packages": packages}))
    maker(plain).userdata()
    assert files("userdata.img") == ["/lost+found"]


def test_a_root_file_system_out_of_an_archive(target: Target, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "rootfs.tar", "w") as tar:
        for name, mode in (("sbin/init", 0o755), ("bin/su", 0o4755)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            tar.addfile(info)
    fill = functools.partial(archive.unpack, [Archive(tmp_path / "rootfs.tar", devices=True)])
    made = maker(target)
    made.file_system("rootfs", {"tar": "its hash"}, fill)
    entries = filesystem.list_files(Slice(made.images / "rootfs.img"))
    assert entries[1] == Entry("/bin/su", 0o104755)

    def never(folder: Path) -> Mapping[str, Entry]:
        raise AssertionError(folder)

    maker(target).file_system("rootfs", {"tar": "its hash"}, never)
    assert [path.name for path in made.images.iterdir()] == ["rootfs.img"]
