"""`invoke build-all`: a matrix of variants through the whole build, on two engines at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.project import NAME
from pico_image.card.verify import verify
from pico_image.engine.client import Engine
from pico_image.image import build
from pico_image.image.build import Login
from pico_image.models import convert
from tests.sdk.conftest import VARIANT, Project, result
from tests.sdk.test_faults import interruptible, running, second_engine
from tests.support.sdk_stand_in import engine as engines
from tests.support.sdk_stand_in.fixtures import BASE, SOON

pytestmark = pytest.mark.docker
__all__ = ["interruptible", "second_engine"]


@pytest.fixture
def login(tmp_path: Path) -> Login:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return Login(key.with_suffix(".pub"))


@pytest.fixture
def contexts(
    project: Project,
    second_engine: engines.TestEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Two docker contexts, one of them by TCP: nothing relies on files of this machine."""
    folder = tmp_path / "docker"
    engines.write_context(folder, "local", project.engine.address.url)
    engines.write_context(folder, "remote", second_engine.tcp)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setattr(convert, "convert", lambda *_: project.models)
    monkeypatch.delenv("DOCKER_HOST")
    return ["local", "remote"]


def add_variant(project: Project, name: str, more: str = "") -> None:
    """One more variant, the same but for ``more``."""
    text = (project.root / f"configs/variants/{VARIANT}.yml").read_text()
    (project.root / f"configs/variants/{name}.yml").write_text(f"{text}{more}")


@contextlib.contextmanager
def both(contexts: list[str]) -> Iterator[list[Engine]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Engine.connect(NAME, name))) for name in contexts
        ]


def say(engines_: list[Engine], text: str) -> None:
    """What the stand-in on each engine is to do."""
    for engine in engines_:
        container = engine.client.containers.run(
            BASE, ["sh", "-c", 'echo "$0" >/dl/stand-in', text], remove=False, detach=True,
            volumes={f"{NAME}-dl": {"bind": "/dl", "mode": "rw"}}, network_mode="none",
        )  # fmt: skip
        container.wait()
        container.remove()


def test_matrix_on_two_engines_one_variant_fails(
    project: Project, contexts: list[str], login: Login, console: Console, golden: dict[str, bytes]
) -> None:
    """Three variants, two engines; the one with a camera fails in a stage that only it has."""
    add_variant(project, "second")
    add_variant(project, "with-camera", "camera: true\n")
    with both(contexts) as both_engines:
        for engine in both_engines:
            engine.client.volumes.create(
                f"{NAME}-dl", labels={NAME: "volume", f"{NAME}.cache": "dl"}
            )
        say(both_engines, "fail media")
        names = ["with-camera", VARIANT, "second"]
        with pytest.raises(UserError, match="1 of 3 variants failed") as caught:
            build.build_all(
                console, project.config, names, project.options, login, contexts=contexts
            )
        assert "with-camera: stage media" in str(caught.value)
        assert "error: media: told to fail" in str(caught.value)
        # Each engine had something to do.
        assert all(engine.client.images.list(f"{NAME}/builder") for engine in both_engines)

        say(both_engines, "")
        done = build.build_all(
            console, project.config, names, project.options, login, contexts=contexts
        )
    assert set(done) == set(names)
    assert not (project.output / "with-camera/images/root-password.txt").exists()
    for name, images in done.items():
        assert images == project.output / name / "images"
        assert verify(console, images)
        info = json.loads((images / "build-info.json").read_text())
        assert info["variant"] == name
    # The same parts as of a build on one engine; only who may log in is other here.
    made, second = result(done[VARIANT]), result(done["second"])
    for part in ("env", "idblock", "uboot", "boot", "oem", "userdata"):
        assert made[f"{part}.img"] == second[f"{part}.img"] == golden[f"{part}.img"], part
    assert "sdcard.img" in made and "sdcard.img" in second
    assert console.log_path is not None
    text = console.log_path.read_text()
    assert all(f"{name}: done" in text for name in names)


def test_interrupted_matrix_stops_on_both_engines(
    project: Project, contexts: list[str], login: Login, console: Console
) -> None:
    add_variant(project, "second")
    moments: list[float] = []
    with both(contexts) as both_engines:
        for engine in both_engines:
            engine.client.volumes.create(
                f"{NAME}-dl", labels={NAME: "volume", f"{NAME}.cache": "dl"}
            )
        say(both_engines, "hang kernel")

        def interrupt_when_both_hang() -> None:
            give_up = time.monotonic() + 600
            while time.monotonic() < give_up and not moments:
                hanging: list[str] = []
                # A container may end between the listing and the question: then it is gone (404)
                # or the engine is about to remove it (409).
                with contextlib.suppress(docker.errors.APIError):
                    hanging = [
                        str(container.name)
                        for engine in both_engines
                        for container in engine.client.containers.list(ignore_removed=True)
                        if b"hanging in kernel" in container.logs()
                    ]
                if len(hanging) == 2:
                    moments.append(time.monotonic())
                time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)

        watcher = threading.Thread(target=interrupt_when_both_hang)
        watcher.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                build.build_all(
                    console, project.config, [VARIANT, "second"], project.options, login,
                    contexts=contexts,
                )  # fmt: skip
            ended = time.monotonic()
        finally:
            watcher.join()
        assert moments, "the two never hung at the same time"
        assert ended - moments[0] < SOON
        assert [running(engine) for engine in both_engines] == [[], []]
        say(both_engines, "")
    done = build.build_all(
        console, project.config, [VARIANT, "second"], project.options, login, contexts=contexts
    )
    assert all(verify(console, images) for images in done.values())
