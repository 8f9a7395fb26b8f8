"""The C unit tests of app/tests under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.build import APP, run

NAMES = sorted(path.stem.removeprefix("test_") for path in (APP / "tests").glob("test_*.c"))


def test_there_are_unit_tests() -> None:
    assert len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_unit(host: Path, name: str) -> None:
    program = host / "tests" / f"test-{name}"
    if not program.exists():
        pytest.skip("cmocka is not installed")
    done = run([program])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[  PASSED  ]" in done.stderr + done.stdout
