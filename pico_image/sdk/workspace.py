"""Everything that a build of the SDK needs in place: engine, container image, volumes, our tree.

In a container: ``/build`` the variant's volume (``sdk``, the checkout; ``board``, its links;
``states``), ``/src`` our files, read-only, ``/cache`` git store, downloads and compiler cache,
shared by all variants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import locked
from pico_image.base.project import NAME
from pico_image.card.parts import Contents
from pico_image.compile import programs
from pico_image.config import render
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.engine import images, run, volumes
from pico_image.engine.client import Engine, Mount
from pico_image.engine.volumes import Entry, Tree
from pico_image.sdk import checkout
from pico_image.sdk.checkout import Origin
from pico_image.sdk.inputs import Inputs, Stage, stage_inputs
from pico_image.sdk.stages import FIRST_BYTES, LATER_BYTES, Site, States

#: Folders of our tree that go into the container.
FOLDERS = ("app", "board", "br2-external", "docker", "package")
#: Never into the container: what a local run of a compiler or of Buildroot leaves.
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
    #: Build the container from Ubuntu (docker/Dockerfile.ubuntu) instead of the vendor's image.
    ubuntu: bool = False
    context: str | None = None
    allow_emulation: bool = False
    first_bytes: int = FIRST_BYTES
    later_bytes: int = LATER_BYTES


@dataclass(frozen=True)
class Prepared:
    """A variant ready to be built."""

    site: Site
    origin: Origin
    inputs: Mapping[Stage, Inputs]
    wanted: tuple[Stage, ...]
    container_name: str
    built: images.Built
    defconfig: str
    board_config: str
    env: Mapping[str, str] = field(default_factory=dict)


def origin_of(config: Config, options: Options) -> Origin:
    """The SDK at the pin of configs/sources.yml, from there, a mirror, or a folder."""
    source = config.source("luckfox-sdk")
    if source.commit is None or source.repository is None:
        raise UserError("luckfox-sdk in configs/sources.yml needs both repository and commit")
    path = options.sdk_path.expanduser().absolute() if options.sdk_path else None
    if path is not None:
        checkout.check_path(path, source.commit)
    return Origin(options.sdk_url or source.repository, source.commit, path)


def base_of(config: Config, options: Options) -> tuple[Path, str]:
    """Dockerfile and base image of the build container."""
    name = "Dockerfile.ubuntu" if options.ubuntu else "Dockerfile"
    source = "sdk-container-ubuntu" if options.ubuntu else "sdk-container"
    default = config.sources[source].image if source in config.sources else None
    base = options.base_image or default or ("ubuntu:22.04" if options.ubuntu else None)
    if base is None:
        raise UserError("sdk-container in configs/sources.yml needs an image")
    return config.root / "docker" / name, base


def tree_for(target: Target, contents: Contents, program: Path | None = None) -> Tree:
    """What the container sees at /src: our tree, the rendered files, models, private inputs.

    ``program`` is a neon-runner that was compiled outside.
    """
    root = target.config.root
    tree: Tree = {}
    for folder in FOLDERS:
        tree |= volumes.tree_of(root / folder, f"{folder}/")
    tree = {path: entry for path, entry in tree.items() if not path.startswith(NOT_OURS)}
    tree["LICENSE"] = Entry(root / "LICENSE")  # which our packages hand to legal-info
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
    """Without a camera the media libraries and rkipc are neither built nor installed."""
    return tuple(
        stage for stage in Stage if variant.camera or stage not in (Stage.MEDIA, Stage.APP)
    )


@contextlib.contextmanager
def prepared(
    engine: Engine, console: Console, options: Options, target: Target, contents: Contents
) -> Iterator[Prepared]:
    """Container image and volumes for a target, held for as long as the block runs.

    A second build of the same variant on the same engine waits, and says for whom.
    """
    engine.require_amd64(what=TOOLCHAIN, allow_emulation=options.allow_emulation)
    origin = origin_of(target.config, options)
    name = f"{NAME}-{target.name}-{origin.key}"
    # What was written, for a tunnel has another socket in each process.
    place = engine.address.written or engine.address.url
    where = "".join(letter if letter.isalnum() else "-" for letter in place)
    with locked(
        cache_dir() / "locks" / f"{name}{where[-60:]}.lock",
        f"the build of {target.name}",
        notify=console.info,
    ):
        run.remove_orphans(engine, console)
        yield _prepare(engine, console, options, target, contents)
        # Once more: a slow engine still makes what a killed run asked for while this one begins.
        run.remove_orphans(engine, console)


def _prepare(
    engine: Engine, console: Console, options: Options, target: Target, contents: Contents
) -> Prepared:
    config, variant = target.config, target.variant
    origin = origin_of(config, options)
    name = f"{NAME}-{target.name}-{origin.key}"
    dockerfile, base = base_of(config, options)
    built = images.ensure_built(engine, console, dockerfile, base)
    program = programs.prebuilt_neon_runner(console, config, variant)
    tree = tree_for(target, contents, program)
    source = volumes.content_volume(
        engine, console, built.id, f"{name}-src", tree, what="our files"
    )
    labels = {f"{NAME}.variant": variant.name, f"{NAME}.sdk": origin.key}
    volumes.ensure(engine, name, labels, what=f"the build of {variant.name}")
    mounts = [Mount(name, "/build"), Mount(source, "/src", read_only=True)]
    for cache in CACHES:
        volume = f"{NAME}-{cache}"
        volumes.ensure(engine, volume, {f"{NAME}.cache": cache}, what="the shared caches")
        mounts.append(Mount(volume, f"/cache/{cache}"))
    inside = {
        "BR2_EXTERNAL": "/src/br2-external",
        "BR2_DL_DIR": "/cache/dl",
        # The environment wins over the defconfig for both (Buildroot's top Makefile).
        "BR2_CCACHE_DIR": "/cache/ccache",
        # Some configure scripts refuse root, which the SDK needs: mkfs.ext4 -d copies owners.
        "FORCE_UNSAFE_CONFIGURE": "1",
        "HOME": "/root",
        "PICO_MODELS_DIR": "/src/models",
        **({"PICO_IMAGE_INPUTS": "/src/handed"} if contents.login else {}),
        **({programs.PREBUILT_VARIABLE: f"/src/{PROGRAM}"} if program else {}),
    }
    defconfig = (render.CONFIGS / render.defconfig_name(variant.name)).as_posix()
    board_config = render.board_config_name(variant.name)
    site = Site(
        engine,
        built.id,
        name,
        tuple(mounts),
        {
            **inside,
            "PICO_BOARD_CONFIG": board_config,
            "PICO_OVERLAY": render.OVERLAY,
            "PICO_JOBS": str(options.jobs) if options.jobs else "",
        },
        options.first_bytes,
        options.later_bytes,
    )
    inputs = stage_inputs(
        tree,
        defconfig=defconfig,
        board_config=(render.CONFIGS / board_config).as_posix(),
        sdk=origin.commit,
        container=built.tag,
        env=inside,
    )
    return Prepared(
        site, origin, inputs, stages_of(variant), f"{name}-run", built, defconfig, board_config
    )


def bring_sdk(console: Console, ready: Prepared, states: States) -> Prepared:
    """The SDK's files in the volume, complete: fetched and checked out, or copied.

    For a folder of the user's, the inputs come back changed when its files have.
    """
    site, origin = ready.site, ready.origin
    if origin.path is not None:
        state = checkout.copy_path(console, site.files, origin.path)
        inputs = {stage: {**given, "sdk": state} for stage, given in ready.inputs.items()}
        return replace(ready, inputs=inputs)
    if states.commit != origin.commit:
        checkout.make_tree(
            site.engine, console, site.image, site.mounts, origin,
            need_bytes=site.need(states),
        )  # fmt: skip
    return ready
