"""A folder's copy in a volume: what is sent again, what is read again, what is told."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.engine import copies, run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.engine.volumes import Volume
from tests.support.sdk_stand_in.fixtures import BASE

NAME = "pico-test-copy"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files, which count as settled at once."""
    monkeypatch.setattr(copies, "SETTLED_NS", 0)
    made = tmp_path / "sources"
    (made / "kernel").mkdir(parents=True)
    (made / "kernel/main.c").write_text("int main;\n")
    (made / "kernel/tool.sh").write_text("#!/bin/sh\n")
    (made / "link").symlink_to("kernel/main.c")
    return made


def sources(folder: Path, *left_out: str) -> copies.Sources:
    return copies.read(folder, folder.parent / "cache/notes.json", frozenset(left_out))


def hashes(folder: Path, *left_out: str) -> dict[str, str]:
    return sources(folder, *left_out).hashes(["", "kernel/", "kernel/main", "media/"])


def test_content_mode_and_link_count_and_time_does_not(folder: Path) -> None:
    seen = [hashes(folder)]
    for change in (
        lambda: (folder / "kernel/main.c").write_text("int mine;\n"),  # as long as before
        lambda: (folder / "kernel/tool.sh").chmod(0o755),
        lambda: (folder / "kernel/new.c").write_text(""),
    ):
        change()
        seen.append(hashes(folder))
        assert seen[-1][""] != seen[-2][""] and seen[-1]["kernel/"] != seen[-2]["kernel/"]
    assert seen[1]["kernel/main"] != seen[0]["kernel/main"] == seen[0]["kernel/main"]
    assert len({each["kernel/main"] for each in seen[1:]}) == 1
    assert len({each["media/"] for each in seen}) == 1
    (folder / "link").unlink()
    (folder / "link").symlink_to("kernel/new.c")
    seen.append(hashes(folder))
    assert seen[-1][""] != seen[-2][""] and seen[-1]["kernel/"] == seen[-2]["kernel/"]
    os.utime(folder / "kernel/main.c", (1, 1))
    (folder / "kernel/tool.sh").chmod(0o711)  # still a program
    assert hashes(folder) == seen[-1]


def test_a_change_under_the_same_time_and_size_is_seen(folder: Path) -> None:
    path = folder / "kernel/main.c"
    before, status = hashes(folder), path.stat()
    with path.open("r+") as stream:
        stream.write("int n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert hashes(folder)["kernel/main"] != before["kernel/main"]


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is read."""
    names: list[str] = []

    def note(path: Path) -> str:
        names.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr("pico_image.engine.volumes.sha256_file", note)
    return names


def test_only_what_may_have_changed_is_read_again(folder: Path, read_files: list[str]) -> None:
    first = hashes(folder)
    assert sorted(read_files) == ["main.c", "tool.sh"]
    read_files.clear()
    assert hashes(folder) == first and sources(folder).fingerprints and read_files == []
    os.utime(folder / "kernel/main.c", (1, 1))
    assert hashes(folder) == first and read_files == ["main.c"]
    for damaged in (folder.parent / "cache").iterdir():
        damaged.write_text("{")
    assert hashes(folder) == first


def test_a_file_that_was_just_written_is_read_again(
    folder: Path, read_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock a second change shows the same time."""
    monkeypatch.setattr(copies, "SETTLED_NS", 10**18)
    for _ in range(2):
        hashes(folder)
    assert read_files == ["main.c", "tool.sh"] * 2


def test_what_is_left_out(folder: Path) -> None:
    before = hashes(folder)
    (folder / ".git").mkdir()
    (folder / ".git/index").write_text("git's own")
    (folder / "media/out").mkdir(parents=True)
    (folder / "media/out/lib.a").write_text("product")
    (folder / "kernel/main.o").write_text("product")
    assert hashes(folder, "media/out", "kernel/main.o") == before
    assert hashes(folder, "media/out") != before


def test_what_cannot_be_taken_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")  # reading it would wait for ever
    with socket.socket(socket.AF_UNIX) as server, monkeypatch.context() as patch:
        patch.chdir(folder)  # the path of a socket may have 108 characters
        server.bind("socket")
    found = sources(folder)
    assert sorted(found.special) == ["pipe", "socket"] and "pipe" not in found.fingerprints
    (folder / os.fsdecode(b"caf\xe9")).write_text("")
    with pytest.raises(UserError, match=r"cannot be taken into the container: b'caf\\xe9': not UT"):
        sources(folder)
    (folder / os.fsdecode(b"caf\xe9")).rename(folder / "café")
    seen = sources(folder)
    (folder / "café").unlink()
    with pytest.raises(UserError, match="café: No such file or directory"):
        seen.hashes([""])
    original = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "kernel":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="kernel/: Permission denied"):
        sources(folder)


def test_a_link_to_a_folder_is_a_link(folder: Path) -> None:
    (folder / "all").symlink_to("kernel")
    found = sources(folder)
    assert found.fingerprints["all"] == "-> kernel" and "all/main.c" not in found.seen
    assert found.entry("all").link == "kernel" and not found.entry("all").executable


