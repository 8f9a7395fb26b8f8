"""Host, board programs and Buildroot packages state one version."""

from __future__ import annotations

import re

import pytest

from pico_image.base.files import ROOT
from tests.support.version import PROJECT_VERSION

#: Packages that are built from files of this tree.
OURS = sorted(
    path.parent.name
    for path in (ROOT / "package").glob("*/*.mk")
    if path.parent.name not in ("rknn-runtime", "rknn-runtime-legacy", "tensorflow-lite-static")
)


def test_programs() -> None:
    header = (ROOT / "app/common/version.h").read_text(encoding="utf-8")
    assert re.findall(r'^#define PICO_VERSION "(.*)"$', header, re.MULTILINE) == [PROJECT_VERSION]


@pytest.mark.parametrize("name", OURS)
def test_package(name: str) -> None:
    text = (ROOT / f"package/{name}/{name}.mk").read_text(encoding="utf-8")
    assert re.findall(r"^\w+_VERSION = (\S+)$", text, re.MULTILINE) == [PROJECT_VERSION]


def test_the_packages_are_found() -> None:
    assert {"neon-runner", "npu-bench", "npu-runner"} < set(OURS)
