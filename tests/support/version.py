"""The version of the project, as pyproject.toml states it."""

from __future__ import annotations

import re

from pico_image.base.files import ROOT


def _project_version() -> str:
    # tomllib comes with Python 3.11.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("\n[project]\n")[2].partition("\n[")[0]
    version = re.search(r'^version = "(\d+\.\d+\.\d+)"$', table, re.MULTILINE)
    assert version is not None, "pyproject.toml: [project] has no version"
    return version[1]


PROJECT_VERSION = _project_version()
