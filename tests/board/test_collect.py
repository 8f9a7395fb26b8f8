"""npu-doctor over the real ssh, on a booted emulator image."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invoke.context import Context

import tasks
from pico_image.base.errors import UserError
from pico_image.board import deploy
from pico_image.board.collect import collect
from pico_image.board.ssh import Connection, Unreachable
from pico_image.results import collected
from pico_image.results.report import write_report
from tests.board.boards import Board, Line
from tests.support.result_schema import validated


@pytest.fixture(autouse=True)
def no_result(request: pytest.FixtureRequest) -> Iterator[None]:
    """What other tests measured on this board is out of the way: some of it failed on purpose."""
    board = request.getfixturevalue("board") if "board" in request.fixturenames else None
    if board is not None:
        board.sh("cd /userdata && mkdir -p bench && mv bench aside && mkdir bench")
    yield
    if board is not None:
        board.sh("cd /userdata && rm -rf bench && mv aside bench")


def kept(board: Board) -> list[Path]:
    return sorted((board.folder / "out/board/collected").glob("*"))


@pytest.mark.qemu
@pytest.mark.slow
def test_what_is_found_is_kept_and_can_be_posted(board: Board, tmp_path: Path) -> None:
    path, found = collect(board.connection)
    assert path.parent == board.folder / "out/board/collected"
    assert re.fullmatch(r"\d{8}T\d{6}Z-emulator-ssh(\.\d+)?", path.stem)
    data = validated(path.read_text(encoding="utf-8"))
    assert found.raw == data and found.doctor.emulated
    names = {finding.name: finding.level for finding in found.doctor.findings}
    assert names["chip"] == "note" and names["memory"] == names["oem"] == names["models"] == "ok"
    assert found.findings("problem") == [], found.text()
    # Neither the name of the board nor its addresses; the kernel log is there.
    text = path.read_text(encoding="utf-8")
    assert "pico-ssh" not in text and "10.0.2.15" not in text
    assert any("Linux version" in line for line in found.raw["texts"]["kernel_log"])
    assert found.doctor.desk is not None and found.doctor.desk.version == "0.1.0"
    assert board.sh("ls -A /userdata/bench") == "", "nothing is left on the board"
    page = write_report(board.connection.console, [path], tmp_path / "page")
    assert "What was found on the board" in page.read_text(encoding="utf-8")


@pytest.mark.qemu
@pytest.mark.slow
def test_the_task_prints_findings_or_json(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {
        "host": board.connection.host,
        "port": str(board.connection.port),
        "identity": str(board.connection.identity),
        "output": str(tmp_path / "mine.json"),
    }
    tasks.collect(Context(), **flags)
    printed = capsys.readouterr().out
    assert re.search(r"^note +chip: this is an emulator", printed, re.MULTILINE)
    assert f"file: {tmp_path}/mine.json can be posted" in printed
    tasks.collect(Context(), **flags, json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "mine.json").read_text())


@pytest.mark.qemu
@pytest.mark.slow
def test_a_problem_of_the_board(board: Board, tmp_path: Path) -> None:
    board.sh("mv /usr/share/npu-models/colours/int8.tflite /tmp/away")
    try:
        path, found = collect(board.connection, tmp_path / "mine.json")
    finally:
        board.sh("mv /tmp/away /usr/share/npu-models/colours/int8.tflite")
    assert path == tmp_path / "mine.json" and collected.is_collected(path)
    (problem,) = found.findings("problem")
    assert "colours lacks int8.tflite" in problem.text
    assert "invoke deploy" in (problem.remedy or "")


@pytest.mark.qemu
@pytest.mark.slow
def test_an_image_without_the_program_gets_it_by_deploy(board: Board, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    shutil.copy(board.programs / "npu-doctor", programs)
    board.sh("mv /usr/bin/npu-doctor /usr/bin/away")
    try:
        with pytest.raises(UserError, match="has no npu-doctor") as caught:
            collect(board.connection)
        assert f"invoke deploy {board.connection.flags} --programs" in (caught.value.hint or "")
        sent = deploy.deploy(board.connection, programs=programs)
        assert sent.files == ["/usr/bin/npu-doctor"]
        assert board.sh("npu-doctor --version").startswith("npu-doctor ")
        deploy.undo(board.connection)
    finally:
        board.sh("mv /usr/bin/away /usr/bin/npu-doctor")


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo hello", "the answer of npu-doctor:1: this is no whole file"),
        ("exit 0", "the answer of npu-doctor:1: this is no whole file"),
        ("head -c 70000 /dev/zero", "the answer of npu-doctor:1: this is no whole file"),
        ('echo \'{"kind": "runner"}\'', "but the output of 'runner'"),
        ("echo no memory >&2; exit 2", r"failed \(2\): no memory"),
        ("kill -9 $$", r"failed \(137\): (no reason|Killed)"),
    ],
)
def test_a_board_that_answers_something_else(board: Board, script: str, message: str) -> None:
    before = kept(board)
    board.sh("mv /usr/bin/npu-doctor /usr/bin/away")
    try:
        board.connection.run(
            "cat >/usr/bin/npu-doctor && chmod +x /usr/bin/npu-doctor",
            what="put a stand-in there",
            stdin=f"#!/bin/sh\n{script}\n".encode(),
        )
        with pytest.raises(UserError, match=message):
            collect(board.connection)
    finally:
        board.sh("mv /usr/bin/away /usr/bin/npu-doctor")
    assert kept(board) == before


@pytest.mark.qemu
@pytest.mark.slow
def test_a_board_that_goes_meanwhile(board: Board) -> None:
    """As it looks from the desk when a board restarts: the connection ends within the answer."""
    before = kept(board)
    with (
        Line(board.connection.port, 20_000, upstream=False) as line,
        pytest.raises(Unreachable, match="was lost"),
    ):
        collect(board.over(line.port))
    assert kept(board) == before


def test_nobody_there(nowhere: Callable[..., Connection], tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no SSH server answers"):
        collect(nowhere("127.0.0.1", port=9), tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()
