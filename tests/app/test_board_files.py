"""The list of a board's files that programs may open: nothing beside it, nothing forbidden.

Reading ``/proc/rknpu/volt`` ends in a kernel oops on the boards: its handler dereferences a
regulator that no device tree of theirs names.
"""

from __future__ import annotations

import re
import subprocess

from pico_image.base.files import ROOT
from tests.app.build import APP

_ROW = re.compile(r'\[(PICO_\w+)\] =\s*\{(\w+ )?"([^"]+)",\s*(PICO_USE_\w+)')
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_SYSTEM = re.compile(r"/(proc|sys|dev|etc)/\w|^/(proc|sys|dev|etc)/?$")


def listed() -> dict[str, str]:
    """Path (without the part that a macro holds) and use of every row."""
    rows = _ROW.findall((APP / "common/board_files.c").read_text())
    return {path: use for _, _, path, use in rows}


def forbidden() -> set[str]:
    return {path for path, use in listed().items() if use == "PICO_USE_NEVER"}


def system_paths(text: str) -> list[str]:
    """String literals of a C text that name something below /proc, /sys, /dev or /etc."""
    return [word for word in _STRING.findall(_COMMENT.sub("", text)) if _SYSTEM.search(word)]


def test_the_list_is_read_whole() -> None:
    names = re.findall(r"\[PICO_\w+\] =", (APP / "common/board_files.c").read_text())
    assert len(listed()) == len(names) - 1 > 20  # one is the array's length
    assert forbidden() == {"/proc/rknpu/volt"}


def test_no_other_file_names_a_path() -> None:
    for path in sorted(APP.rglob("*.[ch]")):
        where = path.relative_to(APP)
        if where.parts[0] not in ("tests", "fuzz") and path.stem != "board_files":
            assert system_paths(path.read_text()) == [], where


def test_such_a_path_is_found() -> None:
    text = (
        '/* "/proc/a" */ open("/proc/b"); f("see /sys/c"); "/etc" "/process" "a/device/" "/sys, "'
    )
    assert system_paths(text) == ["/proc/b", "see /sys/c", "/etc"]


def test_forbidden_files_are_named_by_the_list_alone() -> None:
    """No program, script or page of ours reads one or tells a user to."""
    named = {"app/common/board_files.c", "app/common/board_files.h"}
    names = [*forbidden(), "RKNPU_GET_VOLT"]
    words = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["git", "grep", "-lIF", *words, "--", ":!tests", ":!app/tests"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert set(done.stdout.split()) - {"CHANGELOG.md"} == named


def test_scripts_do_not_read_all_of_a_folder() -> None:
    """``cat /proc/rknpu/*`` would open what is forbidden without its name."""
    folder = re.compile(r"/proc/rknpu(/\*|/?[\"')\s])")
    asked = re.compile(r"""-[de] "?(\$\w+)?/proc/rknpu["\s]""")
    for top in ("board", "package", "pico_image", "configs"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and not path.is_symlink():
                for line in path.read_bytes().decode("utf-8", "replace").splitlines():
                    if folder.search(line):
                        assert asked.search(line), (path, line)
