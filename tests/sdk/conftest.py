"""A container engine for this folder's tests, a base image, and the stand-in SDK on a server."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.project import NAME
from pico_image.card import filesystem
from pico_image.card.blocks import Slice
from pico_image.card.parts import Contents
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.config.target import Target
from pico_image.engine import run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.engine.volumes import Volume
from pico_image.sdk.backend import Backend
from pico_image.sdk.checkout import Origin
from pico_image.sdk.workspace import Options
from tests.support.model_cards import card
from tests.support.sdk_stand_in import engine as engines
from tests.support.sdk_stand_in import repository
from tests.support.sdk_stand_in.fixtures import BASE

VARIANT = "luckfox-pico-mini"
GOLDEN = "pico-test-golden"


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    stream = io.StringIO()
    made = Console(stream=stream)
    with made.logging_to(tmp_path / "logs", "test"):
        yield made


@pytest.fixture(scope="session")
def sdk_server(
    engine_process: engines.TestEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """URL of the stand-in SDK as containers reach it, its commit, and its folder."""
    base = tmp_path_factory.mktemp("git")
    commit = repository.make_repository(base / "sdk")
    with repository.served(base, engine_process.gateway) as url:
        yield f"{url}/sdk", commit, base / "sdk"


@dataclasses.dataclass
class Project:
    """A copy of our tree that a test may change, built with the stand-in SDK."""

    root: Path
    output: Path
    engine: Engine
    models: Path
    options: Options
    variant: str = VARIANT

    @property
    def config(self) -> Config:
        return configuration.load(self.root)

    @property
    def target(self) -> Target:
        return Target.of(self.config, self.variant)

    @property
    def contents(self) -> Contents:
        return Contents({"efficientnet-lite0": self.models})

    @property
    def images(self) -> Path:
        return self.output / self.variant / "images"

    @property
    def volume(self) -> str:
        commit = self.config.source("luckfox-sdk").commit
        assert commit is not None
        return f"{NAME}-{self.variant}-{commit[:12]}"

    def build(self, console: Console, *, offline: bool = False, **changes: object) -> list[str]:
        """Build; the stages that ran, in order."""
        options = dataclasses.replace(self.options, **changes)  # type: ignore[arg-type]
        assert console.log_path is not None
        before = console.log_path.stat().st_size
        console.offline = offline
        try:
            Backend(console, options, self.engine).build(self.target, self.contents)
        finally:
            console.offline = False
        text = console.log_path.read_bytes()[before:].decode()
        return re.findall(r"^- Stage (\w+)", text, re.MULTILINE)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the tree."""
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def knob(self, text: str) -> None:
        """Tell the stand-in where to fail, hang or run out of space; empty for nowhere."""
        volumes.ensure(self.engine, f"{NAME}-dl", {f"{NAME}.cache": "dl"}, what="a test")
        entry = {"stand-in": volumes.Entry(f"{text}\n".encode())}
        Volume(self.engine, BASE, f"{NAME}-dl").put(entry)

    def shell(self, console: Console, script: str) -> list[str]:
        """Run a script in the build volume; its output."""
        return run.output_of(
            self.engine,
            console,
            Container(BASE, ["bash", "-c", script], [Mount(self.volume, "/build")]),
            what="look into the volume",
        )

    def path_shell(self, console: Console, path: Path, script: str) -> None:
        """The same in the volume of a checkout of the user's."""
        key = Origin("", "", path).key
        mounts = [Mount(f"{NAME}-{self.variant}-{key}", "/build")]
        container = Container(BASE, ["bash", "-c", f"cd /build && {script}"], mounts)
        run.output_of(self.engine, console, container, what="change the volume")

    def shell_all(self, console: Console, script: str) -> list[str]:
        """Run a script that sees the shared caches too."""
        caches = [Mount(f"{NAME}-{name}", f"/cache/{name}") for name in ("git", "dl", "ccache")]
        return run.output_of(
            self.engine,
            console,
            Container(BASE, ["bash", "-c", script], caches),
            what="change a cache",
        )

    def state(self, stage: str) -> str:
        text = Volume(self.engine, BASE, self.volume).read(f"states/{stage}.json")
        return "absent" if text is None else str(json.loads(text)["state"])

    def remove_volumes(self, *, caches: bool = True) -> None:
        """As on a fresh engine; without ``caches`` the downloads and the git store stay."""
        kept = () if caches else ("-git", "-dl", "-ccache")
        for volume in self.engine.client.volumes.list():
            name = str(volume.name)
            if name.startswith(NAME) and not name.endswith(kept or ("/",)):
                volume.remove(force=True)


