"""A build into the cache killed at random moments, a cache removed in use: the next run is right.

Every choice comes from one seed, printed by each test; PICO_FAULT_SEED sets another. A kill is
SIGKILL to a real process.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from pathlib import Path

import pytest

from pico_image.base import cache as caching
from pico_image.base import files
from pico_image.base.errors import UserError
from tests.support.killing import MORE, PROOFS, Child, Moments, chance

__all__ = ["chance"]

KILLS = 150 if PROOFS else 10
MANY = 80


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PICO_CACHE_DIR", str(folder))
    return folder


def _many_files(folder: Path) -> None:
    for number in range(MANY):
        path = folder / f"d{number % 7}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(hashlib.sha256(str(number).encode()).digest() * 2000)
        time.sleep(0.001)


def _build_once() -> None:
    caching.build_once("many", {"a": 1}, _many_files)


def test_a_killed_recipe_is_done_again_whole(
    cache: Path, tmp_path: Path, chance: random.Random
) -> None:
    (tmp_path / "wanted").mkdir()
    _many_files(tmp_path / "wanted")
    wanted = files.sha256_tree([tmp_path / "wanted"])
    moments = Moments(chance, Child(_build_once).wait())
    hits = tries = 0
    while hits < KILLS:
        tries += 1
        assert tries < 2 * KILLS + 10, "too few kills came before the end"
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
