"""The ``luckfox-sdk`` backend: a variant's images out of the vendor's SDK, in a container.

The vendor's build.sh asks questions, forgets its configuration, leaves root's files behind and
keeps no log; here it runs unattended, stage by stage, each stage only when what it is made from
has changed, and its results come out as the caller's files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, output_dir, sha256_file, write_text
from pico_image.card import env as sdcard_env
from pico_image.config import render
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.engine import run, volumes
from pico_image.engine.client import Engine
from pico_image.models import convert
from pico_image.sdk import log, stages
from pico_image.sdk.inputs import Stage, stage_key
from pico_image.sdk.workspace import Options, Prepared, bring_sdk, check, origin_of, prepared

__all__ = [
    "Options",
    "build",
    "check",
    "fetch",
    "models_of",
    "packages",
    "provenance",
    "stage_named",
]

#: What the flashing tool takes besides the parts. They contain the environment, so they are
#: left out when ours differs from the one that the SDK made.
WITH_ENVIRONMENT = ("update.img", "sd_update.txt", "tftp_update.txt")
IMAGE_FOLDER = "sdk/output/image"
PACKAGES = "packages.json"


#: Buildroot's list of which package installed each file, for the size report.
FILE_LIST = "packages-file-list.txt"


def stage_named(name: str | None) -> Stage | None:
    """The stage of that name. Raises UserError with the known ones."""
    if name is None:
        return None
    try:
        return Stage(name)
    except ValueError:
        known = ", ".join(stage.value for stage in Stage)
        raise UserError(f"unknown stage {name!r}", hint=f"known: {known}") from None


def build(
    console: Console,
    config: Config,
    variant: Variant,
    options: Options | None = None,
    *,
    engine: Engine | None = None,
) -> Path:
    """Build the parts of a variant's image; the folder that they are in.

    Runs the stages that are not up to date, then brings ``env.img idblock.img uboot.img boot.img
    oem.img userdata.img rootfs.img`` and what the flashing tool takes into
    ``out/VARIANT/images``, with the environment of the variant's partitions and CMA size.

    Raises UserError for what the user can mend: no engine, no space, a stage that fails.
    """
    options = options or Options()
    from_stage, only = stage_named(options.from_stage), stage_named(options.only)
    render.files(config, variant.name)  # says what is wrong with the variant before any work
    models = models_of(console, config, variant, options)
    with prepared(console, config, variant, options, models=models, engine=engine) as ready:
        states = stages.read_states(ready.site)
        if ready.origin.path is not None:
            ready = bring_sdk(console, ready, states)
        todo = stages.to_run(
            states, ready.inputs, ready.wanted, from_stage=from_stage, only=only,
            force=options.force,
        )  # fmt: skip
        if todo:
            states = _run(console, ready, states, todo, force=options.force)
        else:
            console.info("every stage of the SDK is up to date")
        if not states.done(Stage.FIRMWARE, ready.inputs[Stage.FIRMWARE]):
            console.info("the images are not made yet: run without --only for that")
            return output_dir() / variant.name / "images"
        volumes.remove_others(
            ready.site.engine, console, f"{ready.site.volume}-src", ready.site.mounts[1].volume
        )
        images = export(console, config, variant, ready, states.stages[Stage.FIRMWARE].outputs)
        _write_provenance(variant, ready, states.packages)
        site = ready.site
        owners = site.files.read(f"states/{FILE_LIST}")
        if owners is not None:
            write_text(output_dir() / variant.name / ".sdk" / FILE_LIST, owners.decode())
        return images


def _write_provenance(variant: Variant, ready: Prepared, packages: str) -> None:
    info = {
        "sdk": {"repository": ready.origin.url, "commit": ready.origin.commit},
        "container": {
            "image": ready.built.id,
            "base": ready.built.base,
            "base_digest": ready.built.base_digest,
        },
        "stages": {stage.value: stage_key(ready.inputs[stage]) for stage in ready.wanted},
    }
    if ready.origin.path is not None:
        info["sdk"] = {"path": str(ready.origin.path), "commit": ready.origin.commit}
    text = json.dumps(info, indent=2, sort_keys=True)
    folder = output_dir() / variant.name / ".sdk"
    write_text(folder / "info.json", f"{text}\n")
    write_text(folder / PACKAGES, packages)


def provenance(variant_name: str) -> dict[str, Any]:
    """What the last build of a variant was made with: SDK, container, hash of each stage's inputs.

    For ``build-info.json``; empty when there was none.
    """
    try:
        text = (output_dir() / variant_name / ".sdk" / "info.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    found: dict[str, Any] = json.loads(text)
    return found


def packages(variant_name: str) -> str | None:
    """What Buildroot's ``make show-info`` said of the last build of a variant, None for nothing."""
    path = output_dir() / variant_name / ".sdk" / PACKAGES
    return (path.read_text(encoding="utf-8") if path.is_file() else "") or None


