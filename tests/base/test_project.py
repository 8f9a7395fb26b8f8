"""The project's own commit and date."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pico_image.base import project
from pico_image.base.errors import UserError


@pytest.mark.parametrize("value", ["yesterday", "-1", "1.5", "1" * 20])
def test_a_date_that_is_no_number_is_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH"):
        project.source_date_epoch(tmp_path)


def test_date_and_revision_are_those_of_the_last_commit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert project.revision(tmp_path) == project.Revision("unknown", False)
    assert project.source_date_epoch(tmp_path) == project.NO_DATE
    (tmp_path / "file").write_text("one\n")
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        command = ["git", "-C", str(tmp_path), *words]
        subprocess.run(command, check=True, env={"GIT_COMMITTER_DATE": "@1700000000 +0000"})
    assert project.source_date(tmp_path) == "2023-11-14T22:13:20Z"
    clean = project.revision(tmp_path)
    assert len(clean.commit) == 40 and str(clean) == clean.commit
    (tmp_path / "file").write_text("two\n")
    assert str(project.revision(tmp_path)) == f"{clean.commit}-dirty"


def test_what_git_says_of_a_work_tree(tmp_path: Path) -> None:
    """Without writing there: git status refreshes the index otherwise."""
    top = tmp_path / "top"
    (top / "out").mkdir(parents=True)
    assert project.work_tree(top) == project.WorkTree()
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(top), *identity, *words], check=True)

    git("init", "-q")
    assert project.work_tree(top) == project.WorkTree()
    for name in ("a file", "gone", "sub/kept.o"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text("one\n")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = project.revision(top).commit
    (top / ".gitignore").write_text("*.o\nout\n")
    (top / "a file").write_text("two\n")
    (top / "gone").unlink()
    for name in ("out/lib", "sub/new.o", "sub/new.c", os.fsdecode(b"caf\xe9")):
        (top / name).write_text("new\n")
    os.utime(top / "sub/kept.o", (1, 1))
    before = (top / ".git/index").stat()
    changed = {".gitignore", "a file", "gone", "sub/new.c", os.fsdecode(b"caf\xe9")}
    expected = project.WorkTree(commit, frozenset(changed), frozenset({"out", "sub/new.o"}))
    assert project.work_tree(top) == expected
    after = (top / ".git/index").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert project.work_tree(top / "sub") == project.WorkTree(), "it has no git of its own"
