"""Fixtures of the tests that need a container engine; a plugin of all tests, so it starts once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pico_image.base.project import NAME
from pico_image.engine.client import Engine
from tests.support.sdk_stand_in import base_image, podman
from tests.support.sdk_stand_in import engine as engines

BASE = "pico-test/base:1"
#: Within so many seconds an interrupted run ends: two on an idle machine. What hangs in these tests
#: hangs for 600.
SOON = 240


@pytest.fixture(scope="session")
def engine_process() -> Iterator[engines.TestEngine]:
    """An engine of our own with the base image in it."""
    if reason := engines.missing() or base_image.missing():
        pytest.skip(reason)
    process = engines.TestEngine()
    process.start()
    try:
        load_base(process)
        yield process
    finally:
        process.stop()


def load_base(process: engines.TestEngine | podman.TestPodman) -> None:
    with process.client() as client:
        name, _, tag = BASE.partition(":")
        answer = client.api.import_image(base_image.archive(), repository=name)
        # Podman's import knows no tag.
        client.images.get(json.loads(answer)["status"]).tag(name, tag)


@pytest.fixture
def engine(engine_process: engines.TestEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A connection, and DOCKER_HOST set for what connects by itself."""
    monkeypatch.setenv("DOCKER_HOST", engine_process.url)
    connected = Engine.connect(NAME)
    yield connected
    connected.close()
