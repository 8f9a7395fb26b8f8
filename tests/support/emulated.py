"""Emulator images put together from what is compiled once, without models of the real size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.emulator.backend import Backend
from pico_image.image.build import Login, make_image

#: A commit that stays the same: someone may commit while the tests run, and the commit is part of
#: an image.
REVISION = project.Revision("c" * 40, False)


class Prebuilt(Backend):
    """The backend with given folders in place of those that it compiles."""

    def __init__(self, console: Console, materials: Mapping[str, Path]) -> None:
        super().__init__(console)
        self._materials = materials

    def materials(self, config: Config, *, ssh_server: bool) -> dict[str, Path]:
        return dict(self._materials)


@dataclass(frozen=True)
class Kit:
    """What images are put together from; compiled once and kept in the cache."""

    console: Console
    config: Config
    materials: Mapping[str, Path]
    variant: Variant

    def build(
        self,
        models: Mapping[str, Path] | None = None,
        *,
        login: Login | None = None,
        **changes: object,
    ) -> Path:
        target = Target.of(self.config, self.variant.model_copy(update=changes))
        backend = Prebuilt(self.console, self.materials)
        return make_image(self.console, backend, target, models or {}, login=login).folder


def make_kit() -> Kit:
    """For a variant without models."""
    console = Console()
    config = configuration.load()
    variant = Variant(
        name="emulator-test",
        title="the emulator without models",
        board="emulator",
        packages=["npu-runner", "neon-runner", "npu-bench"],
        hostname="pico-test",
    )
    materials = Backend(console).materials(config, ssh_server=False)
    return Kit(console, config, materials, variant)


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Images are built there, with one commit and time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder))
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        patch.setattr(project, "revision", lambda root: REVISION)
        yield folder