# -- in a volume ----------------------------------------------------------------------


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    volumes.ensure(engine, NAME, {}, what="a test")
    yield Volume(engine, BASE, NAME)
    engine.client.volumes.get(NAME).remove(force=True)


def inside(console: Console, volume: Volume, script: str) -> list[str]:
    mounts = [Mount(volume.name, "/volume")]
    container = Container(BASE, ["bash", "-c", f"cd /volume/sdk && {script}"], mounts)
    return run.output_of(volume.engine, console, container, what="look into the volume")


@pytest.mark.docker
def test_copies_what_differs(folder: Path, console: Console, volume: Volume) -> None:
    """Each change as make sees it: with a time after that of the objects."""

    def send(**options: bool) -> str:
        stream = console.log_path.stat().st_size  # type: ignore[union-attr]
        copies.send(console, volume, "sdk", sources(folder), **options)
        return console.log_path.read_bytes()[stream:].decode()  # type: ignore[union-attr]

    assert "Copy 3 files" in send()
    assert "Copy" not in send()
    inside(console, volume, "echo made >kernel/main.o; touch -d +1hour kernel/tool.sh")
    os.utime(folder / "kernel/main.c", (1, 1))
    assert "Copy" not in send()
    (folder / "kernel/main.c").write_text("int other;\n")
    os.utime(folder / "kernel/main.c", (1, 1))
    assert "Copy 1 files" in send()
    found = inside(
        console, volume, "cat link; [ kernel/main.c -nt kernel/main.o ] && readlink link; ls kernel"
    )
    assert found == ["int other;", "kernel/main.c", "main.c", "main.o", "tool.sh"]
    # A file where there was a folder, a folder where there was a file, and one that is gone.
    (folder / "kernel/tool.sh").unlink()
    (folder / "link").unlink()
    (folder / "link").mkdir()
    (folder / "link/a b\nc").write_text("odd name")
    assert "Copy 1 files" in send()
    assert inside(console, volume, "ls kernel; cat link/*") == ["main.c", "main.o", "odd name"]
    (folder / "link/a b\nc").unlink()
    (folder / "link").rmdir()
    (folder / "link").write_text("a file again")
    assert "Copy 1 files" in send()
    inside(console, volume, "echo changed in the container >kernel/main.c")
    assert "Copy 2 files" in send(force=True)
    assert inside(console, volume, "cat kernel/main.c link") == ["int other;", "a file again"]


@pytest.mark.docker
def test_an_interrupted_copy_goes_on(
    folder: Path, console: Console, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies.send(console, volume, "sdk", sources(folder))
    (folder / "kernel/main.c").write_text("int other;\n")
    (folder / "kernel/tool.sh").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(copies.Sources, "changed", lambda *_: 1 / 0)  # the files are there by now
        with pytest.raises(ZeroDivisionError):
            copies.send(console, volume, "sdk", sources(folder))
    # Nobody knows what arrived, so going back is a change, too.
    (folder / "kernel/main.c").write_text("int main;\n")
    copies.send(console, volume, "sdk", sources(folder))
    assert inside(console, volume, "cat kernel/*") == ["int main;"]


@pytest.mark.docker
def test_files_that_change_while_they_are_copied_are_told(
    folder: Path, console: Console, volume: Volume
) -> None:
    seen = sources(folder)
    assert seen.hashes([""])
    (folder / "kernel/main.c").write_text("int late;\n")
    with pytest.raises(UserError, match=r"changed while it was copied: kernel/main\.c"):
        copies.send(console, volume, "sdk", seen)
    seen = sources(folder)
    assert seen.hashes([""])
    (folder / "kernel/main.c").unlink()
    with pytest.raises(UserError, match=r"could not read .*main\.c: No such file"):
        copies.send(console, volume, "sdk", seen)
    copies.send(console, volume, "sdk", sources(folder))
    assert inside(console, volume, "ls kernel") == ["tool.sh"]


@pytest.mark.docker
def test_downloads_are_handed_over_once(tmp_path: Path, console: Console, volume: Volume) -> None:
    """As Buildroot's download folder, which the builds of other variants use meanwhile."""
    asked: list[str] = []
    texts = {"flatcc/flatcc-0.6.1.tar.gz": "flatcc\n", "tflite/a~b+c.tar.xz": "parts\n"}
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}

    def get(name: str) -> Path:
        asked.append(name)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[name])
        return path

    def hand_over() -> list[str]:
        asked.clear()
        copies.add_missing(console, volume, hashes, get)
        return sorted(asked)

    volume.put({"sdk/other": volumes.Entry(b"other\n"), ".new-dead/x/y": volumes.Entry(b"left")})
    inside(console, volume, "touch -d '2 days ago' ../.new-dead")
    assert hand_over() == sorted(texts)
    assert inside(console, volume, "cd ..; cat */*; ls -A") == [
        *("flatcc", "other", "parts", "flatcc", "sdk", "tflite"),
    ]
    assert hand_over() == []
    inside(console, volume, "echo damaged >../tflite/*; rm ../flatcc/*")
    assert hand_over() == sorted(texts)
    inside(console, volume, "rm ../flatcc/*")
    assert hand_over() == ["flatcc/flatcc-0.6.1.tar.gz"]
    assert inside(console, volume, "cat ../tflite/*") == ["parts"]
