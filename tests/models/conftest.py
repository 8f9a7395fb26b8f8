"""Shared by the tests of models: the real conversion once, and work inside the real environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.config.configuration import Config, load
from pico_image.models import convert, environment, pipeline
from tests.support.converters import borrowing_cache, caller

MODEL = "efficientnet-lite0"


@pytest.fixture(scope="session")
def console() -> Console:
    return Console()


@pytest.fixture(scope="session")
def config() -> Config:
    return load()


@pytest.fixture(scope="session")
def python(console: Console) -> Path:
    """The interpreter of the environment that makes .tflite models."""
    return environment.environment(console, "models")


@pytest.fixture(scope="session")
def job(console: Console, config: Config) -> pipeline.Plan:
    return convert.plan(console, config, MODEL)


@pytest.fixture(scope="session")
def stages(console: Console, config: Config, job: pipeline.Plan) -> pipeline.Stages:
    """EfficientNet-Lite0 through every stage, from the cache when nothing changed."""
    return pipeline.run_stages(console, job, with_npu=True)


@pytest.fixture(scope="session")
def model(console: Console, config: Config, stages: pipeline.Stages) -> Path:
    """The folder that a board gets."""
    return convert.convert(console, config, MODEL, npu=True)


@pytest.fixture(scope="session")
def inside(python: Path) -> Callable[..., Any]:
    """Run a function of a file beside this one inside the environment; its result as plain data."""
    return caller(python)


@pytest.fixture(scope="session")
def inside_rknn(console: Console) -> Callable[..., Any]:
    """The same inside rknn-toolkit2's environment."""
    return caller(environment.environment(console, "rknn"))


@pytest.fixture
def own_cache(
    console: Console, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty cache of this test's own that borrows the converters' environments."""
    mine = borrowing_cache(console, tmp_path / "cache")
    monkeypatch.setenv("PICO_CACHE_DIR", str(mine))
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    return mine
