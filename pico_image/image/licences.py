"""The licences of an image: texts, a list, what needs attention, and the bill of materials.

Both are made after a build, from what the backend knows of the image that it built.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, write_text
from pico_image.card.parts import RUNTIME, Contents, Licences
from pico_image.config.configuration import Config
from pico_image.config.target import Target
from pico_image.image import build, sbom
from pico_image.models import convert
from pico_image.models.papers import ModelCard, read_card
from pico_image.sdk.workspace import Options

COLUMNS = ("component", "version", "licence", "ships", "note")
RUNTIME_NOTE = "linked statically into every program"
#: Words of licences that must be read before an image is passed on.
RESTRICTED = ("proprietary", "rknn sdk", "unknown", "non-commercial", "nc-")

Row = tuple[str, str, str, str, str]


def legal_info(
    console: Console, target: Target, options: Options | None = None
) -> tuple[Path, list[str]]:
    """Fill ``out/VARIANT/legal-info``; the folder, and what to read before passing the image on."""
    folder = output_dir() / target.name / "legal-info"
    with _known(console, target, options) as (cards, known):
        return folder, collect(target.config, folder, cards, known)


def bill(console: Console, target: Target, options: Options | None = None) -> Path:
    """Write ``out/VARIANT/images/sbom.cdx.json``."""
    path = output_dir() / target.name / "images" / sbom.NAME
    with _known(console, target, options) as (cards, known):
        write_text(path, sbom.document(target, cards, known.components))
    return path


@contextmanager
def _known(
    console: Console, target: Target, options: Options | None
) -> Iterator[tuple[list[ModelCard], Licences]]:
    models = convert.convert_all(console, target.config, target.models)
    with (
        build.backend_of(console, target, options) as backend,
        TemporaryDirectory(prefix="pico-legal-") as scratch,
    ):
        known = backend.licences(target, Contents(models), _provenance(target), Path(scratch))
        yield [read_card(folder) for folder in models.values()], known


def _provenance(target: Target) -> dict[str, Any]:
    """The inputs in the image's ``build-info.json``; none where there is no image yet."""
    path = output_dir() / target.name / "images" / "build-info.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def collect(config: Config, out: Path, cards: Sequence[ModelCard], known: Licences) -> list[str]:
    """Fill ``out`` and return what to look at before the image is passed on.

    ``out`` gets ``licences.csv``, ``licences/NAME/`` and ``buildroot/``.

    Raises UserError when a folder that should have texts has none.
    """
    texts = {name: _texts(name, prefix) for name, prefix in known.texts.items()}
    rows = [*_rows_of_buildroot(known.buildroot), *_rows_of_models(config, cards)]
    rows += _rows_of_sources(config, [path.name for paths in texts.values() for path in paths])
    rows += [
        (component.name, component.version or "", component.licence, "yes", RUNTIME_NOTE)
        for component in known.components
        if component.ref == RUNTIME
    ]
    shutil.rmtree(out, ignore_errors=True)
    for name, paths in texts.items():
        (out / "licences" / name).mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, out / "licences" / name / path.name)
    if known.buildroot is not None:
        ignored = shutil.ignore_patterns("*sources")
        shutil.copytree(known.buildroot, out / "buildroot", ignore=ignored)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(set(rows)))
    write_text(out / "licences.csv", table.getvalue())
    return [
        f"{name}: {licence}" + (f" ({note})" if note else "")
        for name, _, licence, ships, note in sorted(set(rows))
        if ships == "yes" and any(word in licence.lower() for word in RESTRICTED)
    ]


def _texts(name: str, prefix: Path) -> list[Path]:
    folder = prefix / "licences"
    paths = sorted(path for path in folder.glob("*") if path.is_file())
    if not paths:
        raise UserError(
            f"{folder} has no licence texts, which {name} needs to be passed on",
            hint="remove that folder, so that it is built again",
        )
    return paths


def _rows_of_buildroot(folder: Path | None) -> list[Row]:
    if folder is None:
        return []
    path = folder / "manifest.csv"
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror}") from error
    return [
        (
            row["PACKAGE"],
            row["VERSION"],
            row["LICENSE"],
            "yes",
            "source not passed on" if row["SOURCE ARCHIVE"] in ("", "not saved") else "",
        )
        for row in rows
    ]


def _rows_of_models(config: Config, cards: Sequence[ModelCard]) -> list[Row]:
    rows: list[Row] = []
    for card in cards:
        rows.append((f"model {card.name}", "", card.licence, "yes", ""))
        for image in card.images:
            rows.append((f"{card.name}/{image.path}", "", image.licence, "yes", image.credit))
        if "npu" in card.files:
            licence = sbom.licence_of_golden(config, card)
            rows.append((f"{card.name}/golden", "", licence, "yes", sbom.GOLDEN))
        spec = config.models.get(card.name)
        for photograph in spec.calibration.photographs if spec else ():
            source = config.sources.get(photograph.source)
            if source is not None:
                rows.append((source.name, source.version, source.licence, "no", "calibration"))
    return rows


def _rows_of_sources(config: Config, texts: Sequence[str]) -> list[Row]:
    """The sources whose licence texts (``NAME-LICENSE``) are there."""
    return [
        (source.name, source.version, source.licence, "yes", "")
        for source in config.sources.values()
        if any(text.startswith(f"{source.name}-") for text in texts)
    ]
