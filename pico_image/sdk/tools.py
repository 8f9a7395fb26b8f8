"""Around the SDK's stages: a shell, the configuration menus, and a matrix of variants."""

from __future__ import annotations

import contextlib
import io
import queue
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

import docker.errors

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import output_dir
from pico_image.base.project import NAME
from pico_image.config import kconfig
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.engine import run
from pico_image.engine.client import Engine
from pico_image.sdk import backend, stages
from pico_image.sdk.workspace import Options, Prepared, bring_sdk, prepared

#: What `sdk-config` opens: build.sh's menus (luckfox-sdk.md section 1).
MENUS = ("kernel", "buildroot")


def shell(
    console: Console,
    config: Config,
    variant: Variant,
    options: Options | None = None,
    *,
    command: Sequence[str] = (),
    engine: Engine | None = None,
) -> int:
    """A shell (or ``command``) in the build container of a variant, in the SDK; its status.

    Everything is as in a build. What is changed below /build stays until the stage that it
    belongs to is built with --force.
    """
    options = options or Options()
    models = backend.models_of(console, config, variant, options)
    with prepared(console, config, variant, options, models=models, engine=engine) as ready:
        _link_board(console, ready)
        words = list(command) or ["bash", "-l"]
        return _interactive(
            console, ready, ["bash", "-c", 'cd /build/sdk && exec "$@"', "-", *words]
        )


def sdk_config(
    console: Console,
    config: Config,
    variant: Variant,
    menu: str,
    options: Options | None = None,
    *,
    engine: Engine | None = None,
) -> list[str]:
    """Open the kernel's or Buildroot's menu; what differs afterwards, as lines.

    Buildroot's configuration is made anew by every build, so its lines are those that the
    variant's file needs (``extra_symbols``); those of the kernel stay in the volume's checkout.
    """
    if menu not in MENUS:
        raise UserError(f"unknown menu {menu!r}", hint=f"known: {', '.join(MENUS)}")
    options = options or Options()
    models = backend.models_of(console, config, variant, options)
    with prepared(console, config, variant, options, models=models, engine=engine) as ready:
        _link_board(console, ready)
        script = ["bash", "/src/docker/sdk-menu.sh", menu, Path(ready.defconfig).name]
        if _interactive(console, ready, script) != 0:
            raise UserError(f"the {menu} menu ended with an error; nothing was taken over")

        def left(name: str) -> str:
            return (ready.site.files.read(name) or b"").decode()

        if menu == "buildroot":
            changed = kconfig.changes(left("menu.before"), left("menu.after"))
            return kconfig.as_variant_lines(changed).splitlines()
        return [line for line in left("menu.diff").splitlines() if line]


def legal_info(
    console: Console,
    config: Config,
    variant: Variant,
    folder: Path,
    options: Options | None = None,
    *,
    engine: Engine | None = None,
) -> Path:
    """Buildroot's legal-info of a variant that was built, unpacked into ``folder``.

    Raises UserError when the variant was not built yet, or when a package's licence is not what
    its hash says.
    """
    options = options or Options()
    models = backend.models_of(console, config, variant, options)
    with prepared(console, config, variant, options, models=models, engine=engine) as ready:
        site = ready.site
        with console.step("Buildroot collects the licences"):
            container = site.container(
                "bash", "/src/docker/sdk-legal.sh", network=not console.offline
            )
            ended = run.run(site.engine, console, container, what="collect the licences")
        if ended.status == 6:
            raise UserError(
                f"variant {variant.name} has not been built, so Buildroot has no licences of it",
                hint=f"invoke build-image --variant {variant.name}, then this again",
            )
        if ended.status != 0:
            hint = run.killed(ended.status)
            raise CommandError("make legal-info", ended.status, "", console.log_path, hint=hint)
        archive = site.files.read("legal-info.tar")
    if archive is None:
        raise UserError("the container left no legal-info.tar", hint="see the log")
    with tarfile.open(fileobj=io.BytesIO(archive)) as bundle:
        bundle.extractall(folder, filter="data")
    return folder


def _link_board(console: Console, ready: Prepared) -> None:
    """The SDK in place, its board configuration linked, as the stages do it."""
    states = stages.read_states(ready.site)
    bring_sdk(console, ready, states)
    container = ready.site.container("bash", stages.SCRIPT, "prepare")
    run.output_of(ready.site.engine, console, container, what="link the board's configuration")


