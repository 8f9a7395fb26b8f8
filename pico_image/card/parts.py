"""What a backend gets and gives: contents, parts, the components that an image consists of."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError
from pico_image.config.schema import Source

#: The parts of every card, in the order of the partition string.
PARTS = ("env", "idblock", "uboot", "boot", "oem", "userdata", "rootfs")


#: This project's own, whose text is LICENSE at the top of the tree.
LICENCE = "Apache-2.0"
#: Columns of Buildroot's legal-info that the bill of materials is made from.
_COLUMNS = ("PACKAGE", "VERSION", "LICENSE")


@dataclass(frozen=True)
class Contents:
    """What goes into an image besides what its target says."""

    #: Folders of converted models by name.
    models: Mapping[str, Path] = field(default_factory=dict)
    #: Folder with release file, public keys and password hashes (see image/access.py).
    login: Path | None = None


@dataclass(frozen=True)
class Component:
    """One entry of the bill of materials."""

    #: Unique in an image: ``source:zlib``, ``buildroot:busybox``, ``own:npu-runner``.
    ref: str
    name: str
    version: str | None
    #: SPDX identifiers or plain names, separated by commas (Buildroot's notation).
    licence: str
    description: str | None = None
    #: One of this project's programs, not a library that it uses.
    program: bool = False
    sha256: str | None = None
    #: Paths or patterns in the root file system, or the part that has it instead.
    installed: tuple[str, ...] = ()
    #: Programs that it was linked into statically.
    linked: tuple[str, ...] = ()
    built_by: str | None = None

    @classmethod
    def of(
        cls, source: Source, *, installed: tuple[str, ...] = (), linked: tuple[str, ...] = ()
    ) -> Component:
        return cls(
            ref=f"source:{source.name}",
            name=source.name,
            version=source.version,
            licence=source.licence,
            description=source.purpose,
            sha256=source.files[0].sha256 if source.files else None,
            installed=installed,
            linked=linked,
        )


#: The one component for the C and C++ libraries of a cross compiler.
RUNTIME = "toolchain:runtime"


def runtime(compiler: str, linked: tuple[str, ...] = ()) -> Component:
    """The libraries that came with a cross compiler, in every program that it linked."""
    return Component(
        ref=RUNTIME,
        name="glibc, libgcc and libstdc++ of the cross compiler",
        version=compiler,
        licence="LGPL-2.1-or-later, GPL-3.0-or-later WITH GCC-exception-3.1",
        description="linked statically into every program of the emulator's image",
        linked=linked,
    )


def own_files(commit: str, installed: tuple[str, ...]) -> Component:
    """The files of this project that are no programs: overlay, settings and keys."""
    return Component(
        ref="own:system",
        name="luckfox-pico-npu",
        version=commit,
        licence=LICENCE,
        description="init scripts and settings of this project, and the keys given to the build",
        program=True,
        installed=installed,
    )


def shown_components(text: str) -> list[Component]:
    """One component for each package on the board in the output of Buildroot's ``make show-info``.

    Host packages are not on the board; a virtual package is provided by another in the list.
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
            hint="build with --from rootfs, which makes the list again",
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


@dataclass(frozen=True)
class Parts:
    """What a backend made for a target."""

    #: Where ``NAME.img`` of ``PARTS`` are, and what belongs beside them.
    folder: Path
    #: False after a build of some stages only: then there is nothing to compose.
    complete: bool = True
    #: For ``build-info.json``: hashes or versions of programs, container, SDK.
    provenance: Mapping[str, Any] = field(default_factory=dict)
    #: None where the backend does not know what is in the root file system.
    components: tuple[Component, ...] | None = None
    #: Files beside the parts that belong to the image: what the vendor's flashing tools take.
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Licences:
    """What a backend knows of an image that was built, for those who pass it on."""

    components: tuple[Component, ...]
    #: Folders with licence texts in ``licences/``, by name.
    texts: Mapping[str, Path] = field(default_factory=dict)
    #: What Buildroot's ``make legal-info`` left.
    buildroot: Path | None = None
