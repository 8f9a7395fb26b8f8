"""The workspace of a variant in an engine: container image, volumes, our files.

In a container: ``/build`` the variant's volume (``sdk``, the checkout; ``buildroot`` and its
``output``; ``modules`` of the kernel; ``results``, what the host takes; ``states``), ``/src`` our
files, read-only, ``/cache`` git store, downloads and compiler cache, shared by all variants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker.errors

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import locked
from pico_image.base.project import NAME
from pico_image.card.parts import Contents
from pico_image.compile import programs
from pico_image.config import downloads, render
from pico_image.config.configuration import Config
from pico_image.config.schema import Source, Variant
from pico_image.config.target import Target
from pico_image.engine import images, run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.engine.volumes import Entry, Tree, Volume
from pico_image.sdk import checkout
from pico_image.sdk.checkout import Origin
from pico_image.sdk.inputs import Inputs, Stage, stage_inputs

#: What a first build needs, and what a later one may still add: the SDK's objects 0.7 GB, its
#: checkout 2.5, U-Boot and kernel 0.6, Buildroot 1.2, downloads and compiler cache 0.9; some room.
FIRST_BYTES = 8 * 10**9
LATER_BYTES = 2 * 10**9
#: Folders of our tree that go into the container.
FOLDERS = ("app", "board", "br2-external", "docker", "package")
#: What a local run of a compiler or of Buildroot leaves there; it stays out of the container.
NOT_OURS = ("br2-external/configs/", "app/build/", "app/out/")
CACHES = ("git", "dl", "ccache")
#: What needs an x86-64 engine.
TOOLCHAIN = "the SDK's toolchain"
#: Where a prebuilt neon-runner is, below /src.
PROGRAM = "prebuilt/neon-runner"


@dataclass(frozen=True)
class Options:
    """How to build; every field has the default of the command line."""

    from_stage: str | None = None
    only: str | None = None
    force: bool = False
    #: Jobs at the same time; 0 lets the SDK and Buildroot choose.
    jobs: int = 0
    sdk_path: Path | None = None
    sdk_url: str | None = None
    #: Instead of the vendor's image, the base that docker/Dockerfile builds on.
    base_image: str | None = None
    #: Ubuntu 22.04 instead of the vendor's image.
    ubuntu: bool = False
    context: str | None = None
    allow_emulation: bool = False
    first_bytes: int = FIRST_BYTES
    later_bytes: int = LATER_BYTES

    @property
    def takes_models(self) -> bool:
        """Whether a stage that installs models may run."""
        return self.only in (None, Stage.ROOTFS.value)


@dataclass(frozen=True)
class Workspace:
    """Where a variant is built, and what each stage is made from."""

    engine: Engine
    image: images.Built
    #: The build volume and the volume of our files.
    volume: str
    source: str
    env: Mapping[str, str]
    origin: Origin
    inputs: Mapping[Stage, Inputs]
    #: What our Buildroot packages download, by its place in the download folder.
    downloads: Mapping[str, Source]
    #: Those of this variant, in order.
    stages: tuple[Stage, ...]
    options: Options

    @property
    def mounts(self) -> list[Mount]:
        return [
            Mount(self.volume, "/build"),
            Mount(self.source, "/src", read_only=True),
            *(Mount(f"{NAME}-{cache}", f"/cache/{cache}") for cache in CACHES),
        ]

    @property
    def files(self) -> Volume:
        """The files of the build volume."""
        return Volume(self.engine, self.image.id, self.volume)

    def container(self, *command: str, network: bool = False) -> Container:
        """A program with everything that a stage has; one at a time in this workspace."""
        return Container(
            self.image.id, command, self.mounts, self.env, network, name=f"{self.volume}-run"
        )


def origin_of(config: Config, options: Options) -> Origin:
    """The SDK at the pin of configs/sources.yml: from its repository, a mirror, or a folder."""
    source = config.source("luckfox-sdk")
    if source.commit is None or source.repository is None:
        raise UserError("luckfox-sdk in configs/sources.yml needs both repository and commit")
    path = options.sdk_path.expanduser().absolute() if options.sdk_path else None
    if path is not None:
        checkout.check_path(path)
    return Origin(options.sdk_url or source.repository, source.commit, path)


def base_of(config: Config, options: Options) -> tuple[Path, str]:
    """Dockerfile and base image of the build container."""
    default = "ubuntu:22.04" if options.ubuntu else config.source("sdk-container").image
    base = options.base_image or default
    if base is None:
        raise UserError("sdk-container in configs/sources.yml needs an image")
    return config.root / "docker/Dockerfile", base


def tree_for(target: Target, contents: Contents, program: Path | None = None) -> Tree:
    """The files at /src: our tree, the rendered files, models, private inputs.

    ``program`` is a neon-runner that was compiled outside.
    """
    root = target.config.root
    tree: Tree = {}
    for folder in FOLDERS:
        tree |= volumes.tree_of(root / folder, f"{folder}/")
    tree = {path: entry for path, entry in tree.items() if not path.startswith(NOT_OURS)}
    tree["LICENSE"] = Entry(root / "LICENSE")  # our packages give it to legal-info
    for rendered, text in render.files(target.config, target.name).items():
        tree[rendered.as_posix()] = Entry(text.encode())
    for name, model in contents.models.items():
        tree |= volumes.tree_of(model, f"models/{name}/")
    if contents.login is not None:
        tree |= volumes.tree_of(contents.login, "handed/")
    if program is not None:
        tree[PROGRAM] = Entry(program)
    return tree


def stages_of(variant: Variant) -> tuple[Stage, ...]:
    """Without a camera the vendor's media libraries are neither built nor installed."""
    return tuple(stage for stage in Stage if variant.camera or stage is not Stage.MEDIA)


