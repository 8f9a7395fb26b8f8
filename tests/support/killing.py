"""Processes that are killed at random moments; every choice comes from one seed.

``PICO_FAULT_SEED`` sets another seed; ``./inv test --level proofs`` does ``MORE`` times as many.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

SEED = int(os.environ.get("PICO_FAULT_SEED", "20261125"))
PROOFS = os.environ.get("PICO_PROOFS") == "1"
MORE = 5 if PROOFS else 1
#: Longer than any child takes that comes to its end, on a machine that has other things to do.
PATIENCE = 900.0
#: What a child takes over from the test that starts it.
NAMES = ("PICO_CACHE_DIR", "PICO_OUTPUT_DIR", "SOURCE_DATE_EPOCH", "DOCKER_HOST", "TMPDIR")

#: Children are forked from a server that has imported all this: no second of start-up each.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.base.test_cache_faults",
        "tests.test_sources_faults",
        "tests.image.test_build_faults",
        "tests.sdk.disturbed",
        "tests.emulator.killed",
    ]
)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    print(f"PICO_FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def _child(
    ready: Connection, environment: dict[str, str], work: Callable[..., Any], *rest: Any
) -> None:
    os.setsid()
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ.update(environment)
    ready.send(None)
    work(*rest)
    os._exit(0)


class Child:
    """A process that does ``work``; it has begun when this is made."""

    def __init__(self, work: Callable[..., Any], *rest: Any) -> None:
        environment = {name: os.environ[name] for name in NAMES if name in os.environ}
        ours, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=_child, args=(theirs, environment, work, *rest))
        self._process.start()
        theirs.close()  # or a child that fails at once is waited for for ever
        ours.recv()
        self.began = time.monotonic()
        self.lasted = 0.0

    @property
    def running(self) -> bool:
        return self._process.exitcode is None

    def wait(self) -> float:
        """Wait for a good end; the seconds it took."""
        self._process.join(PATIENCE)
        assert self._process.exitcode == 0
        self.lasted = time.monotonic() - self.began
        return self.lasted

    def kill_after(self, seconds: float, *, tools: bool) -> bool:
        """SIGKILL, also to the programs it runs when ``tools``; whether it hit."""
        self._process.join(seconds)
        self.lasted = time.monotonic() - self.began
        pid = self._process.pid
        assert pid is not None
        if self._process.exitcode is None:
            for victim in [pid, *(_descendants(pid) if tools else ())]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
        self._process.join(PATIENCE)
        assert self._process.exitcode in (0, -signal.SIGKILL)
        return self._process.exitcode != 0


def _descendants(pid: int) -> list[int]:
    """What a process started, and what that did: each has a process group of its own."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found


class Moments:
    """When to kill what lasts ``took`` seconds, give or take the machine's mood.

    After a miss the next moment is an earlier one, or a machine that was busy for the first run
    only would be missed for ever. After a hit it may be a later one, or one that is busy since
    the first run would only ever be hit at its beginning.
    """

    def __init__(self, chance: random.Random, took: float) -> None:
        self._chance = chance
        self._took = took

    def next(self) -> float:
        return self._chance.uniform(0, self._took)

    def learn(self, hit: bool, child: Child) -> None:
        self._took = 1.2 * self._took if hit else min(self._took, child.lasted)
