"""Licences and bill of materials of a variant, from what its build left and its caches hold."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir
from pico_image.compile import libraries, programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.engine.client import Engine
from pico_image.image import build_info, legal, licence_texts, sbom
from pico_image.models.card import read_card
from pico_image.sdk import backend, tools

FOLDER = "legal-info"


def legal_info(
    console: Console,
    config: Config,
    variant_name: str,
    options: backend.Options | None = None,
    *,
    engine: Engine | None = None,
) -> tuple[Path, list[str]]:
    """Fill ``out/VARIANT/legal-info``; the folder, and what to read before passing the image on.

    For a board Buildroot collects what it built (in the SDK's container); for the emulator's image
    the texts lie beside what was compiled and in the archives it came from. Both after a build.
    """
    variant, options = config.variant(variant_name), options or backend.Options()
    folder = output_dir() / variant.name / FOLDER
    models = backend.models_of(console, config, variant, options)
    cards = [read_card(folder) for folder in models.values()]
    with tempfile.TemporaryDirectory(prefix="pico-legal-") as scratch:
        if config.board(variant.board).backend == "luckfox-sdk":
            collected = tools.legal_info(
                console, config, variant, Path(scratch), options, engine=engine
            )
            # Buildroot knows nothing of what is inside a program that came ready.
            outside = programs.prebuilt_neon_runner(console, config, variant) is not None
            notes = legal.collect(
                config,
                variant,
                folder,
                cards=cards,
                prefixes=_compiled(console, config, variant) if outside else {},
                buildroot=collected,
                runtime=Toolchain().check(console, "name the compiler") if outside else "",
            )
        else:
            inputs = _inputs(variant)
            notes = legal.collect(
                config,
                variant,
                folder,
                cards=cards,
                prefixes=_prefixes(console, config, variant, inputs, Path(scratch)),
                runtime=str(inputs.get("compiler", "unknown")),
            )
    return folder, notes


def bill(
    console: Console,
    config: Config,
    variant_name: str,
    options: backend.Options | None = None,
    *,
    engine: Engine | None = None,
) -> Path:
    """Write ``out/VARIANT/images/sbom.cdx.json``."""
    variant, options = config.variant(variant_name), options or backend.Options()
    models = backend.models_of(console, config, variant, options)
    images = output_dir() / variant.name / "images"
    with tempfile.TemporaryDirectory(prefix="pico-legal-") as scratch:
        listed, inputs = None, build_info.inputs_of(images)
        if config.board(variant.board).backend == "luckfox-sdk":
            # Collected anew each time: a kept one would tell of an older build.
            folder = Path(scratch)
            folder = tools.legal_info(console, config, variant, folder, options, engine=engine)
            listed = folder / "manifest.csv"
        else:
            inputs = _inputs(variant)
        return sbom.write(
            config,
            variant,
            images / "sbom.cdx.json",
            cards=[read_card(folder) for folder in models.values()],
            buildroot_manifest=listed,
            inputs=inputs,
        )


def _inputs(variant: Variant) -> dict[str, Any]:
    """What the emulator's image was made from: known when there is one."""
    images = output_dir() / variant.name / "images"
    inputs = build_info.inputs_of(images)
    if not inputs:
        raise UserError(
            f"{images} has no image, and what variant {variant.name} contains is known by what "
            "it was built from",
            hint=f"invoke build-image --variant {variant.name}, then this again",
        )
    return inputs


def _prefixes(
    console: Console, config: Config, variant: Variant, inputs: Mapping[str, Any], scratch: Path
) -> dict[str, Path]:
    """Folders with the licence texts of what is in the emulator's image, by name."""
    found = _compiled(console, config, variant)
    names = sbom.system_sources(inputs)
    found["system"] = licence_texts.take(console, config, names, scratch / "system")
    runtime = licence_texts.take_runtime(scratch / "runtime")
    if runtime is not None:
        found["compiler-runtime"] = runtime
    return found


def _compiled(console: Console, config: Config, variant: Variant) -> dict[str, Path]:
    """The same of what was compiled into programs with the distribution's compiler."""
    found = {"image-libraries": libraries.image_libraries(console, config)}
    if set(variant.packages) & set(sbom.RUNNERS):
        found["tensorflow-lite"] = libraries.tflite(console, config)
    return found
