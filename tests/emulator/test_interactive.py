"""`invoke emulate` on a terminal of its own, as a person uses it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

pytestmark = pytest.mark.qemu


class Terminal:
    """A pseudo-terminal with `invoke emulate` on it."""

    def __init__(self, image: Path) -> None:
        self.primary, self.secondary = pty.openpty()
        self.before = termios.tcgetattr(self.secondary)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "invoke", "emulate", "--image", str(image)],
            cwd=ROOT,
            stdin=self.secondary,
            stdout=self.secondary,
            stderr=self.secondary,
            start_new_session=True,
        )
        self.text = ""
        self.seen = 0

    def wait_for(self, pattern: str, seconds: float = 300) -> None:
        """Wait for the pattern in what came after the last match."""
        deadline = time.monotonic() + seconds
        while (found := re.compile(pattern).search(self.text, self.seen)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text}"
            if select.select([self.primary], [], [], 0.2)[0]:
                self.text += os.read(self.primary, 65536).decode(errors="replace")
        self.seen = found.end()

    def type(self, text: str) -> None:
        os.write(self.primary, text.encode())

    def end(self) -> int:
        """Wait for the end; the exit status."""
        deadline = time.monotonic() + 300
        while self.child.poll() is None:
            assert time.monotonic() < deadline, f"still running:\n{self.text}"
            if select.select([self.primary], [], [], 0.2)[0]:
                self.text += os.read(self.primary, 65536).decode(errors="replace")
        return self.child.returncode


@pytest.fixture
def terminal(images: Path) -> Iterator[Terminal]:
    opened = Terminal(images / "sdcard.img")
    yield opened
    if opened.child.poll() is None:
        opened.child.kill()
        opened.child.wait()
    os.close(opened.primary)
    os.close(opened.secondary)


def test_a_person_can_work_in_it_and_power_it_off(terminal: Terminal) -> None:
    terminal.wait_for(r"Ctrl-A X")
    terminal.wait_for(r"root@pico-test:~# ")
    # The program says itself that it has begun: before, Ctrl-C would miss it.
    terminal.type("sh -c 'echo begun-$((40 + 1)); exec sleep 600'\n")
    terminal.wait_for("begun-41")
    terminal.type("\x03")  # must interrupt the guest's program, not us
    terminal.wait_for(r"root@pico-test:~# ")
    terminal.type("echo still-$((40 + 2))\n")
    terminal.wait_for("still-42")
    terminal.type("poweroff\n")
    terminal.wait_for("Power down")
    assert terminal.end() == 0
    assert termios.tcgetattr(terminal.secondary) == terminal.before, "the terminal stays raw"


def test_ctrl_a_x_ends_it_at_once(terminal: Terminal) -> None:
    terminal.wait_for(r"console log: ")
    terminal.wait_for(r"init started")  # QEMU has the terminal, and the guest is at work
    terminal.type("\x01x")
    assert terminal.end() == 0
    assert termios.tcgetattr(terminal.secondary) == terminal.before
    assert "Traceback" not in terminal.text


def test_a_file_that_is_no_image_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(bytes(100_000))
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "emulate", "--image", str(tmp_path / "x.img")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot be booted" in done.stderr and "Traceback" not in done.stderr
