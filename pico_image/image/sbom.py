"""The software bill of materials of an image, as CycloneDX JSON.

Its components: what the backend tells (packages, libraries, programs, with their files where it
knows them), the models with their licences and pictures, and, marked as not shipped, the
photographs that calibrated the models and the toolkit that converted them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot5
from cyclonedx.spdx import is_expression, is_supported_id

from pico_image.base import project
from pico_image.card import parts
from pico_image.config.configuration import Config
from pico_image.config.target import Target
from pico_image.models.papers import ModelCard

NAME = "sbom.cdx.json"
#: A path or pattern in the root file system; a program that a component is linked into statically.
INSTALLED, LINKED = "pico:installed", "pico:linked-into"
MODELS = "/usr/share/npu-models"
GOLDEN = "golden vectors: crops of its pictures and of three that calibrated it, and the answers"
_NAMESPACE = uuid.UUID("6f0b3c39-6f5d-4f0e-9a55-1f3a5c0d7a11")


def document(
    target: Target, cards: Sequence[ModelCard], components: Iterable[parts.Component]
) -> str:
    """The bill of materials as CycloneDX 1.5 JSON, the same for the same input.

    ``cards`` are the model cards of what went in, ``components`` what the backend tells.
    """
    config = target.config
    revision = project.revision(config.root)
    listed = [_component(component) for component in components]
    for card in cards:
        # In an image of the SDK, Buildroot's list says which package a model's files are from.
        listed += _model(config, card, with_files=target.emulated)
    if any("npu" in card.files for card in cards):
        listed.append(_toolkit(config.root))
    unique = {str(component.bom_ref.value): component for component in listed}
    image = Component(
        name=target.name,
        type=ComponentType.FIRMWARE,
        version=str(revision),
        description=f"{target.board.title}: {target.variant.title}",
        bom_ref=f"image:{target.name}",
    )
    bom = Bom(
        components=unique.values(),
        serial_number=uuid.uuid5(_NAMESPACE, f"{target.name} {image.version} {sorted(unique)}"),
        metadata=BomMetaData(
            component=image,
            timestamp=datetime.fromtimestamp(
                project.source_date_epoch(config.root), tz=timezone.utc
            ),
        ),
    )
    bom.register_dependency(image, unique.values())
    return JsonV1Dot5(bom).output_as_string(indent=1) + "\n"


def _component(component: parts.Component) -> Component:
    properties = [
        *(Property(name=INSTALLED, value=path) for path in component.installed),
        *(Property(name=LINKED, value=path) for path in component.linked),
    ]
    if component.built_by:
        properties.append(Property(name="pico:built-by", value=component.built_by))
    return Component(
        name=component.name,
        version=component.version,
        type=ComponentType.APPLICATION if component.program else ComponentType.LIBRARY,
        description=component.description,
        licenses=licences(component.licence),
        scope=ComponentScope.REQUIRED if component.ref.startswith("source:") else None,
        bom_ref=component.ref,
        hashes=_hashes(component.sha256),
        properties=properties,
    )


def _model(config: Config, card: ModelCard, *, with_files: bool) -> list[Component]:
    """A model, the pictures that ship with it, and what it was made from."""
    files = [file for _, file in sorted(card.files.items())]
    folder = f"{MODELS}/{card.name}"
    model = Component(
        name=card.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        description=card.title,
        licenses=licences(card.licence),
        bom_ref=f"model:{card.name}",
        hashes=_hashes(files[0].sha256 if files else None),
        properties=[
            *(Property(name=f"pico:file:{file.path}:sha256", value=file.sha256) for file in files),
            *_installed(f"{folder}/*", with_files),
        ],
    )
    pictures = [
        Component(
            name=image.path,
            type=ComponentType.DATA,
            description=f"{image.title} ({image.credit})",
            licenses=licences(image.licence),
            bom_ref=f"model:{card.name}:{image.path}",
            hashes=_hashes(image.sha256),
            properties=_installed(f"{folder}/{image.path}", with_files),
        )
        for image in card.images
    ]
    if "npu" in card.files:
        pictures.append(
            Component(
                name="golden",
                type=ComponentType.DATA,
                description=GOLDEN,
                licenses=licences(licence_of_golden(config, card)),
                bom_ref=f"model:{card.name}:golden",
                properties=_installed(f"{folder}/golden/*", with_files),
            )
        )
    return [model, *pictures, *_made_from(config, card.name)]


def licence_of_golden(config: Config, card: ModelCard) -> str:
    """Licences of the pictures whose pixels are in a model's golden vectors."""
    spec = config.models.get(card.name)
    sources = {photograph.source for photograph in spec.calibration.photographs} if spec else set()
    names = {image.licence for image in card.images}
    names |= {config.sources[name].licence for name in sources & set(config.sources)}
    return ", ".join(sorted(names)) or card.licence


def _installed(path: str, with_files: bool) -> list[Property]:
    return [Property(name=INSTALLED, value=path)] if with_files else []


def _hashes(sha256: str | None) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []


def _made_from(config: Config, model: str) -> list[Component]:
    """Weights, labels and photographs that a model was made from, none of which ships."""
    spec = config.models.get(model)
    if spec is None:
        return []
    names = set(re.findall(r'"source": "([^"]+)"', json.dumps(spec.model_dump(mode="json"))))
    return [
        Component(
            name=source.name,
            version=source.version,
            type=ComponentType.DATA,
            description=source.purpose,
            licenses=licences(source.licence),
            scope=ComponentScope.EXCLUDED,
            bom_ref=f"source:{source.name}",
            hashes=_hashes(source.files[0].sha256 if source.files else None),
        )
        for source in (config.sources[name] for name in sorted(names & set(config.sources)))
    ]


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
    names = [part.strip() for part in re.split(r",\s*(?![^()]*\))", text) if part.strip()]
    if len(names) == 1 and not is_supported_id(names[0]) and is_expression(names[0]):
        return [LicenseExpression(names[0])]
    return [
        DisjunctiveLicense(id=name) if is_supported_id(name) else DisjunctiveLicense(name=name)
        for name in names
    ]
