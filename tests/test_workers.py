"""The tests in several workers: what belongs together stays together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pico_image.base.files import ROOT
from tests.support import workers

CONFTEST = """
import os
from tests.support.workers import scheduler as pytest_xdist_make_scheduler

def pytest_runtest_setup(item):
    print(item.path.name, os.environ["PYTEST_XDIST_WORKER"], file=open({seen!r}, "a"))
"""


def test_every_name_is_that_of_tests() -> None:
    for start in workers.TOGETHER:
        assert list((ROOT / "tests").glob(f"{start}*")), start
    for name in workers.FIRST:
        assert name in workers.TOGETHER.values() or (ROOT / "tests" / name).is_file(), name


def test_a_file_stays_in_one_worker(tmp_path: Path) -> None:
    """pytest-xdist's own groups were none with a newer pytest, and nothing said so."""
    seen = tmp_path / "seen"
    (tmp_path / "conftest.py").write_text(CONFTEST.format(seen=str(seen)))
    for name in ("test_a.py", "test_b.py", "test_c.py"):
        text = "".join(f"def test_{number}(): pass\n" for number in range(9))
        (tmp_path / name).write_text(text)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = seen.read_text().splitlines()
    assert len(lines) == 27
    assert len(set(lines)) == 3, "a file was in two workers"
    assert len({line.split()[1] for line in lines}) == 2, "one worker did everything"
