"""The licences of an image in one folder: texts, a list, and what needs the owner's attention."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import write_text
from pico_image.config.configuration import Config
from pico_image.config.schema import Source, Variant
from pico_image.image.sbom_files import RUNTIME, RUNTIME_LICENCES
from pico_image.models.card import ModelCard

COLUMNS = ("component", "version", "licence", "ships", "note")
RUNTIME_NOTE = "linked statically into every program"
#: Words in a licence that say: not to be passed on without reading it.
RESTRICTED = ("proprietary", "rknn sdk", "unknown", "non-commercial", "nc-")


def collect(
    config: Config,
    variant: Variant,
    out: Path,
    *,
    cards: Sequence[ModelCard],
    prefixes: Mapping[str, Path],
    buildroot: Path | None = None,
    runtime: str = "",
) -> list[str]:
    """Fill ``out`` and return what to look at before the image is passed on.

    ``prefixes`` maps names to folders that have ``licences/`` (see ``compile.libraries``),
    ``buildroot`` is the folder that ``make legal-info`` filled, needed for the boards' images;
    ``runtime`` is the compiler whose libraries are in the emulator's programs.
    ``out`` gets ``licences.csv``, ``licences/NAME/`` and ``buildroot/``.

    Raises UserError when a folder that should have texts has none.
    """
    board = config.board(variant.board)
    if board.backend == "luckfox-sdk" and buildroot is None:
        raise UserError(
            f"the licences of variant {variant.name} are known when Buildroot has collected them",
            hint=f"invoke build-image --variant {variant.name}, then this again",
        )
    texts = {name: _texts(name, prefix) for name, prefix in prefixes.items()}
    rows = [*_rows_of_buildroot(buildroot), *_rows_of_models(config, cards)]
    rows += _rows_of_sources(config, [path.name for paths in texts.values() for path in paths])
    if runtime:
        rows.append((RUNTIME, runtime, ", ".join(RUNTIME_LICENCES), "yes", RUNTIME_NOTE))
    shutil.rmtree(out, ignore_errors=True)
    for name, paths in texts.items():
        (out / "licences" / name).mkdir(parents=True)
        for path in paths:
            shutil.copyfile(path, out / "licences" / name / path.name)
    if buildroot is not None:
        shutil.copytree(buildroot, out / "buildroot", ignore=shutil.ignore_patterns("*sources"))
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


Row = tuple[str, str, str, str, str]


def _texts(name: str, prefix: Path) -> list[Path]:
    folder = prefix / "licences"
    found = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    if not found:
        raise UserError(
            f"{folder} has no licence texts, which {name} needs to be passed on",
            hint="remove that folder, so that it is built again",
        )
    return found


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
        spec = config.models.get(card.name)
        calibration = getattr(spec, "calibration", None)
        for photograph in getattr(calibration, "photographs", []):
            source = config.sources.get(photograph.source)
            if source is not None:
                rows.append((source.name, source.version, source.licence, "no", "calibration"))
    return rows


def _rows_of_sources(config: Config, texts: Sequence[str]) -> list[Row]:
    """The sources whose licence texts (``NAME-LICENSE``) are there."""
    return [
        _row(source)
        for source in config.sources.values()
        if any(text.startswith(f"{source.name}-") for text in texts)
    ]


def _row(source: Source) -> Row:
    return (source.name, source.version, source.licence, "yes", "")