def result(images: Path) -> dict[str, bytes]:
    """What was built, to compare: every file by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(images.iterdir())
        if path.is_file() and not path.name.endswith(".owner")
    }


def listing(image: Path) -> dict[str, filesystem.Entry]:
    """What is in a file system image, by path without the first slash."""
    return {entry.path.lstrip("/"): entry for entry in filesystem.list_files(Slice.of(image))}


def content(image: Path, name: str) -> str:
    """A text file in a file system image."""
    return filesystem.read_file(Slice.of(image), f"/{name}").decode()


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our tree as it is when the tests begin: every build of theirs starts from the same one."""
    folder = tmp_path_factory.mktemp("snapshot")
    repository.copy_tree(folder)
    repository.replace_downloads(folder, tmp_path_factory.mktemp("downloads"))
    return folder


def make_project(engine: Engine, snapshot: Path, url: str, commit: str, folder: Path) -> Project:
    """A copy of our tree whose SDK is the stand-in."""
    root = folder / "tree"
    shutil.copytree(snapshot, root, symlinks=True)
    sources = root / "configs/sources.yml"
    text = sources.read_text()
    text = re.sub(r"(luckfox-sdk:(?:\n    .*)*?\n    repository: )\S+", rf"\g<1>{url}", text)
    text = re.sub(r"(luckfox-sdk:(?:\n    .*)*?\n    commit: )\S+", rf"\g<1>{commit}", text)
    sources.write_text(text)
    # The real Dockerfiles install packages; here the base has all that is needed.
    (root / "docker/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    models = folder / "models/efficientnet-lite0"
    (models / "images").mkdir(parents=True)
    file = {"path": "int8.tflite", "bytes": 4, "sha256": "0" * 64}
    (models / "model.json").write_text(json.dumps(card(files={"int8": file}).plain()))
    (models / "images/cat.jpg").write_bytes(b"a cat")
    options = Options(
        base_image=BASE,
        first_bytes=50_000_000,
        later_bytes=10_000_000,
    )
    made = Project(root, folder / "out", engine, models, options)
    made.remove_volumes(caches=False)
    made.knob("")
    return made


@pytest.fixture
def project(
    engine: Engine,
    snapshot: Path,
    sdk_server: tuple[str, str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """Nothing is built yet, and the volumes are empty."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    made = make_project(engine, snapshot, sdk_server[0], sdk_server[1], tmp_path)
    yield made
    made.remove_volumes(caches=False)


@pytest.fixture(scope="session")
def golden(
    engine_process: engines.TestEngine,
    snapshot: Path,
    sdk_server: tuple[str, str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    """The result of an undisturbed build from nothing; its volume is kept under another name."""
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        patch.setenv("PICO_CACHE_DIR", str(folder / "cache"))
        patch.setenv("DOCKER_HOST", engine_process.url)
        engine = Engine.connect(NAME)
        made = make_project(engine, snapshot, sdk_server[0], sdk_server[1], folder)
        quiet = Console(stream=io.StringIO())
        with quiet.logging_to(folder, "golden"):
            made.build(quiet)
            engine.client.volumes.create(GOLDEN)
            copy_volume(engine, quiet, made.volume, GOLDEN)
        made.remove_volumes(caches=False)
        engine.close()
        return result(made.images)


def copy_volume(engine: Engine, console: Console, source: str, target: str) -> None:
    run.output_of(
        engine,
        console,
        Container(
            BASE,
            ["cp", "-a", "/from/.", "/to/"],
            [Mount(source, "/from", read_only=True), Mount(target, "/to")],
        ),
        what="copy a volume",
    )


@pytest.fixture
def built_project(project: Project, console: Console, golden: dict[str, bytes]) -> Project:
    """The same, built before; what ``golden`` left stands in for building it again."""
    labels = {f"{NAME}.variant": VARIANT, f"{NAME}.sdk": project.volume.rpartition("-")[2]}
    volumes.ensure(project.engine, project.volume, labels, what="a test")
    copy_volume(project.engine, console, GOLDEN, project.volume)
    assert project.build(console) == []
    assert result(project.images) == golden
    return project
