"""The software bill of materials of an image, as CycloneDX JSON.

Its components: what Buildroot built (from ``make legal-info``), what we compile, the parts of
TensorFlow Lite, the models with their licences and pictures, and, marked as not shipped, the
photographs that calibrated the models and the toolkit that converted them.
"""

from __future__ import annotations

import csv
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot5
from cyclonedx.spdx import is_expression, is_supported_id

from pico_image.base import project
from pico_image.base.errors import UserError
from pico_image.base.files import write_text
from pico_image.compile import programs
from pico_image.compile.libraries import IMAGE_SOURCES, TFLITE_SOURCES
from pico_image.config.configuration import Config
from pico_image.config.schema import Source, Variant
from pico_image.image import sbom_files
from pico_image.models.card import ModelCard

#: What the emulator's image is made from besides the programs.
EMULATOR_SOURCES = ("linux-armmp", "busybox", "e2fsprogs")
#: What every image of the SDK has besides Buildroot's packages.
SDK_SOURCES = ("luckfox-sdk", "buildroot")
RUNNERS = ("npu-runner", "neon-runner")
#: This project's own, whose text is LICENSE at the top of the tree.
LICENCE = "Apache-2.0"
_NAMESPACE = uuid.UUID("6f0b3c39-6f5d-4f0e-9a55-1f3a5c0d7a11")
_ROW = ("PACKAGE", "VERSION", "LICENSE")


