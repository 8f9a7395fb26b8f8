"""Builds killed at random moments, bad servers, a cache removed in use: the next run is right.

Every choice comes from one seed, printed by each test; PICO_FAULT_SEED sets another. A kill is
SIGKILL to a real process that builds, half of them to its tools as well.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import http.server
import io
import os
import random
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pico_image import sources
from pico_image.base import cache as caching
from pico_image.base import files, project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.config.schema import Place, Source, SourceFile
from tests.emulator.conftest import kit, output
from tests.support.emulated import REVISION, Kit
from tests.support.killing import MORE, PROOFS, Child, Moments, chance
from tests.support.model_cards import model_folder
from tests.test_sources import impatient

__all__ = ["chance", "kit", "output"]  # fixtures

IMAGE_KILLS, CACHE_KILLS, FETCH_KILLS, BAD_ANSWERS = (
    (125, 150, 50, 120) if PROOFS else (8, 10, 4, 8)
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PICO_CACHE_DIR", str(folder))
    return folder


# -- an image --------------------------------------------------------------------------


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
    while hits < IMAGE_KILLS:
        tries += 1
        assert tries < 2 * IMAGE_KILLS + 10, "too few kills came before the end"
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


# -- the cache -------------------------------------------------------------------------

MANY = 80


def _many_files(folder: Path) -> None:
    for number in range(MANY):
        path = folder / f"d{number % 7}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(hashlib.sha256(str(number).encode()).digest() * 2000)
        time.sleep(0.001)


def _build_once() -> None:
    caching.build_once("many", {"a": 1}, _many_files)


def _fetch(url: str) -> None:
    sources.fetch(Console(), source(url))


def test_a_killed_recipe_is_done_again_whole(
    cache: Path, tmp_path: Path, chance: random.Random
) -> None:
    (tmp_path / "wanted").mkdir()
    _many_files(tmp_path / "wanted")
    wanted = files.sha256_tree([tmp_path / "wanted"])
    moments = Moments(chance, Child(_build_once).wait())
    hits = tries = 0
    while hits < CACHE_KILLS:
        tries += 1
        assert tries < 2 * CACHE_KILLS + 10, "too few kills came before the end"
        for folder in (cache / "built" / "many").glob("*/"):
            shutil.rmtree(folder)
        child = Child(_build_once)
        hit = child.kill_after(moments.next(), tools=True)
        moments.learn(hit, child)
        hits += hit
        built = caching.build_once("many", {"a": 1}, _many_files)
        (built / ".inputs.json").unlink()
        assert files.sha256_tree([built]) == wanted, f"kill {tries}"
        assert list(cache.rglob("*.part")) == []


def test_a_cache_removed_in_use_is_told_and_the_next_run_is_right(
    cache: Path, chance: random.Random
) -> None:
    for _ in range(6 * MORE):
        last = chance.randrange(MANY)

        def remove_then(folder: Path, last: int = last) -> None:
            _many_files(folder)
            shutil.rmtree(cache)
            if last % 2:  # half of the recipes notice it themselves
                _many_files(folder)

        with pytest.raises(UserError, match=r"cache .*removed while many was being built") as told:
            caching.build_once("many", {"a": 1}, remove_then)
        assert "again" in (told.value.hint or "")
        built = caching.build_once("many", {"a": 1}, _many_files)
        assert len(list(built.rglob("*.bin"))) == MANY
        shutil.rmtree(cache)


# -- downloads -------------------------------------------------------------------------

CONTENT = random.Random(1).randbytes(300_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """/good, /slow and /FAULT/N: the fault comes at byte N."""

    def do_GET(self) -> None:
        _, fault, at = f"{self.path}/0".split("/")[:3]
        self.send_response(200)
        if fault != "cut":  # without a length a cut looks like the end
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with contextlib.suppress(OSError):
            getattr(self, f"_{fault}")(int(at))

    def _good(self, at: int) -> None:
        self.wfile.write(CONTENT)

    def _slow(self, at: int) -> None:
        for start in range(0, len(CONTENT), 10_000):
            self.wfile.write(CONTENT[start : start + 10_000])
            time.sleep(0.01)

    def _bit(self, at: int) -> None:
        self.wfile.write(CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :])

    def _cut(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])

    def _reset(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def _stall(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])
        time.sleep(3.0)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def source(*urls: str) -> Source:
    file = SourceFile(
        file="thing.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        places=[Place(url=url) for url in urls],
    )
    return Source(name="thing", version="1", licence="MIT", purpose="testing", files=[file])


def test_a_place_that_fails_at_any_byte_is_named_and_the_next_taken(
    server: str, cache: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 1.0)
    for number in range(BAD_ANSWERS):
        fault = ("bit", "cut", "reset", "stall")[number % 4]
        bad = f"{server}/{fault}/{chance.randrange(len(CONTENT))}"
        with pytest.raises(UserError, match=r"could not download thing 1(.|\n)*127\.0\.0\.1: "):
            sources.fetch(Console(), source(bad))
        assert [path for path in cache.rglob("*") if path.name.startswith((".", "thing"))] == []
        got = sources.fetch(Console(), source(bad, f"{server}/good"))
        assert got.read_bytes() == CONTENT, bad
        shutil.rmtree(cache)


def test_a_killed_download_is_done_again_whole(
    server: str, cache: Path, chance: random.Random
) -> None:
    moments = Moments(chance, Child(_fetch, f"{server}/slow").wait())
    hits = tries = 0
    while hits < FETCH_KILLS:
        tries += 1
        assert tries < 2 * FETCH_KILLS + 10, "too few kills came before the end"
        shutil.rmtree(cache)
        child = Child(_fetch, f"{server}/slow")
        hit = child.kill_after(moments.next(), tools=True)
        moments.learn(hit, child)
        hits += hit
        got = sources.fetch(Console(), source(f"{server}/good"))
        assert got.read_bytes() == CONTENT
        assert list(cache.rglob("*.part")) == [], "what a killed download left is still there"
