"""The console of this folder's tests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(stream=io.StringIO())
    with made.logging_to(tmp_path / "logs", "test"):
        yield made
