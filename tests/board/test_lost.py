"""Connections that end at any moment, and power that goes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.board import bench, deploy
from pico_image.board.ssh import Unreachable
from tests.board.boards import Board, Line, booted, kept
from tests.support.model_cards import model_folder

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


def test_connection_lost_while_fetching(board: Board) -> None:
    board.sh("head -c 2000000 /dev/urandom | hexdump >/userdata/bench/zz.json")
    before = kept(board)
    try:
        with (
            Line(board.connection.port, 300_000, upstream=False) as line,
            pytest.raises(Unreachable, match="was lost"),
        ):
            bench.bench(board.over(line.port), last=True)
    finally:
        board.sh("rm /userdata/bench/zz.json")
    assert kept(board) == before


def test_connection_lost_while_measuring(board: Board) -> None:
    """The benchmark goes on there, and its result is fetched later."""
    count = len(board.sh("ls /userdata/bench").split())
    options = ("--rounds", "1", "--min-runs", "1", "--min-secs", "4", "--engine", "cpu")
    line = Line(board.connection.port)

    class Cutting(Console):
        def log(self, text: str) -> None:
            super().log(text)
            if text.startswith("npu-bench: pid"):
                threading.Timer(1.0, line.cut).start()

    over = replace(board.over(line.port), console=Cutting())
    with line, pytest.raises(Unreachable, match="keeps running there") as caught:
        bench.bench(over, options=options)
    assert "--last" in (caught.value.hint or "")
    deadline = time.monotonic() + 900
    while len(board.sh("ls /userdata/bench").split()) == count:
        assert time.monotonic() < deadline, board.sh("cat /tmp/npu-bench-ssh.log")
        time.sleep(2)
    assert bench.bench(board.connection, last=True).result.outcome


def test_connection_lost_while_deploying(board: Board, tmp_path: Path) -> None:
    """Cut at different bytes: the old files stay, whole, and the next deploy cleans up."""
    folder = model_folder(tmp_path / "colours", title="Cut")
    (folder / "filler").write_bytes(bytes(range(256)) * 4000)
    state = "find /usr/share/npu-models -type f | sort | xargs sha256sum"
    before = board.sh(state)
    for limit in (30_000, 600_000):
        with (
            Line(board.connection.port, limit) as line,
            pytest.raises(Unreachable),
        ):
            deploy.deploy(board.over(line.port), models={"colours": folder})
        assert board.sh(state) == before
    deploy.deploy(board.connection, models={"colours": folder})
    assert board.sh("ls /usr/share/pico-deploy").split() == ["previous"]
    deploy.undo(board.connection)
    assert board.sh(state) == before


def test_shutdown_under_way_is_a_lost_connection(tmp_path: Path) -> None:
    """A machine of its own: it is gone afterwards."""
    with booted(tmp_path) as board:
        board.connection.release()
        board.machine.kill()
        with pytest.raises(Unreachable):
            board.connection.release()
