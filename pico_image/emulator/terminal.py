"""The terminal as the console of a child program: raw, and restored whatever happens."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import IO


def attach(
    child: subprocess.Popen[bytes],
    set_echo: Callable[[IO[bytes] | None], None],
    shown: bytes = b"",
) -> int:
    """Pass what is typed (or piped in) to ``child`` until it ends; its exit status.

    ``set_echo`` connects the child's output to a stream. When standard input ends, the child
    runs on to its own end. ``shown`` is printed first: what was said before anyone looked.
    """
    out = sys.stdout.buffer
    out.write(shown)
    out.flush()
    set_echo(out)
    try:
        with _raw(sys.stdin):
            _pump(child)
        return child.wait()
    finally:
        set_echo(None)


def _pump(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    handle = sys.stdin.fileno()
    while child.poll() is None:
        ready, _, _ = select.select([handle], [], [], 0.2)
        if not ready:
            continue
        data = os.read(handle, 4096)
        if not data:
            return
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(data)
            child.stdin.flush()


@contextlib.contextmanager
def _raw(stream: IO[str]) -> Iterator[None]:
    if not stream.isatty():
        yield
        return
    handle = stream.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setraw(handle)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
