"""The compiled programs are the same bytes wherever, whenever and by whomever they are compiled."""

from __future__ import annotations

import filecmp
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.compile import libraries, programs
from pico_image.config import configuration
from tests.support import other_user
from tests.support.killing import chance

__all__ = ["chance"]

pytestmark = pytest.mark.slow

PROGRAMS = {"npu-runner", "neon-runner", "npu-bench", "npu-doctor"}
TREE = ("app", "board", "br2-external", "configs", "package", "pico_image", "requirements")
COMPILE = """
from pico_image.base.console import Console
from pico_image.compile import libraries, programs
from pico_image.config import configuration
print(programs.app(Console(), configuration.load()))
"""


class Counting(Console):
    """Does something once, when it comes to line ``at`` of its log."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        super().__init__(stream=io.StringIO())
        self.lines, self._at, self._act = 0, at, act

    def log(self, text: str) -> None:
        self.lines += 1
        if self.lines == self._at:
            self._act()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="pico-elsewhere-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def copy_libraries(cache: Path) -> None:
    """The libraries come from the cache: ten minutes of compiling; their folder is another one."""
    config = configuration.load()
    for prefix in (
        libraries.tflite(Console(), config),
        libraries.image_libraries(Console(), config),
    ):
        shutil.copytree(prefix, cache / "built" / prefix.parent.name / prefix.name)


def test_programs_compiled_elsewhere_by_another_user_are_the_same_bytes(elsewhere: Path) -> None:
    ours = programs.app(Console(), configuration.load())
    assert {path.name for path in (ours / "bin").iterdir()} >= PROGRAMS
    tree, cache = elsewhere / "a tree", elsewhere / "c"
    for name in TREE:  # not copy2: these files have other times
        shutil.copytree(
            ROOT / name, tree / name, symlinks=True, copy_function=shutil.copy,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    copy_libraries(cache)
    if os.geteuid() == 0:
        for path in (cache, *cache.rglob("*")):
            os.lchown(path, other_user.NOBODY, other_user.NOBODY)
    done = subprocess.run(
        [*other_user.words(), sys.executable, "-c", COMPILE],
        cwd=tree,
        env={
            **{name: os.environ[name] for name in ("PATH",) if name in os.environ},
            "PICO_CACHE_DIR": str(cache),
            "HOME": str(elsewhere),
            "CCACHE_DISABLE": "1",
            "TZ": "Pacific/Auckland",
            "CFLAGS": "-O0 -DOF_THE_CALLER",
            "SOURCE_DATE_EPOCH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        umask=0o077,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = Path(done.stdout.strip())
    assert theirs.is_relative_to(cache) and theirs.name == ours.name
    names = sorted(path.name for path in (ours / "bin").iterdir())
    assert names == sorted(path.name for path in (theirs / "bin").iterdir())
    _, differ, odd = filecmp.cmpfiles(ours / "bin", theirs / "bin", names, shallow=False)
    assert (differ, odd) == ([], [])


def test_a_cache_removed_while_programs_are_compiled_is_told_and_the_next_run_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    ours = programs.app(Console(), configuration.load())
    cache = tmp_path / "cache"
    # Configuring alone is some forty lines; ninja says a line for each file.
    console = Counting(chance.randrange(20, 70), lambda: shutil.rmtree(cache, ignore_errors=True))
    for disturbed in (True, False):
        copy_libraries(cache)
        with monkeypatch.context() as patch:
            patch.setenv("PICO_CACHE_DIR", str(cache))
            if not disturbed:
                again = programs.app(Console(), configuration.load())
                continue
            with pytest.raises(UserError, match=r"cache .*removed while app was being built"):
                programs.app(console, configuration.load())
    assert again.is_relative_to(cache)
    for name in PROGRAMS:
        assert filecmp.cmp(again / "bin" / name, ours / "bin" / name, shallow=False), name
