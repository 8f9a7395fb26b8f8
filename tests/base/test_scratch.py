"""Temporary folders: gone at the end, gone after a kill, never taken from a living owner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pico_image.base import files
from pico_image.base.files import ROOT

HOLDER = (
    "import sys; from pathlib import Path; from pico_image.base import files\n"
    "with files.scratch_folder('pico-t-', Path(sys.argv[1])) as made:\n"
    "    (made / 'card').write_bytes(b'x' * 99)\n"
    "    print(made, flush=True); sys.stdin.read()\n"
)


def age(path: Path) -> None:
    before = time.time() - 2 * files.GRACE_SECONDS
    os.utime(path, (before, before))


def test_it_is_gone_at_the_end_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.scratch_folder("pico-t-", tmp_path) as made:
        (made / "file").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with files.scratch_folder("pico-t-", tmp_path) as made:
        made.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_killed_owner_s_is_removed_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        theirs = Path(owner.stdout.readline().strip())
        age(theirs)
        with files.scratch_folder("pico-t-", tmp_path):
            assert (theirs / "card").exists(), "taken from its owner"
        owner.kill()
    with files.scratch_folder("pico-t-", tmp_path) as ours:
        assert list(tmp_path.iterdir()) == [ours]


def test_what_is_young_or_no_folder_of_ours_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    place = tmp_path / "place"
    place.mkdir()
    (place / "pico-t-young").mkdir()  # made, and not locked yet
    (place / "pico-t-link").symlink_to(outside)
    (place / "pico-t-file").write_text("x")
    (place / "another").mkdir()
    for name in ("pico-t-file", "another"):
        age(place / name)
    before = time.time() - 2 * files.GRACE_SECONDS
    os.utime(place / "pico-t-link", (before, before), follow_symlinks=False)
    names = {path.name for path in place.iterdir()}
    files.remove_abandoned("pico-t-", place)
    assert {path.name for path in place.iterdir()} == names
    assert (outside / "precious").exists()
