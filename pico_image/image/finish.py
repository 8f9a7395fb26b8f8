"""What goes beside the parts of an image: one code path for every backend.

From the parts and the partition string: ``sdcard.img`` with its block map and its compressed
forms, ``README.txt``, ``build-info.json``, ``sbom.cdx.json`` and ``SHA256SUMS`` of all of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import write_text
from pico_image.card.compose import compose
from pico_image.card.verify import write_sums
from pico_image.config.configuration import Config
from pico_image.config.partitions import PartitionTable
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.image import build_info, sbom
from pico_image.image.publish import PACKAGES, PROGRAMS, compress, write_readme
from pico_image.models.card import read_card

#: The parts that every backend leaves, in the order of the partition string.
PARTS = ("env", "idblock", "uboot", "boot", "oem", "userdata", "rootfs")
CARD = "sdcard.img"
SBOM = "sbom.cdx.json"
#: What the vendor's SDK makes for its flashing tools; not on the card, but in the folder.
VENDOR = ("download.bin", "update.img", "sd_update.txt", "tftp_update.txt")
#: The compressed form that is made where nothing else is asked for.
USUAL_FORM = "zst"


@dataclass(frozen=True)
class Contents:
    """What went into an image, for its papers."""

    #: For ``build-info.json``: hashes or versions of programs, models, container, SDK.
    inputs: Mapping[str, Any]
    #: Folders of converted models by name.
    models: Mapping[str, Path] = field(default_factory=dict)
    #: Answer of Buildroot's ``make show-info``, where Buildroot made the system.
    packages: str | None = None


def check_forms(forms: Sequence[str] | None) -> Sequence[str]:
    """The compressed forms to make; to be asked before a long build.

    None stands for what is usual, if this machine can make it. Raises UserError for a form that
    is asked for and unknown, or whose program is missing.
    """
    if forms is None:
        return (USUAL_FORM,) if shutil.which(PROGRAMS[USUAL_FORM][0]) else ()
    for form in forms:
        if form not in PROGRAMS:
            raise UserError(
                f"images cannot be compressed as {form!r}", hint=f"known: {', '.join(PROGRAMS)}"
            )
        program = PROGRAMS[form][0]
        if shutil.which(program) is None:
            raise UserError(
                f"could not find the program {program}, which is needed to compress the image",
                hint=f"install {PACKAGES[form]}",
            )
    return tuple(forms)


def finish(
    console: Console,
    config: Config,
    variant: Variant,
    images: Path,
    table: PartitionTable,
    contents: Contents,
    *,
    forms: Sequence[str] | None = None,
) -> None:
    """Write everything that belongs beside the parts in ``images``, unless it is there already.

    Raises UserError for parts that do not fit, and for a form that cannot be made.
    """
    forms = check_forms(forms)
    stamp = images.parent / ".stamps" / f"{CARD}.json"
    wanted = _wanted(config, variant, images, table, contents, forms)
    if _is_current(stamp, wanted, images):
        return
    stamp.unlink(missing_ok=True)
    parts = {name: images / f"{name}.img" for name in PARTS}
    with console.step("compose the card image"):
        composed = compose(console, parts, table, images / CARD)
    for form in PROGRAMS:
        (images / f"{CARD}.{form}").unlink(missing_ok=True)
    packed = compress(console, images / CARD, forms)
    emulated = config.board(variant.board).backend == "emulator"
    readme = write_readme(images, table, variant.name, emulated=emulated)
    info = build_info.write(Target.of(config, variant), images, parts, dict(contents.inputs))
    beside = [composed.bmap_path, readme, info, *packed, images / ".env.txt"]
    beside += [images / name for name in VENDOR if (images / name).is_file()]
    cards = [read_card(folder) for folder in contents.models.values()]
    if emulated or contents.packages is not None:
        bill = sbom.write(
            config, variant, images / SBOM, cards=cards,
            buildroot_packages=contents.packages, inputs=contents.inputs,
        )  # fmt: skip
        beside.append(bill)
    else:
        (images / SBOM).unlink(missing_ok=True)
        console.warn(
            f"no {SBOM}: Buildroot did not tell what it built; --from rootfs makes it tell"
        )
    names = [*composed.sums, *(path.name for path in beside)]
    sums = write_sums(images, names, composed.sums)
    made = {name: _mark(images / name) for name in [*names, sums.name]}
    write_text(stamp, json.dumps({"wanted": wanted, "made": made}, indent=1) + "\n")


def _mark(path: Path) -> list[int]:
    """Size and time: what someone changed by hand is made again."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _wanted(
    config: Config,
    variant: Variant,
    images: Path,
    table: PartitionTable,
    contents: Contents,
    forms: Sequence[str],
) -> dict[str, Any]:
    vendor = [name for name in VENDOR if (images / name).is_file()]
    wanted = {
        "parts": {name: _mark(images / name) for name in [*(f"{p}.img" for p in PARTS), *vendor]},
        "layout": str(table),
        "inputs": contents.inputs,
        "cards": [read_card(folder).plain() for folder in contents.models.values()],
        "packages": contents.packages,
        "forms": forms,
        "variant": variant.model_dump(mode="json"),
        "board": config.board(variant.board).model_dump(mode="json"),
        "sources": {name: source.version for name, source in config.sources.items()},
        "project": asdict(project.revision(config.root)),
        "epoch": project.source_date_epoch(config.root),
    }
    # As it comes back from the file: tuples are lists there, paths are text.
    found: dict[str, Any] = json.loads(json.dumps(wanted, default=str, sort_keys=True))
    return found


def _is_current(stamp: Path, wanted: Mapping[str, Any], images: Path) -> bool:
    try:
        known = json.loads(stamp.read_text(encoding="utf-8"))
        return bool(
            known["wanted"] == wanted
            and all(_mark(images / name) == mark for name, mark in known["made"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
