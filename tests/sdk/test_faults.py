"""Builds that are interrupted, fail, run out of room, meet another one or lose their engine.

After each the next build has to give what an undisturbed one gives.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker.errors
import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.project import NAME
from pico_image.engine import volumes
from pico_image.engine.client import Engine, EngineLost
from pico_image.sdk.backend import Backend
from tests.sdk.conftest import VARIANT, Project, result
from tests.support.sdk_stand_in import base_image
from tests.support.sdk_stand_in import engine as engines
from tests.support.sdk_stand_in.fixtures import BASE, SOON, load_base
from tests.support.version import PROJECT_VERSION

pytestmark = pytest.mark.docker

#: The SDK for Python leaves the sockets of failed connections to the garbage collector.
loses_connections = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: Where the stand-in can be made to stop, in the order in which a build comes by.
POINTS = ("uboot", "kernel", "neon-runner")


@contextlib.contextmanager
def when_logged(console: Console, text: str, act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` from another thread as soon as the log has ``text``."""
    assert console.log_path is not None
    path, begin = console.log_path, console.log_path.stat().st_size
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            if text.encode() in path.read_bytes()[begin:]:
                act()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A shell that starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def running(engine: Engine) -> list[str]:
    return [
        str(container.name)
        for container in engine.client.containers.list(all=True, ignore_removed=True)
    ]


