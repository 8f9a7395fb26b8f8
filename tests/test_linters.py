"""The linters, as tests: absent on a desk they skip, absent in CI they fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> list[str]:
    """Files that git tracks or would track, as paths from the root."""
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "ls-files",
            "-co",
            "--exclude-standard",
            "--",
            *patterns,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in listed.splitlines() if (ROOT / line).is_file()]


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{BIN}:/usr/bin:/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*words: str) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def shell_scripts() -> list[str]:
    """Tracked files whose first line names a shell."""
    found = []
    for name in tracked():
        with (ROOT / name).open("rb") as stream:
            first = stream.readline(64)
        if first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b" sh", b"bash")):
            found.append(name)
    return found


def board_scripts() -> list[str]:
    """Shell scripts that run on the board, with busybox."""
    return [name for name in shell_scripts() if name.startswith("board/") and "overlay" in name]


def test_ruff_check() -> None:
    check(tool("ruff"), "check", ".")


def test_ruff_format() -> None:
    check(tool("ruff"), "format", "--check", ".")


def test_mypy() -> None:
    check(tool("mypy"))


def test_shellcheck() -> None:
    check(tool("shellcheck"), *shell_scripts())


def test_busybox_parses_board_scripts() -> None:
    scripts = board_scripts()
    assert scripts, "the overlay has no scripts: this check would be idle"
    busybox = tool("busybox")
    for script in scripts:
        check(busybox, "ash", "-n", script)


def test_yamllint() -> None:
    check(tool("yamllint"), "--strict", *tracked("*.yml", "*.yaml"))


def test_hadolint() -> None:
    check(tool("hadolint"), *tracked("docker/Dockerfile*"))


def test_clang_format() -> None:
    files = tracked("app/*.c", "app/*.h", "board/*.c", "benchmarks/*.c")
    assert files
    check(tool("clang-format"), "--style=file:app/.clang-format", "--dry-run", "-Werror", *files)


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        (["ruff", "check"], "bad.py", "import os\n"),
        (["shellcheck"], "bad.sh", "#!/bin/sh\necho $1\n"),
        (["busybox", "ash", "-n"], "bad.sh", "#!/bin/sh\nif true; then\n"),
        (["yamllint", "--strict"], "bad.yml", "a: 1\na: 2\n"),
        (["hadolint"], "Dockerfile", "FROM debian:latest\nRUN cd /x\n"),
        (["mypy", "--strict"], "bad.py", "def f(x):\n    return x\n"),
    ],
)
def test_linter_still_catches(command: list[str], name: str, text: str, tmp_path: Path) -> None:
    """A checker that never complains is no checker."""
    bad = tmp_path / name
    bad.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool(command[0]), *command[1:], str(bad)], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode != 0


def test_scripts_are_executable() -> None:
    for name in shell_scripts():
        if name.startswith("board/") or name in ("inv", ".ci/run"):
            assert (ROOT / name).stat().st_mode & 0o111 == 0o111, f"{name} must be mode 0755"


def test_no_machine_paths_in_tracked_files() -> None:
    """Paths of a developer's machine do not belong into files that everybody gets."""
    here = f"{ROOT.parent}/"
    if here in ("//", "/tmp/", "/home/", "/opt/", "/root/", "/srv/"):
        here = f"{ROOT}/"  # the folder above is every machine's: only the clone's own name tells
    names = tracked("*.py", "*.md", "*.yml", "*.c", "*.h", "*.sh", "*.mk", "*.j2", "inv")
    bad = [name for name in names if here in (ROOT / name).read_text(encoding="utf-8")]
    assert not bad
