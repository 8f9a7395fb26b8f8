"""Files are whole or absent, locks name their holder, things are built once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pico_image.base import cache as caching
from pico_image.base import files
from pico_image.base.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("PICO_CACHE_DIR", str(cache))
    return cache


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_write(path, "w") as stream:
        stream.write("new")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="no space left while writing"),
        files.atomic_write(tmp_path / "a"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_tree_hash_sees_content_names_modes_and_links(tmp_path: Path) -> None:
    seen = set()
    file = tmp_path / "t" / "a"
    file.parent.mkdir()
    file.write_text("1", encoding="utf-8")
    seen.add(files.sha256_tree([tmp_path / "t"]))
    file.write_text("2", encoding="utf-8")
    seen.add(files.sha256_tree([tmp_path / "t"]))
    file.chmod(0o755)
    seen.add(files.sha256_tree([tmp_path / "t"]))
    file.rename(tmp_path / "t" / "b")
    seen.add(files.sha256_tree([tmp_path / "t"]))
    (tmp_path / "t" / "c").symlink_to("b")
    seen.add(files.sha256_tree([tmp_path / "t"]))
    assert len(seen) == 5
    (tmp_path / "t").rename(tmp_path / "u")
    assert files.sha256_tree([tmp_path / "u"]) in seen


def test_built_once_for_the_same_inputs(own_cache: Path) -> None:
    calls: list[int] = []

    def build(folder: Path) -> None:
        calls.append(1)
        (folder / "x").write_text("x", encoding="utf-8")

    first = caching.build_once("thing", {"a": 1}, build)
    assert caching.build_once("thing", {"a": 1}, build) == first
    assert caching.build_once("thing", {"a": 2}, build) != first
    assert len(calls) == 2
    assert (
        (own_cache / "CACHEDIR.TAG").read_text(encoding="ascii").startswith("Signature: 8a477f597")
    )


def test_an_interrupted_build_leaves_nothing_to_be_taken_for_whole(own_cache: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half").write_text("x", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        caching.build_once("thing", {}, interrupted)
    left = [path for path in (own_cache / "built" / "thing").iterdir() if path.is_dir()]
    assert left == []


def test_an_interrupted_build_leaves_nothing_of_tools_that_end_later(own_cache: Path) -> None:
    """As compilers do that make has started: Ctrl-C ends them, and nobody waits for them."""

    def tool(folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            for number in range(300):
                (folder / f"{number}.o").touch()
                time.sleep(0.001)

    with concurrent.futures.ThreadPoolExecutor() as pool:

        def interrupted(folder: Path) -> None:
            pool.submit(tool, folder)
            raise KeyboardInterrupt

        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                caching.build_once("thing", {}, interrupted)
            assert list(own_cache.rglob("*.part")) == []


def test_what_a_killed_build_left_is_removed_by_the_next(own_cache: Path) -> None:
    first = caching.build_once("thing", {}, lambda folder: None)
    left = first.with_name(f"{first.name}.abc.part")
    first.rename(left)
    caching.build_once("thing", {}, lambda folder: None)
    assert not left.exists()


@pytest.mark.parametrize("last", ["made", "removed"])
def test_a_folder_is_removed_while_a_killed_builds_tool_works_in_it(
    tmp_path: Path, last: str
) -> None:
    folder = tmp_path / "left"
    given_up = threading.Event()

    def tool() -> None:
        """Like mkimage: makes temporary files and takes them away, until its folder is gone.

        Or until it is done, as every tool once is: one that never is won this race for 23 s where
        removing a file took 0.1 ms.
        """
        with contextlib.suppress(FileNotFoundError):
            for _ in range(30):
                if given_up.is_set():
                    break
                for number in range(50):
                    (folder / f"{number}.tmp").touch()
                if last == "removed":
                    for number in range(50):
                        (folder / f"{number}.tmp").unlink()
                time.sleep(0.001)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            for _ in range(60):
                folder.mkdir()
                working = pool.submit(tool)
                files.remove_tree(folder)
                working.result(timeout=60)
                assert not folder.exists()
        finally:
            given_up.set()


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    files.remove_tree(tmp_path / "never was")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    files.remove_tree(tmp_path / "link")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="not permitted|Read-only|denied|busy"):
        files.remove_tree(Path("/proc/self/status"))


def test_a_full_disk_during_a_build_names_the_cache(own_cache: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="no space left while building thing"):
        caching.build_once("thing", {}, full)


def test_an_unwritable_cache_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICO_CACHE_DIR", "/proc/nowhere")
    with pytest.raises(UserError, match="cannot write to the cache folder /proc/nowhere"):
        caching.cache_dir()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_cache_that_only_others_may_write_is_told(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A read-only disk or another user's folder; root could write to the latter."""
    (own_cache / "built").mkdir(parents=True, exist_ok=True)
    real = Path.mkdir

    def mkdir(path: Path, *rest: Any, **options: Any) -> None:
        if own_cache in path.parents and not path.is_dir():
            raise OSError(code, os.strerror(code), str(path))
        real(path, *rest, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(
        UserError, match=r"cannot write to .*built/thing.*the build of thing"
    ) as caught:
        caching.build_once("thing", {}, lambda folder: None)
    assert os.strerror(code) in caught.value.message
    assert "PICO_CACHE_DIR" in (caught.value.hint or "")


HOLDER = """
import sys, time
from pathlib import Path
from typing import Any
from pico_image.base.files import locked
with locked(Path(sys.argv[1]), "the thing"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_names_the_first_and_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdout=subprocess.PIPE,
        cwd=files.ROOT,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=f"in use by process {holder.pid}"),
            files.locked(lock, "the thing", wait=False),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.locked(lock, "the thing", wait=False):
        pass


USER = (
    "import sys; from pico_image.base import cache as caching\n"
    "print(caching.cache_dir(), flush=True); sys.stdin.read()\n"
)


def test_a_cache_in_use_is_not_cleaned_away(own_cache: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", USER],
        cwd=files.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as user:  # fmt: skip
        assert user.stdout is not None
        cache = Path(user.stdout.readline().strip())
        assert cache == caching.cache_dir()
        with pytest.raises(UserError, match="is in use by another process"):
            caching.remove_cache()
        assert (cache / "CACHEDIR.TAG").is_file()
        user.kill()
    caching.remove_cache()
    assert not cache.exists()


def test_a_cache_removed_by_hand_is_noticed() -> None:
    cache = caching.cache_dir()
    assert caching.cache_removed() is None
    shutil.rmtree(cache)
    assert caching.cache_removed() == cache
    caching.cache_dir()  # made again meanwhile: what was in it is still gone
    assert caching.cache_removed() == cache


def test_the_code_of_a_package_is_what_it_does_and_no_prose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "ROOT", tmp_path)
    package = tmp_path / "a" / "b"
    (package / "inner").mkdir(parents=True)
    hashes = []
    for text, template in (
        ('"""Old words."""\n\n\ndef f(x):\n    """Doc."""\n    return x + 1\n', "t"),
        ('"""New words."""\ndef f(x):\n    # why\n    return x+1\n', "t"),
        ('"""New words."""\ndef f(x):\n    # why\n    return x+2\n', "t"),
        ('"""New words."""\ndef f(x):\n    # why\n    return x+2\n', "other"),
    ):
        (package / "inner" / "thing.py").write_text(text)
        (package / "page.j2").write_text(template)
        caching.code_of.cache_clear()
        hashes.append(caching.code_of("a.b"))
    caching.code_of.cache_clear()
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
