"""An image build killed at random moments, and its inputs removed: the next run is right.

Every choice comes from one seed, printed by each test; PICO_FAULT_SEED sets another. A kill is
SIGKILL to a real process that builds, half of them to its tools as well.
"""

from __future__ import annotations

import filecmp
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pico_image.base import files, project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from tests.support.emulated import REVISION, Kit, make_kit, output_folder
from tests.support.killing import MORE, PROOFS, Child, Moments, chance
from tests.support.model_cards import model_folder

__all__ = ["chance"]  # a fixture

KILLS = 125 if PROOFS else 8


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with output_folder(tmp_path_factory.mktemp("out")):
        yield make_kit()


def _build_image(parts: tuple[Any, ...], models: dict[str, Path]) -> None:
    project.revision = lambda root: REVISION
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        Kit(Console(stream=nothing), *parts).build(models)


def _same(left: Path, right: Path) -> bool:
    names = sorted(path.name for path in left.iterdir())
    if names != sorted(path.name for path in right.iterdir()):
        return False
    return filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def test_a_killed_image_build_is_finished_by_the_next_to_the_same_bytes(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    parts = (kit.config, kit.materials, kit.variant)  # a console cannot be sent
    models, undisturbed, took = [], [], 0.0
    for number in range(2):
        folder = model_folder(tmp_path / f"models-{number}" / "colours")
        (folder / "labels.txt").write_text("".join(f"{number}-{i}\n" for i in range(12)))
        models.append({"colours": folder})
        monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / f"undisturbed-{number}"))
        took = Child(_build_image, parts, models[number]).wait()
        undisturbed.append(emulator_images(kit))
    assert not _same(*undisturbed)
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "killed"))
    images = emulator_images(kit)
    hits, tries, stages = 0, 0, set()
    moments = Moments(chance, took)
    while hits < KILLS:
        tries += 1
        assert tries < 2 * KILLS + 10, "too few kills came before the end"
        which = tries % 2
        # Half of the builds begin with nothing, half with the whole image of other models.
        if chance.random() < 0.5 and images.exists():
            shutil.rmtree(images.parent)
        child = Child(_build_image, parts, models[which])
        hit = child.kill_after(moments.next(), tools=chance.random() < 0.5)
        moments.learn(hit, child)
        hits += hit
        found = [path for path in images.glob("*") if path.is_file() and path.name[0] != "."]
        stages.add(tuple(sorted(path.name for path in found)))
        for path in found:
            assert any(
                (whole / path.name).exists() and filecmp.cmp(path, whole / path.name, False)
                for whole in undisturbed
            ), f"kill {tries}: half a {path.name}"
        Child(_build_image, parts, models[which]).wait()
        assert _same(images, undisturbed[which]), f"kill {tries}"
    assert len(stages) > (3 if PROOFS else 1), "the kills did not come at different moments"


class Counting(Console):
    """Does something once, when it comes to line ``at`` of its log."""

    def __init__(self, at: int = 0, act: Callable[[], object] = int) -> None:
        super().__init__(stream=io.StringIO())
        self.lines, self._at, self._act = 0, at, act

    def log(self, text: str) -> None:
        self.lines += 1
        if self.lines == self._at:
            self._act()


def test_what_an_image_is_made_of_is_removed_meanwhile(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    """As `rm -rf` of the cache does it: file by file, and the build goes on in between."""
    kept, used = tmp_path / "kept", tmp_path / "used"
    for name, folder in kit.materials.items():
        shutil.copytree(folder, kept / name, symlinks=True)
    model_folder(kept / "colours")
    shutil.copytree(kept, used, symlinks=True)
    materials = {name: used / name for name in kit.materials}
    models = {"colours": used / "colours"}

    def build(console: Counting, place: str) -> Path:
        monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / place))
        replace(kit, console=console, materials=materials).build(models)
        return emulator_images(kit)

    console = Counting()
    undisturbed, lines = build(console, "undisturbed"), console.lines
    assert lines > 10
    for number in range(6 * MORE):
        shutil.rmtree(tmp_path / "disturbed", ignore_errors=True)
        name = chance.choice(sorted(path.name for path in used.iterdir()))
        victims = [path for path in (used / name).rglob("*") if path.is_file()]
        if number % 2:
            victims = [chance.choice(victims)]

        def remove(victims: list[Path] = victims) -> None:
            for path in victims:
                path.unlink()

        with pytest.raises(UserError, match=rf"the folder of .*{name}, .* while the image was"):
            build(Counting(chance.randrange(1, lines), remove), "disturbed")
        shutil.rmtree(used)
        shutil.copytree(kept, used, symlinks=True)
        assert _same(build(Counting(), "disturbed"), undisturbed), f"{number}: {name}"


def emulator_images(kit: Kit) -> Path:
    return files.output_dir() / kit.variant.name / "images"