def write(
    config: Config,
    variant: Variant,
    path: Path,
    *,
    cards: Sequence[ModelCard],
    buildroot_manifest: Path | None = None,
    buildroot_packages: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Path:
    """Write the bill of materials of a variant to ``path`` (``sbom.cdx.json``).

    ``cards`` are the model cards of what went in, ``buildroot_manifest`` is legal-info's
    ``manifest.csv``, ``buildroot_packages`` the answer of its ``make show-info``: one of them is
    needed for images that Buildroot builds. Raises UserError without. ``inputs`` are those of
    build-info.json, which tell of an emulator image's compiler and SSH server.
    """
    text = document(config, variant, cards, buildroot_manifest, buildroot_packages, inputs)
    write_text(path, text)
    return path


def document(
    config: Config,
    variant: Variant,
    cards: Sequence[ModelCard],
    buildroot_manifest: Path | None = None,
    buildroot_packages: str | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> str:
    """The bill of materials as CycloneDX 1.5 JSON, the same for the same input."""
    board = config.board(variant.board)
    revision = project.revision(config.root)
    components: list[Component] = []
    if board.backend == "luckfox-sdk":
        if buildroot_manifest is not None:
            components += buildroot_components(buildroot_manifest)
        elif buildroot_packages is not None:
            components += shown_components(buildroot_packages)
        else:
            raise UserError(
                f"the packages in variant {variant.name} are known when Buildroot has "
                "listed them, which is not done yet",
                hint=f"invoke legal-info --variant {variant.name}",
            )
        components.append(
            sbom_files.system(revision.commit, LICENCE, sbom_files.overlaid(config.root))
        )
        names: list[str] = [*SDK_SOURCES]
        if variant.extra_symbols.get(programs.PREBUILT) == "y":
            # Buildroot knows nothing of what is inside a program that came ready.
            names += IMAGE_SOURCES
            components.append(sbom_files.runtime("of the machine that built neon-runner"))
    else:
        shipped = sbom_files.programs(variant.packages)
        components += [_own(name, revision.commit) for name in shipped]
        components.append(sbom_files.system(revision.commit, LICENCE))
        components.append(sbom_files.runtime(str((inputs or {}).get("compiler", "unknown"))))
        names = [*system_sources(inputs or {})]
        if set(shipped) & set(RUNNERS):
            names += IMAGE_SOURCES
        elif "npu-bench" in shipped:
            names.append("cjson")
    if "neon-runner" in variant.packages:
        names += TFLITE_SOURCES
    components += [_source(config.source(name)) for name in names if name in config.sources]
    for card in cards:
        components += model_components(config, card)
    if any("npu" in card.files for card in cards):
        components.append(_toolkit(config.root))
    if board.backend == "emulator":
        known = sbom_files.properties(
            variant.packages, cards, ssh_server="dropbear" in (inputs or {})
        )
        for component in components:
            component.properties.update(known.get(str(component.bom_ref.value), []))
    unique = {str(component.bom_ref.value): component for component in components}
    image = Component(
        name=variant.name,
        type=ComponentType.FIRMWARE,
        version=str(revision),
        description=f"{board.title}: {variant.title}",
        bom_ref=f"image:{variant.name}",
    )
    epoch = project.source_date_epoch(config.root)
    bom = Bom(
        components=unique.values(),
        serial_number=uuid.uuid5(_NAMESPACE, f"{variant.name} {image.version} {sorted(unique)}"),
        metadata=BomMetaData(
            component=image, timestamp=datetime.fromtimestamp(epoch, tz=timezone.utc)
        ),
    )
    bom.register_dependency(image, unique.values())
    return JsonV1Dot5(bom).output_as_string(indent=1) + "\n"


def system_sources(inputs: Mapping[str, Any]) -> list[str]:
    """What the emulator's image is made from besides the programs; with keys an SSH server."""
    return [*EMULATOR_SOURCES, *(["dropbear"] if "dropbear" in inputs else [])]


def buildroot_components(path: Path) -> list[Component]:
    """One component for each row of Buildroot's ``legal-info/manifest.csv``."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(
            f"could not read Buildroot's list of packages {path}: {error.strerror}",
            hint="invoke legal-info makes it",
        ) from error
    if not rows or not set(_ROW) <= set(rows[0]):
        raise UserError(f"{path} is not a manifest.csv of Buildroot's legal-info")
    return [
        Component(
            name=row["PACKAGE"],
            version=row["VERSION"] or None,
            type=ComponentType.LIBRARY,
            licenses=licences(row["LICENSE"]),
            bom_ref=f"buildroot:{row['PACKAGE']}",
            properties=[Property(name="pico:built-by", value="Buildroot")],
        )
        for row in rows
    ]


def shown_components(text: str) -> list[Component]:
    """One component for each package on the board in the answer of Buildroot's ``make show-info``.

    Host packages only build; virtual ones stand for another that is in the list.
    """
    try:
        packages = json.loads(text)
        entries = [
            (str(entry["name"]), str(entry["version"]), str(entry["licenses"]))
            for _, entry in sorted(packages.items())
            if entry["type"] == "target" and not entry["virtual"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Buildroot's list of its packages cannot be understood: {error!r}",
            hint="build again with --from rootfs, so that it is asked again",
        ) from error
    return [
        Component(
            name=name,
            version=version or None,
            type=ComponentType.LIBRARY,
            licenses=licences(licence),
            bom_ref=f"buildroot:{name}",
            properties=[Property(name="pico:built-by", value="Buildroot")],
        )
        for name, version, licence in entries
    ]


def model_components(config: Config, card: ModelCard) -> list[Component]:
    """A model, the pictures that ship with it, and the photographs that calibrated it."""
    name = card.name
    files = [file for _, file in sorted(card.files.items())]
    model = Component(
        name=name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        description=card.title,
        licenses=licences(card.licence),
        bom_ref=f"model:{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256) for file in files[:1]],
        properties=[
            Property(name=f"pico:file:{file.path}:sha256", value=file.sha256) for file in files
        ],
    )
    pictures = [
        Component(
            name=image.path,
            type=ComponentType.DATA,
            description=f"{image.title} ({image.credit})",
            licenses=licences(image.licence),
            bom_ref=f"model:{name}:{image.path}",
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=total)
                for total in [image.sha256]
                if total
            ],
        )
        for image in card.images
    ]
    return [model, *pictures, *_build_time(config, name)]


def _build_time(config: Config, model: str) -> list[Component]:
    """Weights, labels and photographs that a model was made from, none of which ships."""
    spec = config.models.get(model)
    if spec is None:
        return []
    data = spec.model_dump(mode="json")
    found = set(re.findall(r'"source": "([^"]+)"', json.dumps(data)))
    return [
        _source(config.sources[name], excluded=True) for name in sorted(found & set(config.sources))
    ]


def _own(package: str, commit: str) -> Component:
    """A package of this tree in an image that Buildroot did not list."""
    return Component(
        name=package,
        version=commit,
        type=ComponentType.APPLICATION,
        licenses=licences(LICENCE),
        bom_ref=f"own:{package}",
    )


def _source(source: Source, *, excluded: bool = False) -> Component:
    return Component(
        name=source.name,
        version=source.version,
        type=ComponentType.LIBRARY if not excluded else ComponentType.DATA,
        description=source.purpose,
        licenses=licences(source.licence),
        scope=ComponentScope.EXCLUDED if excluded else ComponentScope.REQUIRED,
        bom_ref=f"source:{source.name}",
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=file.sha256) for file in source.files[:1]
        ],
    )


def _toolkit(root: Path) -> Component:
    """The converter, at the version that requirements/rknn.txt pins."""
    path = root / "requirements/rknn.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    match = re.search(r"^rknn-toolkit2==([\w.]+)", text, re.MULTILINE)
    return Component(
        name="rknn-toolkit2",
        version=match[1] if match else None,
        type=ComponentType.APPLICATION,
        description="converted the models for the NPU; not in the image",
        licenses=[DisjunctiveLicense(name="RKNN SDK License")],
        scope=ComponentScope.EXCLUDED,
        bom_ref="tool:rknn-toolkit2",
    )


def licences(text: str) -> Iterable[License]:
    """Licences from Buildroot's or our own notation: ``A, B (parts)``, SPDX ids or plain names."""
    parts = [part.strip() for part in re.split(r",\s*(?![^()]*\))", text) if part.strip()]
    if len(parts) == 1 and not is_supported_id(parts[0]) and is_expression(parts[0]):
        return [LicenseExpression(parts[0])]
    return [
        DisjunctiveLicense(id=part) if is_supported_id(part) else DisjunctiveLicense(name=part)
        for part in parts
    ]