def test_interrupted_in_every_stage(
    project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    for point in POINTS:
        project.knob(f"hang {point}")
        moments: list[float] = []

        def interrupt(moments: list[float] = moments) -> None:
            moments.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        with (
            pytest.raises(KeyboardInterrupt),
            when_logged(console, f"hanging in {point}", interrupt),
        ):
            project.build(console)
        assert time.monotonic() - moments[0] < SOON
        assert running(project.engine) == []
    project.knob("")
    project.build(console)
    assert result(project.images) == golden


def test_failure_in_every_stage(
    project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    for point in POINTS:
        project.knob(f"fail {point}")
        stage = point if point in ("uboot", "kernel") else "rootfs"
        with pytest.raises(CommandError, match=f"stage {stage}") as caught:
            project.build(console)
        text = str(caught.value)
        assert f"error: {point}: told to fail" in text
        assert str(console.log_path) in text
        assert f"--from {stage}" in text
        if point == "neon-runner":
            assert f"package neon-runner-{PROJECT_VERSION} failed" in text
        assert project.state(stage) == "failed"
    project.knob("")
    project.build(console)
    assert result(project.images) == golden


def test_disk_full_in_a_stage(project: Project, console: Console, golden: dict[str, bytes]) -> None:
    for point in ("kernel", "neon-runner"):
        project.knob(f"full {point}")
        with pytest.raises(CommandError, match="No space left") as caught:
            project.build(console)
        assert "docker system df" in str(caught.value)
        # Files may be cut short, so the stage counts as cut off and not as failed.
        assert project.state("kernel" if point == "kernel" else "rootfs") == "begun"
    project.knob("")
    project.build(console)
    assert result(project.images) == golden


def test_killed_client(built_project: Project, console: Console, golden: dict[str, bytes]) -> None:
    """SIGKILL leaves the container behind; the next build removes it and starts cleanly."""
    project = built_project
    project.knob("hang neon-runner")
    (project.root / "app/more.c").write_text("int more;\n")
    code = (
        "import sys, dataclasses; from pathlib import Path\n"
        "from pico_image.base import console; from pico_image.config import configuration\n"
        "from pico_image.card.parts import Contents; from pico_image.config.target import Target\n"
        "from pico_image.sdk.backend import Backend; from pico_image.sdk.workspace import Options\n"
        "root, base, models, log = sys.argv[1:]\n"
        "c = configuration.load(Path(root)); t = console.Console()\n"
        "o = Options(base_image=base, later_bytes=0)\n"
        "m = Contents({'efficientnet-lite0': Path(models)})\n"
        "with t.logging_to(Path(log), 'build'):\n"
        f"    Backend(t, o).build(Target.of(c, {VARIANT!r}), m)\n"
    )
    models = str(project.models)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(project.root), BASE, models, str(project.root / "logs")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: f"{project.volume}-run" in running(project.engine))
        _until(lambda: "hanging" in _container_log(project))
    finally:
        child.kill()
        child.wait()
    assert f"{project.volume}-run" in running(project.engine)
    (project.root / "app/more.c").unlink()
    project.knob("")
    assert project.build(console) == ["rootfs"]
    assert result(project.images) == golden
    assert running(project.engine) == []


def _container_log(project: Project) -> str:
    with contextlib.suppress(
        docker.errors.APIError
    ):  # the container of an earlier step, just ended
        container = project.engine.client.containers.get(f"{project.volume}-run")
        return bytes(container.logs()).decode()
    return ""


def _until(condition: Callable[[], bool], seconds: float = 600) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def test_two_builds_at_once(
    project: Project, console: Console, golden: dict[str, bytes], tmp_path: Path
) -> None:
    """The second waits and then finds everything done."""
    ran: dict[str, list[str]] = {}
    problems: list[BaseException] = []

    def build(name: str) -> None:
        own = Console(stream=(tmp_path / f"{name}.txt").open("w"))
        try:
            with own.logging_to(tmp_path / name, "build"):
                ran[name] = project.build(own)
        except BaseException as error:
            problems.append(error)
        finally:
            own._rich.file.close()

    threads = [threading.Thread(target=build, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(map(len, ran.values())) == [0, 3]
    assert result(project.images) == golden
    waited = [name for name, stages in ran.items() if not stages]
    assert "waiting" in (tmp_path / f"{waited[0]}.txt").read_text()


@pytest.mark.parametrize("client", ["elsewhere:1", f"{socket.gethostname()}:{os.getppid()}"])
def test_container_of_another_client(built_project: Project, console: Console, client: str) -> None:
    """An engine may serve several machines, and one by several names: locks do not see those."""
    name = f"{built_project.volume}-run"
    labels = {"luckfox-pico-npu.client": client}
    container = built_project.engine.client.containers.run(
        BASE, ["sleep", "600"], name=name, labels=labels, detach=True, network_mode="none"
    )
    try:
        who = "from the machine elsewhere|by process [0-9]+ of this machine"
        with pytest.raises(UserError, match=f"is being used ({who})") as caught:
            built_project.build(console, only="uboot")
        assert f"docker rm -f {name}" in str(caught.value)
    finally:
        container.remove(force=True)


@pytest.fixture
def lost_connections() -> Iterator[None]:
    """Collect them where the mark above still holds."""
    yield
    gc.collect()


@pytest.fixture
def second_engine() -> Iterator[engines.TestEngine]:
    """An engine of the test's own, to be killed or filled."""
    if reason := engines.missing() or base_image.missing():
        pytest.skip(reason)
    process = engines.TestEngine(1)
    process.start()
    try:
        load_base(process)
        yield process
    finally:
        process.stop()


@loses_connections
@pytest.mark.usefixtures("lost_connections")
def test_engine_killed_in_a_stage(
    project: Project,
    second_engine: engines.TestEngine,
    console: Console,
    golden: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments: list[float] = []

    def power_cut() -> None:
        moments.append(time.monotonic())
        second_engine.kill()

    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", second_engine.url)
        with contextlib.closing(Engine.connect(NAME)) as engine:
            patch.setattr(project, "engine", engine)
            project.knob("hang neon-runner")
            with (
                pytest.raises(EngineLost, match="stopped answering") as caught,
                when_logged(console, "hanging in neon-runner", power_cut),
            ):
                project.build(console)
        assert time.monotonic() - moments[0] < SOON
        assert "again" in (caught.value.hint or "")
        second_engine.start()
        with contextlib.closing(Engine.connect(NAME)) as engine:
            patch.setattr(project, "engine", engine)
            project.knob("")
            assert project.build(console) == ["rootfs"]
    assert result(project.images) == golden


def test_full_disk(project: Project, console: Console, golden: dict[str, bytes]) -> None:
    """The engine's data on a small file system that really fills up."""
    if reason := engines.missing():
        pytest.skip(reason)
    small = Path(project.root).parent / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(small)], check=True)
    process = engines.TestEngine(1, data=small / "data")
    patch = pytest.MonkeyPatch()
    try:
        process.start()
        load_base(process)
        patch.setenv("DOCKER_HOST", process.url)
        patch.setattr(project, "engine", Engine.connect(NAME))
        ballast = small / "ballast"
        project.knob("")
        project.build(console, only="uboot", first_bytes=0)
        # Unbuffered: a buffer kept back by the failed write would fail once more when it is closed.
        with (
            ballast.open("wb", buffering=0) as stream,
            pytest.raises(OSError, match="No space left"),
        ):
            while True:
                stream.write(bytes(1 << 16))
        with pytest.raises(UserError, match="(No space left|disk is full)") as caught:
            project.build(console, later_bytes=0)
        assert "docker system df" in str(caught.value)
        ballast.unlink()
        project.build(console, later_bytes=0)
        assert result(project.images) == golden
        project.engine.close()
    finally:
        patch.undo()
        process.stop()
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_caller_who_is_not_root(
    built_project: Project,
    engine_process: engines.TestEngine,
    console: Console,
    golden: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The results belong to whoever asked, and root's files never appear outside the engine."""
    home = Path(f"/tmp/pico-nobody-{os.getpid()}")
    home.mkdir(mode=0o755)
    nobody = 65534
    os.chown(home, nobody, nobody)
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(home / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(home / "cache"))
    socket = Path(engine_process.url.removeprefix("unix://"))
    socket.parent.chmod(0o755)
    for folder in (built_project.root, *built_project.root.parents):
        if folder != Path("/") and folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o055)
    shutil.chown(socket, group=nobody)
    os.setegid(nobody)
    os.seteuid(nobody)
    try:
        with contextlib.closing(Backend(console, built_project.options)) as backend:
            parts = backend.build(built_project.target, built_project.contents)
        assert result(parts.folder) == golden
    finally:
        os.seteuid(0)
        os.setegid(0)
    found = list(home.rglob("*"))
    assert {path.stat().st_uid for path in found} == {nobody}
    assert any(path.name == "rootfs.img" for path in found)
    shutil.rmtree(home)


def test_fetch_goes_on_where_it_was_cut_off(
    project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small batches, and cut off by who reads the first one's end: nothing has to be in time.
    monkeypatch.setattr("pico_image.sdk.checkout.BATCH", 2)
    project.remove_volumes()
    all_files: list[int] = []

    def cut_off(text: str) -> None:
        Console.log(console, text)
        if text.startswith("@files 2 "):
            all_files.append(int(text.split()[2]))
            console.cancelled.set()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(console, "log", cut_off)
        project.build(console)
    console.cancelled.clear()
    assert console.log_path is not None
    before = console.log_path.stat().st_size
    project.build(console, only="uboot")
    text = console.log_path.read_bytes()[before:].decode()
    first = next(line for line in text.splitlines() if line.startswith("@files 0 "))
    assert int(first.split()[2]) <= all_files[0] - 2
    # The commit and its folders, 26 objects, are not transferred again.
    assert "Receiving objects" not in text
    # Each batch is a pack. From 50 on git packed all of them again; 66 packs became 16.
    assert project.shell_all(console, "git --git-dir=/cache/git/sdk.git config gc.auto") == ["0"]


def test_fetch_killed_from_outside_is_told_as_that(
    project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the stages told: test_kills failed when its blow met the checkout."""
    project.remove_volumes()

    def kill(text: str) -> None:
        Console.log(console, text)
        if text.startswith("@files 0 "):
            for container in project.engine.client.containers.list(ignore_removed=True):
                container.kill()

    monkeypatch.setattr(console, "log", kill)
    with pytest.raises(CommandError, match="failed with status 137") as caught:
        project.build(console)
    assert "killed from outside" in str(caught.value)


def test_checkout_that_was_cut_off_is_made_whole(
    built_project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    built_project.shell(
        console,
        "rm /build/states/commit /build/sdk/sysdrv/Makefile; echo cut >/build/sdk/project/build.sh",
    )
    built_project.build(console, force=True)
    assert result(built_project.images) == golden


def test_buildroot_that_was_unpacked_by_halves_is_unpacked_again(
    built_project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    tree = "/build/buildroot/buildroot-2023.02.6"
    halves = f"mv {tree} {tree}.new && rm {tree}.new/Makefile {tree}.new/.archive"
    built_project.shell(console, halves)
    assert built_project.build(console, from_stage="rootfs") == ["rootfs"]
    assert result(built_project.images) == golden
    assert built_project.shell(console, "ls /build/buildroot") == ["buildroot-2023.02.6"]


def test_state_that_cannot_be_read(
    built_project: Project, console: Console, golden: dict[str, bytes]
) -> None:
    """As after a power cut on a file system that lost the file's content."""
    entries = {f"{name}.json": volumes.Entry(b"") for name in ("kernel", "rootfs")}
    volumes.Volume(built_project.engine, BASE, built_project.volume).put(entries, "states")
    assert built_project.build(console) == ["kernel", "rootfs"]
    assert built_project.state("rootfs") == "done"
    assert result(built_project.images) == golden
