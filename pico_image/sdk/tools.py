"""Around the stages of the SDK: a shell, the configuration menus, and cleaning up."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker.errors

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.project import NAME
from pico_image.card.parts import Contents
from pico_image.config import kconfig, render
from pico_image.config.target import Target
from pico_image.engine import run
from pico_image.engine.client import Engine
from pico_image.models import convert
from pico_image.sdk import stages
from pico_image.sdk.backend import Backend
from pico_image.sdk.workspace import Options, Prepared, bring_sdk

#: What `sdk-config` opens: build.sh's menus (luckfox-sdk.md section 1).
MENUS = ("kernel", "buildroot")


def shell(
    console: Console,
    target: Target,
    options: Options | None = None,
    command: Sequence[str] = ("bash", "-l"),
) -> int:
    """A shell (or ``command``) in the build container of a variant, in the SDK; its status.

    Everything is as in a build. What is changed below /build stays until the stage that it
    belongs to is built with --force.
    """
    with _entered(console, target, options) as ready:
        words = ["bash", "-c", 'cd /build/sdk && exec "$@"', "-", *command]
        return _interactive(console, ready, words)


def sdk_config(
    console: Console, target: Target, menu: str, options: Options | None = None
) -> list[str]:
    """Open the kernel's or Buildroot's menu; what differs afterwards, as lines.

    Buildroot's configuration is made anew by every build, so its lines are those that the
    variant's file needs (``extra_symbols``); those of the kernel stay in the volume's checkout.
    """
    if menu not in MENUS:
        raise UserError(f"unknown menu {menu!r}", hint=f"known: {', '.join(MENUS)}")
    with _entered(console, target, options) as ready:
        script = ["bash", "/src/docker/sdk-menu.sh", menu, Path(ready.defconfig).name]
        if _interactive(console, ready, script) != 0:
            raise UserError(f"the {menu} menu ended with an error; nothing was taken over")

        def left(name: str) -> str:
            return (ready.site.files.read(name) or b"").decode()

        if menu == "buildroot":
            changed = kconfig.changes(left("menu.before"), left("menu.after"))
            return kconfig.as_variant_lines(changed).splitlines()
        return [line for line in left("menu.diff").splitlines() if line]


@contextlib.contextmanager
def _entered(console: Console, target: Target, options: Options | None) -> Iterator[Prepared]:
    """The SDK in place with everything that a build has, its board configuration linked."""
    render.files(target.config, target.name)  # raises for a variant that Buildroot does not build
    contents = Contents(convert.convert_all(console, target.config, target.models))
    with (
        contextlib.closing(Backend(console, options)) as backend,
        backend.prepared(target, contents) as ready,
    ):
        bring_sdk(console, ready, stages.read_states(ready.site))
        container = ready.site.container("bash", stages.SCRIPT, "prepare")
        run.output_of(ready.site.engine, console, container, what="link the board's configuration")
        yield ready


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
