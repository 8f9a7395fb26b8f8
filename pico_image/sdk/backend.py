"""The ``luckfox-sdk`` backend: a target's parts by the vendor's SDK and Buildroot, in a container.

The SDK makes boot loader, kernel and modules (and a camera's libraries); Buildroot, with the SDK's
compiler, the root file system. Each stage runs unattended, only when its inputs have changed, and
its results come out as the caller's files; the file systems are made of them here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, write_text
from pico_image.base.project import NAME
from pico_image.card import allowed, archive, parts
from pico_image.card.archive import Archive
from pico_image.card.filesystem import Entry
from pico_image.card.making import Maker
from pico_image.card.parts import PARTS, Component, Contents, Licences, Parts
from pico_image.compile import libraries, programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config import kconfig, render
from pico_image.config.target import Target
from pico_image.engine import run, volumes
from pico_image.engine.client import Engine
from pico_image.models import convert
from pico_image.sdk import stages
from pico_image.sdk.inputs import Stage, stage_key
from pico_image.sdk.stages import States
from pico_image.sdk.workspace import TOOLCHAIN, Options, Workspace, open_workspace, origin_of

#: What `sdk-config` opens: build.sh's menus (luckfox-sdk.md section 1).
MENUS = ("kernel", "buildroot")
#: What the flashing tools take besides the parts; not on the card, but in the folder.
LOADER = "download.bin"
VENDOR = (LOADER, "update.img")
#: Buildroot's list of which package installed each file, for the size report.
FILE_LIST = "packages-file-list.txt"
#: What post-build.sh writes into the root file system, from the private inputs or by itself.
HANDED_IN = ("/etc/pico-image-release", "/root/.ssh/authorized_keys")


class Backend:
    """The SDK on one container engine, connected at first use and closed by ``close``."""

    def __init__(
        self, console: Console, options: Options | None = None, engine: Engine | None = None
    ) -> None:
        self.console = console
        self.options = options or Options()
        self._engine = engine

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = Engine.connect(NAME, self.options.context)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def check(self, target: Target) -> None:
        """Check what can be checked at once, before minutes of model conversion.

        Raises UserError for an engine that is not there, may not be used, is too old or of another
        architecture, for an --sdk-path that is not the SDK, and for an unknown stage.
        """
        for name in (self.options.from_stage, self.options.only):
            Stage.named(name)
        origin_of(target.config, self.options)
        self.engine.require_amd64(what=TOOLCHAIN, allow_emulation=self.options.allow_emulation)

    @contextlib.contextmanager
    def workspace(self, target: Target, contents: Contents) -> Iterator[Workspace]:
        """Container image and volumes of a target, locked for as long as the block runs."""
        with open_workspace(self.engine, self.console, self.options, target, contents) as workspace:
            yield workspace

    def build(self, target: Target, contents: Contents) -> Parts:
        """Run the stages that are not up to date, then bring the parts into ``out/VARIANT/images``.

        ``env.img`` has the partitions, the CMA size and the kernel arguments of the target.
        Raises UserError for what the user can mend: no engine, no space, a stage that fails.
        """
        console = self.console
        images = output_dir() / target.name / "images"
        render.files(target.config, target.name)  # raises for a faulty variant before any work
        with self.workspace(target, contents) as workspace:
            states = stages.read_states(workspace)
            steps = stages.plan(workspace, states)
            if steps:
                states = stages.run_steps(workspace, console, states, steps)
            else:
                console.info("every stage is up to date")
            if not all(states.done(stage, workspace.inputs[stage]) for stage in workspace.stages):
                return Parts(images, complete=False)
            volumes.remove_others(
                workspace.engine, console, f"{workspace.volume}-src", workspace.source
            )
            self._make_parts(workspace, target, contents, states)
            return Parts(
                images,
                provenance=_provenance(workspace, contents),
                components=(
                    self.components(target, parts.shown_components(states.packages))
                    if states.packages
                    else None
                ),
                beside=tuple(name for name in VENDOR if (images / name).is_file()),
            )

    def _make_parts(
        self, workspace: Workspace, target: Target, contents: Contents, states: States
    ) -> None:
        """The parts out of the results of all stages, without root's rights, and update.img."""
        maker = Maker(self.console, target, "pico_image.sdk")
        kept, outputs = output_dir() / target.name / ".sdk", states.outputs(workspace.stages)
        # Images are taken as the SDK made them.
        places = {name: kept if name.endswith(".tar") else maker.images for name in outputs}
        stages.export(
            workspace, self.console, {places[name] / name: mark for name, mark in outputs.items()}
        )
        owners = workspace.files.read(f"states/{FILE_LIST}")
        if owners is not None:
            write_text(kept / FILE_LIST, owners.decode())
        tar = kept / "rootfs.tar"

        def fill(folder: Path) -> Mapping[str, Entry]:
            allowed.check_archive(target, tar, contents.login)
            return archive.unpack([Archive(tar, devices=True)], folder)

        # Checked again where the list changed and the archive did not.
        inputs = {"tar": outputs[tar.name], "allowed": str(allowed.rules(target))}
        maker.file_system("rootfs", inputs, fill)
        if Stage.MEDIA in workspace.stages:
            # As the vendor lays it out.
            folders = {"modules.tar": "usr/ko", "media.tar": "usr"}
            files = [Archive(kept / name, folder) for name, folder in folders.items()]
            inputs = {name: outputs[name] for name in folders}
            maker.file_system("oem", inputs, functools.partial(archive.unpack, files))
        else:
            maker.oem()
        maker.userdata()
        maker.env()
        images = [maker.images / name for name in (*(f"{part}.img" for part in PARTS), LOADER)]
        update = maker.images / "update.img"
        stages.pack_update(workspace, self.console, images, update, maker.epoch)

    def fetch(self, target: Target, contents: Contents) -> None:
        """Download everything that ``build`` needs: container, SDK, sources of all packages."""
        console = self.console
        with self.workspace(target, contents) as workspace:
            stages.bring_sdk(console, workspace, stages.read_states(workspace))
            stages.hand_downloads(console, workspace)
            title = "Download the sources of all packages"
            stages.run_tool(workspace, console, "source", title, network=True)

    def licences(
        self, target: Target, contents: Contents, provenance: Mapping[str, Any], folder: Path
    ) -> Licences:
        """What Buildroot's legal-info says of an image that was built, unpacked into ``folder``.

        Collected again each time: a kept one may be of an older build. Raises UserError when
        the variant was not built yet, or when the licence of a package does not have its hash.
        """
        self._collect(target, contents, folder)
        listed = parts.listed_components(folder / "manifest.csv")
        # Buildroot does not know what is inside a program that was compiled outside.
        outside = programs.prebuilt_neon_runner(self.console, target.config, target.variant)
        texts = {}
        if outside is not None:
            texts = {
                "image-libraries": libraries.image_libraries(self.console, target.config),
                "tensorflow-lite": libraries.tflite(self.console, target.config),
            }
        return Licences(self.components(target, listed), texts, buildroot=folder)

    def _collect(self, target: Target, contents: Contents, folder: Path) -> None:
        with self.workspace(target, contents) as workspace:
            online, title = not self.console.offline, "Collect the licences of all packages"
            if not stages.run_tool(workspace, self.console, "legal", title, network=online):
                raise UserError(
                    f"variant {target.name} has not been built, so Buildroot has no licences of it",
                    hint=f"invoke build-image --variant {target.name}, then this again",
                )
            packed = workspace.files.read("legal-info.tar")
        if packed is None:
            raise UserError("the container left no legal-info.tar", hint="see the log")
        with tarfile.open(fileobj=io.BytesIO(packed)) as bundle:
            bundle.extractall(folder, filter="data")

    def components(self, target: Target, listed: Iterable[Component]) -> tuple[Component, ...]:
        """What Buildroot listed, and what else is in an image of the SDK."""
        config, variant = target.config, target.variant
        names = ["luckfox-sdk", "buildroot"]
        components = [*listed]
        if variant.extra_symbols.get(programs.PREBUILT) == "y":
            names += libraries.IMAGE_SOURCES
            outside = programs.prebuilt_neon_runner(self.console, config, variant)
            compiler = "of the machine that built neon-runner"
            if outside is not None:
                compiler = Toolchain().check(self.console, "name the compiler")
            components.append(parts.runtime(compiler))
        if "neon-runner" in target.packages:
            names += libraries.TFLITE_SOURCES
        components.append(
            parts.own_files(project.revision(config.root).commit, _overlaid(config.root))
        )
        components += [
            Component.of(config.source(name)) for name in names if name in config.sources
        ]
        return tuple(components)


