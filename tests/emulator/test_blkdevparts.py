"""blkdevparts.c, compiled for this machine under ASan and UBSan, against PartitionTable."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pico_image.config.configuration import load
from pico_image.config.partitions import PartitionTable
from pico_image.emulator.system import userland

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("blkdevparts") / "blkdevparts"
    subprocess.run(
        [
            *("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-g"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            *("-o", str(out), str(userland.BOARD_FOLDER / "blkdevparts.c")),
        ],
        check=True,
    )
    return out


def ask(
    program: Path, line: bytes | str, device: str = "mmcblk0", size: int | str = GIB
) -> tuple[int, list[tuple[int, int, int, str]], str]:
    done = subprocess.run(
        [program, "--print", str(size), device],
        input=line if isinstance(line, bytes) else line.encode(),
        capture_output=True,
        check=False,
    )
    rows = [row.split(" ", 3) for row in done.stdout.decode(errors="replace").splitlines()]
    return (
        done.returncode,
        [(int(number), int(start), int(length), name) for number, start, length, name in rows],
        done.stderr.decode(errors="replace"),
    )


@pytest.mark.parametrize("board", sorted(load().boards))
def test_agrees_with_the_host_on_every_board(program: Path, board: str) -> None:
    text = load().board(board).partitions
    table = PartitionTable.parse(text)
    status, rows, _ = ask(program, f"quiet blkdevparts=mmcblk0:{text} root=x", size=64 * GIB)
    assert status == 0
    assert rows == [
        (number, part.offset, part.size, part.name) for number, part in enumerate(table, 1)
    ]


sizes = st.integers(min_value=4, max_value=4096).map(lambda kib: f"{kib * 4}K")
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=31)


@settings(max_examples=60)
@given(
    parts=st.lists(
        st.tuples(sizes, st.integers(0, 64), names, st.sampled_from(["", "ro", "lk", "rolk"])),
        min_size=1,
        max_size=12,
        unique_by=lambda item: item[2],
    ),
    rest=st.booleans(),
)
def test_agrees_with_the_host_on_any_layout(
    program: Path, parts: list[tuple[str, int, str, str]], rest: bool
) -> None:
    words, cursor = [], 0
    for number, (size, gap, name, flags) in enumerate(parts):
        start = cursor + gap * 512
        last = rest and number == len(parts) - 1
        at = f"@{start}" if gap else ""
        words.append(f"{'-' if last else size}{at}({name}){flags}")
        cursor = start + int(size[:-1]) * 1024
    text = ",".join(words)
    table = PartitionTable.parse(text)
    status, rows, error = ask(program, f"blkdevparts=mmcblk0:{text}")
    assert status == 0, error
    assert rows == [
        (number, part.offset, part.size or GIB - part.offset, part.name)
        for number, part in enumerate(table, 1)
    ]


@settings(max_examples=150)
@given(st.binary(max_size=200).map(lambda tail: b"blkdevparts=mmcblk0:" + tail))
def test_survives_any_bytes(program: Path, line: bytes) -> None:
    # A sanitizer's complaint ends the program with 1 and its report.
    status, _, error = ask(program, line)
    assert status in (0, 2), error
    assert "runtime error" not in error and "Sanitizer" not in error


def test_the_last_slot_is_clipped_to_the_card_and_later_ones_are_left_out(program: Path) -> None:
    line = "blkdevparts=mmcblk0:1M(a),6G(b),1M(c)"
    assert ask(program, line)[1] == [(1, 0, MIB, "a"), (2, MIB, GIB - MIB, "b")]


def test_finds_the_device_among_others_and_whole_words_only(program: Path) -> None:
    line = (
        "xblkdevparts=mmcblk0:8K(wrong) blkdevparts=mmcblk01:8K(wrong);mmcblk1:8K(other);"
        "mmcblk0:4M(right) mmcblk0:8K(wrong)\n"
    )
    assert ask(program, line)[1] == [(1, 0, 4 * MIB, "right")]
    assert ask(program, line, "mmcblk1")[1] == [(1, 0, 8192, "other")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "could not read"),
        ("root=/dev/mmcblk0p7", "has no blkdevparts=mmcblk0"),
        ("blkdevparts=mmcblk1:1M(a)", "has no blkdevparts=mmcblk0"),
        ("blkdevparts=mmcblk0:", "no partition of mmcblk0 fits"),
        ("blkdevparts=mmcblk0:x(a)", "bad or too small size"),
        ("blkdevparts=mmcblk0:1K(a)", "bad or too small size"),
        ("blkdevparts=mmcblk0:99999999999999999999(a)", "bad or too small size"),
        ("blkdevparts=mmcblk0:9999999T(a)", "bad or too small size"),
        ("blkdevparts=mmcblk0:1M@(a)", "bad offset"),
        ("blkdevparts=mmcblk0:1Ma)", "a (name) is missing"),
        ("blkdevparts=mmcblk0:1M(a", "a (name) is missing"),
        ("blkdevparts=mmcblk0:1M(a)1M(b)", "a comma is missing"),
        ("blkdevparts=mmcblk0:4097(a)", "whole sectors"),
        ("blkdevparts=mmcblk0:1M@2G(a)", "no partition of mmcblk0 fits"),
        ("blkdevparts=mmcblk0:" + ",".join(f"4K({n})" for n in range(40)), "more than 32"),
    ],
)
def test_bad_strings_are_refused_with_a_reason(program: Path, line: str, reason: str) -> None:
    status, rows, error = ask(program, line)
    assert (status, rows) == (2, [])
    assert reason in error


def test_wrong_use_is_refused(program: Path) -> None:
    assert ask(program, "blkdevparts=mmcblk0:1M(a)", size="1x")[0] == 2
    assert subprocess.run([program], capture_output=True, check=False).returncode == 2
