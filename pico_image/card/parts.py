"""What a backend gets and gives: the inputs of a build, its parts, the components in an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pico_image.config.schema import Source

#: The parts of every card, in the order of the partition string.
PARTS = ("env", "idblock", "uboot", "boot", "oem", "userdata", "rootfs")


@dataclass(frozen=True)
class Inputs:
    """What goes into an image besides its target."""

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
    #: Paths or patterns in the root file system.
    installed: tuple[str, ...] = ()
    #: Programs that it was linked into statically.
    linked: tuple[str, ...] = ()
    built_by: str | None = None

    @classmethod
    def of(cls, source: Source) -> Component:
        return cls(
            ref=f"source:{source.name}",
            name=source.name,
            version=source.version,
            licence=source.licence,
            description=source.purpose,
            sha256=source.files[0].sha256 if source.files else None,
        )


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
    #: Whether only the emulator boots it.
    emulated: bool = False


@dataclass(frozen=True)
class Licences:
    """What a backend knows of an image that was built, for those who pass it on."""

    components: tuple[Component, ...]
    #: Folders with licence texts in ``licences/``, by name.
    texts: Mapping[str, Path] = field(default_factory=dict)
    #: What Buildroot's ``make legal-info`` left.
    buildroot: Path | None = None
