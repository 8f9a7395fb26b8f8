"""An SDK build whose container, engine, daemon or client is killed at random points.

A point is a request to the engine or a line of the build's output, chosen by number, so that a
slow machine meets the same ones; the blow falls up to 50 ms later. After each the same command
must give the files of an undisturbed build, and nothing may be left behind in the engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import pytest

from pico_image.base.project import NAME
from pico_image.engine.client import Engine
from tests.sdk.conftest import Project, make_project, result
from tests.sdk.disturbed import Build
from tests.support.killing import PROOFS, chance
from tests.support.sdk_stand_in import base_image, repository
from tests.support.sdk_stand_in import engine as engines
from tests.support.sdk_stand_in.fixtures import load_base

__all__ = ["chance"]

pytestmark = [pytest.mark.docker, pytest.mark.slow]

#: Of each of four kinds; a kill costs two builds, about six seconds.
KILLS = 20 if PROOFS else 2
# -- the blows ---------------------------------------------------------------------------


def kill_container(build: Build, process: engines.TestEngine) -> bool:
    """The next container that runs; False when the build ended before there was one."""
    with process.client() as client:
        while not build.ends_within(0.005):
            for container in client.containers.list(ignore_removed=True):
                with contextlib.suppress(docker.errors.APIError):
                    container.kill()
                    return True
    return False


def kill_client(build: Build, process: engines.TestEngine) -> bool:
    return build.child.kill_after(0, tools=True)


def kill_daemon(build: Build, process: engines.TestEngine) -> bool:
    process.kill_daemon()
    return True


def cut_power(build: Build, process: engines.TestEngine) -> bool:
    process.kill()
    return True


# -- the tests ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.TestEngine]:
    if reason := engines.missing() or base_image.missing():
        pytest.skip(reason)
    process = engines.TestEngine(2)
    process.start()
    try:
        load_base(process)
        yield process
    finally:
        process.stop()


@dataclasses.dataclass
class Scene:
    """A project on an engine that may be killed, and what builds of it give."""

    project: Project
    process: engines.TestEngine
    #: Files of undisturbed builds: of the tree as it is, and of one with another program.
    plain: dict[str, bytes]
    changed: dict[str, bytes]
    #: Points that a build from nothing, and one after the change, come by.
    points: dict[bool, int]

    def change(self, changed: bool) -> None:
        more = self.project.root / "app/more.c"
        more.unlink(missing_ok=True)
        if changed:
            more.write_text("int more;\n")

    def forget(self) -> None:
        """Nothing is built, and nothing has come out of the engine."""
        with contextlib.closing(Engine.connect(NAME)) as engine:
            dataclasses.replace(self.project, engine=engine).remove_volumes(caches=False)
        shutil.rmtree(self.project.output, ignore_errors=True)

    def left_behind(self) -> tuple[list[str], list[str]]:
        """Containers, and volumes by name; that of our files is named by their content."""
        with self.process.client() as client:
            containers = [
                str(item.name) for item in client.containers.list(all=True, ignore_removed=True)
            ]
            volumes = [
                re.sub(r"(-src)-[0-9a-f]+$", r"\1", str(volume.name))
                for volume in client.volumes.list()
            ]
        return containers, sorted(volumes)

    def whole(self) -> bool:
        """Whether each file that can be seen is one of an undisturbed build, all of it."""
        seen = result(self.project.images) if self.project.images.exists() else {}
        return all(
            content in (self.plain.get(name), self.changed.get(name))
            for name, content in seen.items()
            if not name.endswith(".part")
        )


@pytest.fixture(scope="module")
def scene(
    victim: engines.TestEngine, snapshot: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("kills")
    commit = repository.make_repository(folder / "git/sdk")
    with (
        pytest.MonkeyPatch.context() as patch,
        repository.served(folder / "git", victim.gateway) as url,
    ):
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        patch.setenv("PICO_CACHE_DIR", str(folder / "cache"))
        patch.setenv("DOCKER_HOST", victim.url)
        with contextlib.closing(Engine.connect(NAME)) as engine:
            project = make_project(engine, snapshot, f"{url}/sdk", commit, folder)
        made = Scene(project, victim, {}, {}, {})
        # The first one also fetches: the last of its points are beyond a later build's end.
        made.points[False] = Build(project).wait().points
        made.plain = result(project.images)
        made.change(True)
        made.points[True] = Build(project).wait().points
        made.changed = result(project.images)
        assert made.plain["rootfs.img"] != made.changed["rootfs.img"]
        yield made


@pytest.mark.parametrize("blow", [kill_container, kill_client, kill_daemon, cut_power])
def test_after_a_blow_the_same_command_gives_the_same_files(
    blow: Callable[[Build, engines.TestEngine], bool], scene: Scene, chance: random.Random
) -> None:
    _, volumes = scene.left_behind()
    hits, tries = 0, 0
    met: set[tuple[bool, int]] = set()
    while hits < KILLS:
        tries += 1
        assert tries < 4 * KILLS + 10, "too few blows came before the end"
        changed = tries > 1 and chance.random() < 0.5
        if not changed:
            scene.forget()  # else the whole images of the tree as it is are there
        scene.change(changed)
        at = chance.randrange(1, scene.points[changed])
        build = Build(scene.project, at)
        hit = False
        if build.hear():
            time.sleep(chance.uniform(0, 0.05))
            hit = blow(build, scene.process)
        told = f"{blow.__name__} {tries} at {at} of {scene.points[changed]}"
        while build.hear():
            pass
        if build.ended is not None:
            assert build.ended.how != "bug", f"{told}: {build.ended.text}"
            if "failed with status 137" in build.ended.text:
                assert "killed from outside" in build.ended.text, build.ended.text
            print(f"{told}: {build.ended.how} {build.ended.text}")
        hits += hit
        met.add((changed, at))
        assert scene.whole(), f"{told}: half a file"
        if blow in (kill_daemon, cut_power) and hit:
            scene.process.start()
        scene.change(False)
        after = Build(scene.project).wait()
        assert after.how == "done", f"{told}, then: {after.text}"
        assert result(scene.project.images) == scene.plain, told
        assert scene.left_behind() == ([], volumes), told
        assert list(scene.project.output.rglob("*.part")) == [], told
    assert len(met) > KILLS // 2, "the same point again and again"
    print(f"{blow.__name__}: {hits} of {tries}")
