"""The ``luckfox-sdk`` backend: a target's parts out of the vendor's SDK, in a container.

The vendor's build.sh asks questions, forgets its configuration, leaves root's files behind and
keeps no log; here it runs unattended, stage by stage, each stage only when its inputs have
changed, and its results come out as the caller's files.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import atomic_write, output_dir, sha256_file, write_text
from pico_image.base.project import NAME
from pico_image.card import parts
from pico_image.card.env import env_image, env_text
from pico_image.card.parts import Component, Contents, Licences, Parts
from pico_image.compile import libraries, programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config import render
from pico_image.config.target import Target
from pico_image.engine import run, volumes
from pico_image.engine.client import Engine
from pico_image.sdk import log, stages
from pico_image.sdk.inputs import Stage, stage_key
from pico_image.sdk.workspace import TOOLCHAIN, Options, Prepared, bring_sdk, origin_of, prepared

#: What the flashing tools take besides the parts; not on the card, but in the folder.
VENDOR = ("download.bin", "update.img", "sd_update.txt", "tftp_update.txt")
#: These contain the environment, so they are left out when ours differs from the SDK's.
WITH_ENVIRONMENT = ("update.img", "sd_update.txt", "tftp_update.txt")
IMAGE_FOLDER = "sdk/output/image"
#: Buildroot's list of which package installed each file, for the size report.
FILE_LIST = "packages-file-list.txt"
#: What post-build.sh writes into the root file system, from the private inputs or by itself.
HANDED_IN = ("/etc/pico-image-release", "/etc/npu-bench.conf", "/root/.ssh/authorized_keys")
#: Columns of Buildroot's legal-info that the bill of materials is made from.
_COLUMNS = ("PACKAGE", "VERSION", "LICENSE")


class Backend:
    """The SDK on one container engine, which is connected at first use; close it in the end."""

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
        """Refuse at once what can be told at once, before models are converted for minutes.

        Raises UserError for an engine that is not there, may not be used, is too old or of another
        architecture, for an --sdk-path that is not the SDK, and for an unknown stage.
        """
        for name in (self.options.from_stage, self.options.only):
            stage_named(name)
        origin_of(target.config, self.options)
        self.engine.require_amd64(what=TOOLCHAIN, allow_emulation=self.options.allow_emulation)

    @contextlib.contextmanager
    def prepared(self, target: Target, contents: Contents) -> Iterator[Prepared]:
        """Container image and volumes of a target, held for as long as the block runs."""
        with prepared(self.engine, self.console, self.options, target, contents) as ready:
            yield ready

    def build(self, target: Target, contents: Contents) -> Parts:
        """Run the stages that are not up to date, then bring the parts into ``out/VARIANT/images``.

        ``env.img`` has the partitions, the CMA size and the kernel arguments of the target.
        Raises UserError for what the user can mend: no engine, no space, a stage that fails.
        """
        console, options = self.console, self.options
        images = output_dir() / target.name / "images"
        from_stage, only = stage_named(options.from_stage), stage_named(options.only)
        render.files(target.config, target.name)  # raises what is wrong before any work
        with self.prepared(target, contents) as ready:
            states = stages.read_states(ready.site)
            if ready.origin.path is not None:
                ready = bring_sdk(console, ready, states)
            todo = stages.to_run(
                states, ready.inputs, ready.wanted, from_stage=from_stage, only=only,
                force=options.force,
            )  # fmt: skip
            if todo:
                states = self._run(ready, states, todo)
            else:
                console.info("every stage of the SDK is up to date")
            if not states.done(Stage.FIRMWARE, ready.inputs[Stage.FIRMWARE]):
                return Parts(images, complete=False)
            site = ready.site
            volumes.remove_others(site.engine, console, f"{site.volume}-src", site.mounts[1].volume)
            export(console, target, ready, states.stages[Stage.FIRMWARE].outputs)
            owners = site.files.read(f"states/{FILE_LIST}")
            if owners is not None:
                write_text(output_dir() / target.name / ".sdk" / FILE_LIST, owners.decode())
            return Parts(
                images,
                provenance=_provenance(ready, contents),
                components=(
                    self.components(target, shown_components(states.packages))
                    if states.packages
                    else None
                ),
                beside=tuple(name for name in VENDOR if (images / name).is_file()),
            )

    def _run(self, ready: Prepared, states: stages.States, todo: list[Stage]) -> stages.States:
        if ready.origin.path is None:
            bring_sdk(self.console, ready, states)
        for number, stage in enumerate(todo, 1):
            state = states.stages[stage]
            inputs = ready.inputs[stage]
            actions = stages.actions(stage, state, inputs, ready.wanted, force=self.options.force)
            stages.run_stage(
                ready.site, self.console, stage, inputs, actions, seconds=states.seconds,
                position=f"{number} of {len(todo)}", container_name=ready.container_name,
                # Once it has begun, what the first stages took is part of what is used.
                need_bytes=ready.site.need(states) if number == 1 else 0,
            )  # fmt: skip
        return stages.read_states(ready.site)

    def fetch(self, target: Target, contents: Contents) -> None:
        """Download everything that ``build`` needs: container, SDK, sources of all packages."""
        console = self.console
        with self.prepared(target, contents) as ready:
            ready = bring_sdk(console, ready, stages.read_states(ready.site))
            lines: list[str] = []
            with (
                console.step("Download the sources of all packages"),
                console.progress("sources", 0) as bar,
            ):

                def follow(line: str) -> None:
                    lines.append(line)
                    bar.note(line.strip())

                container = ready.site.container(
                    "bash", "/src/docker/sdk-source.sh", Path(ready.defconfig).name, network=True
                )
                ended = run.run(
                    ready.site.engine, console, replace(container, name=ready.container_name),
                    what="download the sources", on_line=follow,
                )  # fmt: skip
            if ended.status != 0:
                raise log.explain("download the sources", ended, lines, console.log_path)

    def licences(
        self, target: Target, contents: Contents, provenance: Mapping[str, Any], folder: Path
    ) -> Licences:
        """What Buildroot's legal-info says of an image that was built, unpacked into ``folder``.

        Collected anew each time: a kept one would tell of an older build. Raises UserError when
        the variant was not built yet, or when the licence of a package does not have its hash.
        """
        self._collect(target, contents, folder)
        listed = listed_components(folder / "manifest.csv")
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
        with self.prepared(target, contents) as ready:
            site = ready.site
            with self.console.step("Buildroot collects the licences"):
                container = site.container(
                    "bash", "/src/docker/sdk-legal.sh", network=not self.console.offline
                )
                ended = run.run(site.engine, self.console, container, what="collect the licences")
            if ended.status == 6:
                raise UserError(
                    f"variant {target.name} has not been built, so Buildroot has no licences of it",
                    hint=f"invoke build-image --variant {target.name}, then this again",
                )
            if ended.status != 0:
                path, hint = self.console.log_path, run.killed(ended.status)
                raise CommandError("make legal-info", ended.status, "", path, hint=hint)
            archive = site.files.read("legal-info.tar")
        if archive is None:
            raise UserError("the container left no legal-info.tar", hint="see the log")
        with tarfile.open(fileobj=io.BytesIO(archive)) as bundle:
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


def stage_named(name: str | None) -> Stage | None:
    """The stage of that name. Raises UserError with the known ones."""
    if name is None:
        return None
    try:
        return Stage(name)
    except ValueError:
        known = ", ".join(stage.value for stage in Stage)
        raise UserError(f"unknown stage {name!r}", hint=f"known: {known}") from None


def _provenance(ready: Prepared, contents: Contents) -> dict[str, Any]:
    origin = ready.origin
    where = {"repository": origin.url} if origin.path is None else {"path": str(origin.path)}
    return {
        "models": {name: folder.name for name, folder in contents.models.items()},
        "sdk": {**where, "commit": origin.commit},
        "container": {
            "image": ready.built.id,
            "base": ready.built.base,
            "base_digest": ready.built.base_digest,
        },
        "stages": {stage.value: stage_key(ready.inputs[stage]) for stage in ready.wanted},
    }


def export(
    console: Console, target: Target, ready: Prepared, outputs: Mapping[str, tuple[str, int]]
) -> None:
    """Bring the images out of the volume, those that differ; they belong to the caller."""
    images = output_dir() / target.name / "images"
    images.mkdir(parents=True, exist_ok=True)
    kept = output_dir() / target.name / ".sdk"
    kept.mkdir(parents=True, exist_ok=True)
    total = sum(size for _, size in outputs.values())
    _check_room(kept, total)
    if not _same(kept, outputs):
        with console.step("Bring the images out of the engine"):
            ready.site.files.export(console, IMAGE_FOLDER, kept, total=total)
        if not _same(kept, outputs):
            raise UserError(
                f"the images at {kept} are not those that the SDK made: their hashes differ",
                hint="the engine's or this machine's disk is not to be trusted; see dmesg",
            )
    env = env_image(target.env())
    same_env = env == (kept / "env.img").read_bytes()
    for name in outputs:
        if name in ("env.img", ".env.txt"):
            continue
        if name in WITH_ENVIRONMENT and not same_env:
            (images / name).unlink(missing_ok=True)
            continue
        _link(kept / name, images / name)
    # Only when it differs: what is made from the parts goes by their times.
    for name, content in (("env.img", env), (".env.txt", env_text(target.env()).encode())):
        path = images / name
        if not path.is_file() or path.read_bytes() != content:
            with atomic_write(path) as stream:
                stream.write(content)
    if not same_env:
        console.info(
            "partitions, CMA size or kernel arguments differ from those in the SDK's own "
            "update.img, so it is left out; --from firmware makes a new one"
        )


def _same(folder: Path, outputs: Mapping[str, tuple[str, int]]) -> bool:
    return all(
        (path := folder / name).is_file()
        and path.stat().st_size == size
        and sha256_file(path) == digest
        for name, (digest, size) in outputs.items()
    )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the images need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free",
            hint="free some space, or name another folder with PICO_OUTPUT_DIR",
        )


def _link(source: Path, target: Path) -> None:
    """The same file under a second name where the file system can, else a copy."""
    if target.exists() and target.samefile(source):
        return  # renaming one name of a file to another would leave both
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(source)
    except OSError:
        shutil.copy2(source, part)
    part.replace(target)


def shown_components(text: str) -> list[Component]:
    """One component for each package on the board in the answer of Buildroot's ``make show-info``.

    Host packages only build; virtual ones stand for another that is in the list.
    """
    try:
        return [
            _package(str(entry["name"]), str(entry["version"]), str(entry["licenses"]))
            for _, entry in sorted(json.loads(text).items())
            if entry["type"] == "target" and not entry["virtual"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Buildroot's list of its packages cannot be understood: {error!r}",
            hint="build again with --from rootfs, so that it is asked again",
        ) from error


def listed_components(manifest: Path) -> list[Component]:
    """One component for each row of Buildroot's ``legal-info/manifest.csv``."""
    try:
        with manifest.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(
            f"could not read Buildroot's list of packages {manifest}: {error.strerror}",
            hint="invoke legal-info makes it",
        ) from error
    if not rows or not set(_COLUMNS) <= set(rows[0]):
        raise UserError(f"{manifest} is not a manifest.csv of Buildroot's legal-info")
    return [_package(*(row[column] for column in _COLUMNS)) for row in rows]


def _package(name: str, version: str, licence: str) -> Component:
    return Component(f"buildroot:{name}", name, version or None, licence, built_by="Buildroot")


def _overlaid(root: Path) -> tuple[str, ...]:
    """What this project puts over the vendor's and Buildroot's files."""
    overlay = root / "board/luckfox-pico/overlay"
    paths = [path for path in sorted(overlay.rglob("*")) if path.is_symlink() or path.is_file()]
    return (*(f"/{path.relative_to(overlay).as_posix()}" for path in paths), *HANDED_IN)