# -- a shell and the menus ---------------------------------------------------------------


def shell(
    console: Console,
    target: Target,
    options: Options | None = None,
    command: Sequence[str] = ("bash", "-l"),
) -> int:
    """A shell (or ``command``) in the build container of a variant, in the SDK; its status.

    Everything is as in a build. Changes below /build stay until their stage runs with --force.
    """
    with _entered(console, target, options) as workspace:
        words = ["bash", "-c", 'cd /build/sdk && exec "$@"', "-", *command]
        return _interactive(console, workspace, words)


def sdk_config(
    console: Console, target: Target, menu: str, options: Options | None = None
) -> list[str]:
    """Open the kernel's or Buildroot's menu; what differs afterwards, as lines.

    Every build makes Buildroot's configuration again, so these lines belong into the variant's file
    (``extra_symbols``). Changes of the kernel's stay in the volume's checkout.
    """
    if menu not in MENUS:
        raise UserError(f"unknown menu {menu!r}", hint=f"known: {', '.join(MENUS)}")
    with _entered(console, target, options) as workspace:
        if _interactive(console, workspace, ["bash", stages.TOOL, menu]) != 0:
            raise UserError(f"the {menu} menu ended with an error; its changes are not used")

        def text_of(name: str) -> str:
            return (workspace.files.read(name) or b"").decode()

        if menu == "buildroot":
            changed = kconfig.changes(text_of("menu.before"), text_of("menu.after"))
            return kconfig.as_variant_lines(changed).splitlines()
        return [line for line in text_of("menu.diff").splitlines() if line]