@contextlib.contextmanager
def open_workspace(
    engine: Engine, console: Console, options: Options, target: Target, contents: Contents
) -> Iterator[Workspace]:
    """Container image and volumes for a target, locked for as long as the block runs.

    A second build of the same variant on the same engine waits, and names the process that it
    waits for.
    """
    engine.require_amd64(what=TOOLCHAIN, allow_emulation=options.allow_emulation)
    origin = origin_of(target.config, options)
    name = f"{NAME}-{target.name}-{origin.key}"
    # The URL that the user wrote: a tunnel has another socket in each process.
    url = engine.address.written or engine.address.url
    place = "".join(letter if letter.isalnum() else "-" for letter in url)
    with locked(
        cache_dir() / "locks" / f"{name}{place[-60:]}.lock",
        f"the build of {target.name}",
        notify=console.info,
    ):
        run.remove_orphans(engine, console)
        yield _prepare(engine, console, options, target, contents)
        # Once more: a slow engine may still have carried out requests of a killed run.
        run.remove_orphans(engine, console)


def _prepare(
    engine: Engine, console: Console, options: Options, target: Target, contents: Contents
) -> Workspace:
    config, variant = target.config, target.variant
    origin = origin_of(config, options)
    name = f"{NAME}-{target.name}-{origin.key}"
    dockerfile, base = base_of(config, options)
    image = images.ensure_built(engine, console, dockerfile, base)
    program = programs.prebuilt_neon_runner(console, config, variant)
    tree = tree_for(target, contents, program)
    source = volumes.content_volume(
        engine, console, image.id, f"{name}-src", tree, what="our files"
    )
    labels = {f"{NAME}.variant": variant.name, f"{NAME}.sdk": origin.key}
    volumes.ensure(engine, name, labels, what=f"the build of {variant.name}")
    for cache in CACHES:
        labels = {f"{NAME}.cache": cache}
        volumes.ensure(engine, f"{NAME}-{cache}", labels, what="the shared caches")
    sdk = {"": origin.commit}
    if origin.path is not None:
        volume = Volume(engine, image.id, name)
        origin, sdk = checkout.copy_path(console, volume, origin, force=options.force)
    env = {
        "BR2_EXTERNAL": "/src/br2-external",
        "BR2_DL_DIR": "/cache/dl",
        # The environment wins over the defconfig for both (Buildroot's top Makefile).
        "BR2_CCACHE_DIR": "/cache/ccache",
        # Some configure scripts refuse root, which everything in the container is.
        "FORCE_UNSAFE_CONFIGURE": "1",
        "HOME": "/root",
        # The compiler's place in our defconfig, and what package/npu-module installs.
        "LUCKFOX_SDK": "/build/sdk",
        "PICO_KERNEL_MODULES": "/build/modules",
        "PICO_MODELS_DIR": "/src/models",
        **({"PICO_IMAGE_INPUTS": "/src/handed"} if contents.login else {}),
        **({programs.PREBUILT_VARIABLE: f"/src/{PROGRAM}"} if program else {}),
    }
    defconfig = render.defconfig_name(variant.name)
    board_config = render.board_config_name(variant.name)
    inputs = stage_inputs(
        tree,
        defconfig=(render.CONFIGS / defconfig).as_posix(),
        board_config=(render.CONFIGS / board_config).as_posix(),
        sdk=sdk,
        container=image.tag,
        env=env,
    )
    env |= {
        "PICO_BOARD_CONFIG": board_config,
        "PICO_DEFCONFIG": defconfig,
        "PICO_JOBS": str(options.jobs) if options.jobs else "",
    }
    files = downloads.wanted(config, inputs[Stage.ROOTFS]["symbols"])
    return Workspace(
        engine, image, name, source, env, origin, inputs, files, stages_of(variant), options
    )


def remove_volumes(
    console: Console, *, context: str | None = None, caches: bool = False, dry_run: bool = False
) -> list[str]:
    """Remove our volumes and images from an engine (with ``caches`` the shared ones too).

    Returns the names of those that were, or would be, removed. Those in use stay, with a warning.
    """
    removed: list[str] = []
    with (
        contextlib.closing(Engine.connect(NAME, context)) as engine,
        engine.guard("remove volumes"),
    ):
        ours = engine.client.volumes.list(filters={"label": NAME})
        builders = engine.client.images.list(filters={"label": f"{NAME}=image"})
        # The engine lists in no fixed order.
        for volume in sorted(ours, key=lambda volume: str(volume.name)):
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
        for image in sorted(builders, key=lambda image: (image.tags, str(image.id))):
            if not dry_run:
                engine.client.images.remove(str(image.id), force=True)
            removed.append(f"image {', '.join(image.tags) or image.short_id}")
    return removed
