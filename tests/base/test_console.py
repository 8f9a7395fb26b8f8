"""Steps, progress, the log file, and child programs that fail or are interrupted."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import ROOT


def make() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream=stream), stream


def test_everything_goes_to_the_log_and_its_path_is_printed_first(tmp_path: Path) -> None:
    console, stream = make()
    with console.logging_to(tmp_path, "build") as log, console.step("Make it"):
        console.run(["sh", "-c", "echo from the child"], what="talk")
        console.info("a message")
    assert stream.getvalue().startswith(f"log: {log}\n")
    assert "from the child" not in stream.getvalue()
    text = log.read_text(encoding="utf-8")
    assert "from the child" in text
    assert "a message" in text
    assert "+ sh -c" in text


def test_a_failing_program_shows_its_end_and_the_log(tmp_path: Path) -> None:
    console, _ = make()
    with console.logging_to(tmp_path, "x") as log, pytest.raises(CommandError) as caught:
        console.run(["sh", "-c", "seq 100; exit 3"], what="count", hint="count slower")
    text = str(caught.value)
    assert "count failed with status 3" in text
    assert "    100" in text
    assert "    50" not in text
    assert str(log) in text
    assert "hint: count slower" in text


def test_a_missing_program_says_what_it_is_needed_for() -> None:
    console, _ = make()
    with pytest.raises(UserError, match="'no-such-program', which is needed to fly"):
        console.run(["no-such-program"], what="fly")


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    console, _ = make()
    with pytest.raises(UserError, match=f"no folder {tmp_path}/gone, in which to list"):
        console.run(["ls"], what="list", cwd=tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"no folder {tmp_path}/file, in which to list"):
        console.run(["ls"], what="list", cwd=tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/no/such/interpreter\n", 0o755, "interpreter that its first line names"),
        ("\x7fELF of another machine", 0o755, "Exec format error"),
    ],
)
def test_a_program_that_cannot_be_started_is_told_with_the_reason(
    tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    console, _ = make()
    program = tmp_path / "program"
    program.write_text(text)
    program.chmod(mode)
    for command, cwd in (([program], None), (["./program"], tmp_path)):
        with pytest.raises(UserError, match=f"{program}, which is needed to fly: .*{reason}"):
            console.run(command, what="fly", cwd=cwd)


def test_input_is_handed_over() -> None:
    console, _ = make()
    assert console.run(["cat"], what="copy", stdin="abc") == "abc"


def test_markup_in_output_is_not_interpreted() -> None:
    console, stream = make()
    console.info("[bold]x[/nonsense]")
    assert "[bold]x[/nonsense]" in stream.getvalue()


SCRIPT = """
import sys
from pico_image.base.console import Console
try:
    Console(verbose=True).run(["sh", "-c", "sleep 600 & echo begun-$!; wait"], what="wait")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_the_whole_family() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stderr is not None
        # Said by the parent, which then reads what its child says: while it still starts the
        # child, nobody would end it.
        begun = next(match for line in parent.stderr if (match := re.match(r"begun-(\d+)", line)))
        grandchild = Path("/proc") / begun[1] / "stat"
        parent.send_signal(signal.SIGINT)
        assert parent.wait(60) == 130
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = grandchild.read_text(encoding="ascii").split()[2]
        except (FileNotFoundError, ProcessLookupError):  # the latter when it ends meanwhile
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the grandchild still runs")


def test_progress_is_one_plain_line_at_a_time_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pico_image.base.console.PLAIN_SECONDS", 0.0)
    console, stream = make()
    with console.progress("copy", 2, "B") as bar:
        bar.advance(1)
        bar.advance(1)
    assert "\x1b" not in stream.getvalue()
    assert "copy  0.0 MB/0.0 MB  0 s left" in stream.getvalue()