@contextlib.contextmanager
def _entered(console: Console, target: Target, options: Options | None) -> Iterator[Workspace]:
    """The SDK in place with everything that a build has, its board configuration linked."""
    render.files(target.config, target.name)  # raises for a variant that Buildroot does not build
    contents = Contents(convert.convert_all(console, target.config, target.models))
    with (
        contextlib.closing(Backend(console, options)) as backend,
        backend.workspace(target, contents) as workspace,
    ):
        stages.bring_sdk(console, workspace, stages.read_states(workspace))
        container = workspace.container("bash", stages.SCRIPT, "prepare")
        run.output_of(workspace.engine, console, container, what="link the board's configuration")
        yield workspace


def _interactive(console: Console, workspace: Workspace, command: Sequence[str]) -> int:
    """On this terminal, through the docker or podman program: docker-py offers no terminal."""
    if not sys.stdin.isatty():
        raise UserError(
            "a shell and menus need a terminal, and standard input is not one",
            hint="run it in a terminal, without a pipe",
        )
    container = workspace.container(*command, network=True)
    words = run.command_line(workspace.engine, container, workdir="/build", interactive=True)
    console.log("+ " + " ".join(words))
    try:
        return subprocess.run(words, check=False).returncode
    except FileNotFoundError as error:
        raise UserError(
            f"could not find the program {words[0]}, which is needed for a shell in the container",
            hint="install the command line of Docker (Debian: `apt-get install docker.io`) or "
            "Podman; builds work without it",
        ) from error


# -- papers ------------------------------------------------------------------------------


def _provenance(workspace: Workspace, contents: Contents) -> dict[str, Any]:
    origin = workspace.origin
    where: dict[str, Any] = {"repository": origin.url}
    if origin.path is not None:
        where = {"path": str(origin.path), "changed_files": origin.changed}
    return {
        "models": {name: folder.name for name, folder in contents.models.items()},
        "sdk": {**where, "commit": origin.commit or None},
        "container": {
            "image": workspace.image.id,
            "base": workspace.image.base,
            "base_digest": workspace.image.base_digest,
        },
        "stages": {stage.value: stage_key(workspace.inputs[stage]) for stage in workspace.stages},
    }


def _overlaid(root: Path) -> tuple[str, ...]:
    """Files of this project that replace or join Buildroot's."""
    overlay = root / "board/luckfox-pico/overlay"
    paths = [path for path in sorted(overlay.rglob("*")) if path.is_symlink() or path.is_file()]
    return (*(f"/{path.relative_to(overlay).as_posix()}" for path in paths), *HANDED_IN)
