"""Benchmark and fetch over the real ssh, on a booted emulator image."""

from __future__ import annotations

import json

import pytest

from pico_image.base.errors import CheckFailed, UserError
from pico_image.board import bench
from pico_image.results import store
from tests.board.boards import FAST, Board, kept

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


def test_bench_fetches_a_whole_result(board: Board, measured: store.Run) -> None:
    run = measured
    assert run.result.emulated
    assert run.result.models[0].name == "colours"
    assert json.loads((run.folder / "result.json").read_text()) == run.result.raw
    assert "npu-bench: result" in run.table
    name = board.sh("ls /userdata/bench").split()
    there = board.sh(f"cat /userdata/bench/{name[0]}")
    assert json.loads(there) == run.result.raw
    info = json.loads((run.folder / "build-info.json").read_text())
    assert info["variant"] == "emulator-ssh"
    assert board.connection.known_hosts.read_text().startswith("[127.0.0.1]:")


def test_last_fetches_without_running(board: Board, measured: store.Run) -> None:
    board.sh("echo '{}' >/userdata/bench/doctor-20990101T000000Z-001.json")  # no result
    before = board.sh("ls /userdata/bench")
    try:
        run = bench.bench(board.connection, last=True)
        assert board.sh("ls /userdata/bench") == before
    finally:
        board.sh("rm /userdata/bench/doctor-*")
    assert run.result.models[0].name == "colours"
    assert run.folder == measured.folder, "fetched twice it is kept once"


def test_bad_options_are_the_users_to_mend(board: Board) -> None:
    with pytest.raises(UserError, match="refuses") as caught:
        bench.bench(board.connection, options=["--rounds", "many"])
    assert "whole number" in str(caught.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("head -c 300 {name}", "is not a whole"),
        ('sed \'s/"schema":.*/"schema":"7.0",/\' {name}', "result schema 7.0"),
        ("echo '[]'", "not a benchmark result"),
        ("true", "is not a whole"),
    ],
)
def test_broken_results_are_not_kept(
    board: Board, measured: store.Run, command: str, message: str
) -> None:
    name = "/userdata/bench/" + board.sh("ls /userdata/bench").split()[0]
    board.sh(command.format(name=name) + " >/userdata/bench/zz.json; touch /userdata/bench/zz.json")
    before = kept(board)
    try:
        with pytest.raises(UserError, match=message):
            bench.bench(board.connection, last=True)
    finally:
        board.sh("rm /userdata/bench/zz.json")
    assert kept(board) == before


def test_no_space_for_a_result(board: Board) -> None:
    board.sh("dd if=/dev/zero of=/userdata/full bs=1M 2>/dev/null; true")
    try:
        with pytest.raises(UserError, match=r"KiB left in /userdata/bench"):
            bench.bench(board.connection, options=FAST)
    finally:
        board.sh("rm /userdata/full")


def test_board_without_the_program(board: Board) -> None:
    board.sh("mv /usr/bin/npu-bench /usr/bin/away")
    try:
        with pytest.raises(UserError, match="has no npu-bench"):
            bench.bench(board.connection)
    finally:
        board.sh("mv /usr/bin/away /usr/bin/npu-bench")


def test_a_machine_that_is_none_of_ours(board: Board) -> None:
    board.sh("mv /etc/pico-image-release /etc/away")
    try:
        with pytest.raises(UserError, match="none of our images"):
            bench.bench(board.connection)
    finally:
        board.sh("mv /etc/away /etc/pico-image-release")


def test_a_failing_benchmark_is_a_failure(board: Board) -> None:
    board.sh("mv /usr/share/npu-models/colours/int8.tflite /tmp/away")
    try:
        with pytest.raises((CheckFailed, UserError)) as caught:
            bench.bench(board.connection, options=FAST)
        assert "int8.tflite" in str(caught.value)
    finally:
        board.sh("mv /tmp/away /usr/share/npu-models/colours/int8.tflite")
