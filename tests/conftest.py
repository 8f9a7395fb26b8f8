"""What all tests share: the rule that CI may not skip, and the real configuration."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import synthetic_results, workers
from tests.support.synthetic_results import Keep

#: An engine is started once for all folders that use it.
pytest_plugins = ("tests.support.sdk_stand_in.fixtures",)

#: The same examples in every run, and a busy machine is no fault: by default an example has 200 ms
#: (the compiled programs that some start take a tenth of it) and all of them a second to be made.
settings.register_profile(
    "pico",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("pico")

#: With CI=true only tests with one of these marks may skip.
MAY_SKIP = ("online", "board", "external")

#: Long proofs (whole builds by Buildroot, connections that are cut): minutes to an hour each, so
#: they run on demand, with `invoke test --level proofs`.
PROOFS = (
    "buildroot/test_build.py",
    "board/test_lost.py",
)


def pytest_configure() -> None:
    """Ctrl-C works in the programs that tests start, too.

    A shell starts background jobs with SIGINT ignored, their children inherit that, and a test
    that ends a program by Ctrl-C waited for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long proofs unless PICO_PROOFS=1; in a worker, put long groups first."""
    if os.environ.get("PICO_PROOFS") != "1":
        left = [item for item in items if item.path.as_posix().endswith(PROOFS)]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if not item.path.as_posix().endswith(PROOFS)]
    if hasattr(config, "workerinput"):
        items.sort(key=workers.place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    return workers.scheduler(config, log)


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Write a (synthetic) result where `invoke bench` would have kept it; its folder."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))

    def write(name: str, result: dict[str, Any] | None = None, **options: Any) -> Path:
        folder = tmp_path / "out" / "results" / name
        folder.mkdir(parents=True)
        data = synthetic_results.result(**options) if result is None else result
        (folder / "result.json").write_text(json.dumps(data))
        return folder

    return write


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI a skip without a permitted reason is a failure: a tool is missing there."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if (
        report.skipped
        and os.environ.get("CI") == "true"
        and not hasattr(report, "wasxfail")
        and not any(item.get_closest_marker(mark) for mark in MAY_SKIP)
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where it may not: {reason}"
