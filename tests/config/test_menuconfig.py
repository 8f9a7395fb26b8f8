"""Buildroot's menu on a variant: what may be wrong, and, in real Buildroot, what comes out."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

#: Colours and movements of the cursor.
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


def invoke(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", "menuconfig"],
        cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_is_no_buildroot_is_refused(tmp_path: Path) -> None:
    done = invoke(BUILDROOT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is not a Buildroot tree" in done.stderr


def test_a_menu_without_a_terminal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Config.in").touch()
    done = invoke(BUILDROOT_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "a menu needs a terminal" in done.stderr


@pytest.mark.external
def test_a_package_chosen_in_buildroots_menu_comes_back_as_a_line(tmp_path: Path) -> None:
    """Typed into the menu: search for HTOP, go there, y, and leave with saving."""
    buildroot = os.environ.get("BUILDROOT_DIR")
    if not buildroot:
        pytest.skip("BUILDROOT_DIR does not name a Buildroot tree")
    # A copy: another test may build in the same tree, whose menu program would be made twice.
    for name in ("app", "board", "br2-external", "configs", "package"):
        shutil.copytree(ROOT / name, tmp_path / name)
    code = (
        "import sys; from pathlib import Path\n"
        "from pico_image.config import configuration, menuconfig\n"
        "from pico_image.base.console import Console\n"
        "lines = menuconfig.open_menu(Console(), configuration.load(Path(sys.argv[1])),"
        " 'luckfox-pico-mini', Path(sys.argv[2]))\n"
        "print('\\nLINES:' + '|'.join(lines))\n"
    )
    near, far = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), buildroot],
        cwd=ROOT, stdin=far, stdout=far, stderr=far, close_fds=True, start_new_session=True,
        env={**os.environ, "TERM": "linux", "LINES": "40", "COLUMNS": "120"},
    ) as child:  # fmt: skip
        os.close(far)
        text = _until(near, b"Target options", 100)
        for keys, answer in (
            (b"/", b"Enter (sub)string"),
            (b"BR2_PACKAGE_HTOP$\r", b"Search Results"),
            (b"1", b"htop"),
            (b"y", b"[*] htop"),
            (b"\x1b\x1b" * 2, b""),
        ):
            os.write(near, keys)
            text += _until(near, answer, 30)
        for _ in range(6):  # out of the menus, then Enter for Yes: save
            if b"Do you wish to save" in text:
                break
            os.write(near, b"\x1b\x1b")
            text += _until(near, b"Do you wish to save", 2)
        os.write(near, b"\r")
        text += _until(near, b"LINES:", 120) + _until(near, b"\n", 10)
        assert child.wait(60) == 0, text[-2000:]
    os.close(near)
    lines = text.rpartition(b"LINES:")[2].decode().strip().split("|")
    assert lines[0] == "extra_symbols:"
    assert "  BR2_PACKAGE_HTOP: y" in lines


def _until(descriptor: int, wanted: bytes, seconds: float) -> bytes:
    """What the terminal shows until ``wanted`` appears or the time is over, without colours."""
    text = shown = b""
    end = time.monotonic() + seconds
    while wanted not in shown and (left := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], min(left, 1))[0]:
            try:
                block = os.read(descriptor, 65536)
            except OSError:
                break
            if not block:
                break
            text += block
            shown = ESCAPES.sub(b"", text)
        elif not wanted:
            break
    return shown