def models_of(
    console: Console, config: Config, variant: Variant, options: Options
) -> Mapping[str, Path]:
    """Folders of the variant's converted models."""
    if options.models is not None:
        return options.models
    return {name: convert.convert(console, config, name) for name in variant.models}


def _run(
    console: Console,
    ready: Prepared,
    states: stages.States,
    todo: list[Stage],
    *,
    force: bool,
) -> stages.States:
    if ready.origin.path is None:
        bring_sdk(console, ready, states)
    for number, stage in enumerate(todo, 1):
        state = states.stages[stage]
        inputs = ready.inputs[stage]
        actions = stages.actions(stage, state, inputs, ready.wanted, force=force)
        stages.run_stage(
            ready.site, console, stage, inputs, actions, seconds=states.seconds,
            position=f"{number} of {len(todo)}", container_name=ready.container_name,
            # Once it has begun, what the first stages took is part of what is used.
            need_bytes=ready.site.need(states) if number == 1 else 0,
        )  # fmt: skip
    return stages.read_states(ready.site)


def export(
    console: Console,
    config: Config,
    variant: Variant,
    ready: Prepared,
    outputs: Mapping[str, tuple[str, int]],
) -> Path:
    """Bring the images out of the volume, those that differ; they belong to the caller."""
    images = output_dir() / variant.name / "images"
    images.mkdir(parents=True, exist_ok=True)
    kept = output_dir() / variant.name / ".sdk"
    kept.mkdir(parents=True, exist_ok=True)
    _check_room(kept, sum(size for _, size in outputs.values()))
    if not _same(kept, outputs):
        with console.step("Bring the images out of the engine"):
            total = sum(size for _, size in outputs.values())
            ready.site.files.export(console, IMAGE_FOLDER, kept, total=total)
        if not _same(kept, outputs):
            raise UserError(
                f"the images at {kept} are not those that the SDK made: their hashes differ",
                hint="the engine's or this machine's disk is not to be trusted; see dmesg",
            )
    env = _environment(config, variant)
    same_env = env == (kept / "env.img").read_bytes()
    for name in outputs:
        if name in ("env.img", ".env.txt"):
            continue
        if name in WITH_ENVIRONMENT and not same_env:
            (images / name).unlink(missing_ok=True)
            continue
        _link(kept / name, images / name)
    _write_environment(images, env)
    if not same_env:
        console.info(
            "partitions or CMA size differ from those that the SDK's own update.img has, so it "
            "is left out; --from firmware makes a new one"
        )
    return images


def _write_environment(images: Path, env: bytes) -> None:
    """Only when it differs: what is made from the parts goes by their times."""
    text = sdcard_env.env_text(sdcard_env.read_env(env)).encode()
    for name, content in (("env.img", env), (".env.txt", text)):
        path = images / name
        if not path.is_file() or path.read_bytes() != content:
            with atomic_write(path) as stream:
                stream.write(content)


def _environment(config: Config, variant: Variant) -> bytes:
    """``env.img`` for the variant's partitions and CMA size."""
    return sdcard_env.env_image(Target.of(config, variant).env())


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


def fetch(
    console: Console,
    config: Config,
    variant: Variant,
    options: Options | None = None,
    *,
    engine: Engine | None = None,
) -> None:
    """Bring everything that ``build`` downloads: container, SDK, sources of all packages."""
    options = options or Options()
    origin_of(config, options)
    models = models_of(console, config, variant, options)
    with prepared(console, config, variant, options, models=models, engine=engine) as ready:
        states = stages.read_states(ready.site)
        ready = bring_sdk(console, ready, states)
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