def _interactive(console: Console, ready: Prepared, command: Sequence[str]) -> int:
    """With a terminal, through docker or podman: the SDK for Python has none to offer."""
    if not sys.stdin.isatty():
        raise UserError(
            "a shell and menus need a terminal, and standard input is none",
            hint="run it in a terminal, without a pipe",
        )
    site = ready.site
    container = site.container(*command, network=True)
    words = run.command_line(site.engine, container, workdir="/build", interactive=True)
    console.log("+ " + " ".join(words))
    try:
        return subprocess.run(words, check=False).returncode
    except FileNotFoundError as error:
        raise UserError(
            f"could not find the program {words[0]}, which is needed for a shell in the container",
            hint="install the command line of Docker (Debian: `apt-get install docker.io`) or "
            "Podman; builds work without it",
        ) from error


def build_all(
    console: Console,
    config: Config,
    variants: Sequence[Variant],
    options: Options | None = None,
    *,
    contexts: Sequence[str] = (),
    build_one: Callable[[Console, Variant, Options], Path] | None = None,
) -> dict[str, Path]:
    """Build several variants, one at a time on each engine; their image folders by name.

    ``contexts`` names docker contexts; without any, all are built on one engine, one after the
    other (they would only take each other's processors). ``build_one`` builds one, with the
    options of its engine (default: ``sdk.build``). One that fails does not stop the others;
    UserError tells all failures at the end. Ctrl-C stops all of them.
    """
    options = options or Options()
    waiting: queue.SimpleQueue[Variant] = queue.SimpleQueue()
    for variant in variants:
        waiting.put(variant)
    done: dict[str, Path] = {}
    failed: dict[str, BaseException] = {}

    def default(own: Console, variant: Variant, chosen: Options) -> Path:
        return backend.build(own, config, variant, chosen)

    def work(chosen: Options) -> None:
        while not console.cancelled.is_set():
            try:
                variant = waiting.get_nowait()
            except queue.Empty:
                return
            own = console.fork(cast(IO[str], _Prefixed(console, variant.name)))
            try:
                with own.logging_to(output_dir() / variant.name / "logs", "build-all"):
                    done[variant.name] = (build_one or default)(own, variant, chosen)
                console.info(f"{variant.name}: done")
            except BaseException as error:
                failed[variant.name] = error
                console.error(f"{variant.name}: {error}")

    places: Sequence[str | None] = contexts or [options.context]
    # Not Thread.join() with a timeout: interrupted, it takes a running thread for ended
    # (Python 3.10 and 3.11), and the containers went on after Ctrl-C.
    try:
        with futures.ThreadPoolExecutor(len(places)) as pool:
            running = [pool.submit(work, replace(options, context=place)) for place in places]
            try:
                futures.wait(running)
            except KeyboardInterrupt:
                console.cancelled.set()
                raise
    finally:
        console.cancelled.clear()
    unexpected = [error for error in failed.values() if not isinstance(error, UserError)]
    if unexpected:
        raise unexpected[0]
    if failed:
        lines = "\n".join(f"    {name}: {error}" for name, error in failed.items())
        raise UserError(f"{len(failed)} of {len(variants)} variants failed:\n{lines}")
    return done


def remove_volumes(
    console: Console, *, context: str | None = None, caches: bool = False, dry_run: bool = False
) -> list[str]:
    """Remove our volumes and images from an engine (with ``caches`` the shared ones too).

    Names of what was, or would be, removed. Those in use are named and stay.
    """
    removed: list[str] = []
    with (
        contextlib.closing(Engine.connect(NAME, context)) as engine,
        engine.guard("remove volumes"),
    ):
        found = engine.client.volumes.list(filters={"label": NAME})
        images = engine.client.images.list(filters={"label": f"{NAME}=image"})
        # The engine lists in no fixed order.
        for volume in sorted(found, key=lambda volume: str(volume.name)):
            labels = volume.attrs.get("Labels") or {}
            if f"{NAME}.cache" in labels and not caches:
                continue
            if not dry_run:
                try:
                    volume.remove()
                except docker.errors.APIError as error:
                    console.warn(f"{volume.name} stays: {error.explanation}")
                    continue
            removed.append(f"volume {volume.name}")
        for image in sorted(images, key=lambda image: (image.tags, str(image.id))):
            if not dry_run:
                engine.client.images.remove(str(image.id), force=True)
            removed.append(f"image {', '.join(image.tags) or image.short_id}")
    return removed


class _Prefixed:
    """A text stream that hands whole lines on with the variant's name before them."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._console.info(f"{self._name}: {line}")
        return len(text)

    def flush(self) -> None:
        """Lines are handed on when they are whole."""

    def isatty(self) -> bool:
        return False
