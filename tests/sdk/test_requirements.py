"""What `invoke doctor` finds out about the engine, with a stand-in for one."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from pico_image.engine.client import Engine
from pico_image.sdk import requirements
from tests.support.sdk_stand_in import fake_engine


def test_an_engine_is_connected_once_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    for name in ("__init__", "close"):
        plain = getattr(Engine, name)

        def noted(self: Engine, *rest: object, name: str = name, plain: object = plain) -> None:
            events.append(name)
            plain(self, *rest)  # type: ignore[operator]

        monkeypatch.setattr(Engine, name, noted)
    with fake_engine.answering(tmp_path / "docker.sock", architecture="aarch64") as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        found = {item.name: item for item in requirements.findings(None, online=False)}
    assert events == ["__init__", "close"]
    assert found["container engine"].ok and not found["engine's architecture"].ok
    assert not any(item.needed for item in found.values())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py's socket
def test_without_an_engine_that_is_the_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    first = requirements.findings(None, online=False)[0]
    gc.collect()
    assert first.name == "container engine" and not first.ok and first.remedy
