"""How pytest-xdist spreads the tests: what one worker runs, and what starts first.

A group is all tests of a file, or of files that share something slow to make. The groups are found
by file names: pytest-xdist 3.8 marks groups (``--dist loadgroup``) in a field that pytest 9.2 has
no more, and so spread every test by itself, without a word.
"""

from __future__ import annotations

from typing import Any

import pytest

#: Files (by how their paths begin) that share a container engine, a booted board, a built image.
TOGETHER = {
    "engine/": "engine",
    "sdk/": "engine",
    "test_workflow.py": "engine",
    "board/": "board",
    "emulator/test_boot.py": "emulator",
    "emulator/test_build.py": "emulator",
    "emulator/test_flashed_card.py": "emulator",
    "emulator/test_interactive.py": "emulator",
    "emulator/test_rootfs.py": "emulator",
}
#: Groups that take minutes, the longest first. Where the cache is empty, test_arm.py compiles
#: TensorFlow Lite for ten minutes: what does not need it follows at once, what needs it later.
FIRST = (
    "compile/test_arm.py",
    "engine",
    "models/test_conversion.py",
    "compile/test_uclibc.py",
    "board",
    "tasks/test_tasks.py",
    "emulator",
    "image/test_build_faults.py",
    "emulator/test_try.py",
    "test_benchmarks.py",
    "results/test_page.py",
    "results/test_report.py",
    "emulator/test_power_cut.py",
    "emulator/test_host_kills.py",
    "compile/test_reproducible.py",
)


def group(nodeid: str) -> str:
    """The group of a test."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return next((name for start, name in TOGETHER.items() if file.startswith(start)), file)


def place(item: pytest.Item) -> int:
    """Where a test's group stands in the queue: a long one at the end is waited for."""
    name = group(item.nodeid)
    return FIRST.index(name) if name in FIRST else len(FIRST)


def scheduler(config: pytest.Config, log: Any) -> object:
    """Hands each group as a whole to the next worker that is free, in the order of the tests."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)
