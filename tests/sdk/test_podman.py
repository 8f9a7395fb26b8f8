"""The same builds through a real Podman's Docker-compatible socket.

Results are compared with those of Docker, byte for byte.
"""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.project import NAME
from pico_image.engine import images, run, volumes
from pico_image.engine.client import Container, Engine, EngineLost, Mount
from pico_image.engine.volumes import Entry
from pico_image.models import convert
from pico_image.sdk import backend, requirements, workspace
from pico_image.sdk.backend import Backend
from tests.sdk.conftest import Project, make_project, result
from tests.sdk.test_faults import (
    interruptible,
    loses_connections,
    lost_connections,
    running,
    when_logged,
)
from tests.support.sdk_stand_in import base_image, podman, registry, repository
from tests.support.sdk_stand_in.fixtures import BASE, SOON, load_base
from tests.support.version import PROJECT_VERSION

pytestmark = pytest.mark.docker
ALL = ["uboot", "kernel", "rootfs"]
__all__ = ["interruptible", "lost_connections"]


@pytest.fixture(scope="module")
def podman_process() -> Iterator[podman.TestPodman]:
    """A Podman of our own with the base image in it."""
    if reason := podman.missing() or base_image.missing():
        pytest.skip(reason)
    process = podman.TestPodman()
    process.start()
    try:
        load_base(process)
        yield process
    finally:
        process.stop()


@pytest.fixture
def project(
    podman_process: podman.TestPodman,
    snapshot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """Nothing is built yet; the SDK is served where Podman's containers reach it."""
    monkeypatch.setenv("DOCKER_HOST", podman_process.url)
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    commit = repository.make_repository(tmp_path / "git/sdk")
    with (
        repository.served(tmp_path / "git", podman_process.gateway) as url,
        contextlib.closing(Engine.connect(NAME)) as engine,
    ):
        made = make_project(engine, snapshot, f"{url}/sdk", commit, tmp_path)
        yield made
        made.remove_volumes()


def test_fetch_build_offline_interrupt_resume_clean(
    project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    """A user's whole day with Podman instead of Docker."""
    Backend(console, project.options, project.engine).fetch(project.target, project.contents)
    assert project.build(console, offline=True) == ALL
    assert result(project.images) == golden
    assert project.build(console) == []

    moments: list[float] = []

    def interrupt() -> None:
        moments.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    project.knob("hang neon-runner")
    with (
        pytest.raises(KeyboardInterrupt),
        when_logged(console, "hanging in neon-runner", interrupt),
    ):
        project.build(console, force=True)
    assert time.monotonic() - moments[0] < SOON
    assert running(project.engine) == []

    project.knob("fail neon-runner")
    with pytest.raises(CommandError, match=f"package neon-runner-{PROJECT_VERSION} failed"):
        project.build(console)
    project.knob("")
    assert project.build(console, from_stage="rootfs") == ["rootfs"]
    assert result(project.images) == golden

    found = {item.name: item for item in requirements.findings(project.config, online=False)}
    assert found["container engine"].detail.startswith("Podman ")
    assert all(item.ok for item in found.values()), found
    would = workspace.remove_volumes(console, caches=True, dry_run=True)
    assert f"volume {project.volume}" in would
    assert workspace.remove_volumes(console, caches=True) == would
    assert [item.name for item in project.engine.client.volumes.list()] == []


@loses_connections
@pytest.mark.usefixtures("lost_connections")
def test_service_killed_in_a_stage(
    project: Project,
    podman_process: podman.TestPodman,
    console: Console,
    golden: dict[str, bytes],
) -> None:
    """Its containers outlive the service; the next build removes what is left of the last."""
    project.knob("hang neon-runner")
    with (
        pytest.raises(EngineLost, match="podman info"),
        when_logged(console, "hanging in neon-runner", podman_process.kill),
    ):
        project.build(console)
    podman_process.start()
    assert running(project.engine) == [f"{project.volume}-run"]
    project.knob("")
    assert project.build(console) == ["rootfs"]
    assert result(project.images) == golden


def test_lines_and_files_are_whole(project: Project, console: Console, tmp_path: Path) -> None:
    """Podman hands on pieces as they come; what is one line has to stay one."""
    script = "for i in 1 2 3; do printf out$i; echo err$i >&2; echo end$i; done"
    lines = run.output_of(
        project.engine, console, Container(BASE, ["bash", "-c", script]), what="try"
    )
    assert lines == ["out1err1", "end1", "out2err2", "end2", "out3err3", "end3"]
    name = f"{NAME}-t-podman"
    content = b"head" + bytes(8 << 20) + b"tail"
    volumes.ensure(project.engine, name, {}, what="a test")
    tree = {"images/a.img": Entry(content), "images/run": Entry(b"#!/bin/sh\n", True)}
    volume = volumes.Volume(project.engine, BASE, name)
    volume.put(tree)
    volume.export(console, "images", tmp_path / "got", total=len(content))
    assert (tmp_path / "got/a.img").read_bytes() == content
    assert volume.read("images/none") is None
    mounts = [Mount(name, "/v", read_only=True)]
    script = "stat -c '%a %u' /v/images/*; touch /v/x 2>/dev/null || echo kept; ls /sys/class/net"
    lines = run.output_of(
        project.engine, console, Container(BASE, ["bash", "-c", script], mounts), what="look"
    )
    assert lines == ["644 0", "755 0", "kept", "lo"]


def test_pull_and_the_registry(
    project: Project, podman_process: podman.TestPodman, console: Console
) -> None:
    port = podman_process.registry_port
    with registry.serving("pico/base", base_image.archive(), port) as (reference, digest):
        image = images.ensure_base(project.engine, console, reference)
        assert image.attrs["RepoDigests"] == [f"{reference.rpartition(':')[0]}@{digest}"]
        project.edit("configs/sources.yml", "luckfoxtech/luckfox_pico:1.0", reference)
        found = {item.name: item for item in requirements.findings(project.config)}
        assert found["container registry"].ok, found["container registry"].detail
        with pytest.raises(UserError, match="could not pull the container image") as caught:
            images.ensure_base(project.engine, console, f"{reference}23")
        assert "docs/building.md" in str(caught.value)
    found = {item.name: item for item in requirements.findings(project.config)}
    assert not found["container registry"].ok


def test_shell_by_the_podman_program(
    project: Project, monkeypatch: pytest.MonkeyPatch, console: Console
) -> None:
    """Where there is no docker program, podman's does the same."""
    near, far = pty.openpty()
    with os.fdopen(far) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        script = "readlink .BoardConfig.mk | grep -q npu-luckfox-pico-mini && exit 5"
        monkeypatch.setattr(convert, "convert", lambda *_: project.models)
        command = ["bash", "-c", script]
        status = backend.shell(console, project.target, project.options, command)
    os.close(near)
    assert status == 5
    assert requirements.findings(None)[0].detail.startswith("Podman")
