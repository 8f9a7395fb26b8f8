"""The benchmark of what our orchestration costs still runs; its figure is not looked at here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sdk_overhead
from tests.sdk.test_faults import second_engine
from tests.support.sdk_stand_in import engine as engines

pytestmark = pytest.mark.docker
__all__ = ["second_engine"]


def test_both_sides_are_measured(
    second_engine: engines.TestEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCKER_HOST", "PICO_OUTPUT_DIR", "PICO_CACHE_DIR"):
        monkeypatch.setenv(name, "set by the benchmark, put back afterwards")
    found = sdk_overhead.measure(0, tmp_path, second_engine)
    assert all(value > 0 for value in found.values()) and len(found) >= 3, found
