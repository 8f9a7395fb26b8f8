"""What the emulator image is made of is made anew when its recipe changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pico_image.base import cache
from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.compile.toolchain import Toolchain
from pico_image.config import configuration
from pico_image.emulator.system import userland


def test_other_applets_make_another_initramfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initramfs of the former list stayed in the cache and went into new images."""
    keys: list[Mapping[str, object]] = []

    def note(
        name: str, inputs: Mapping[str, object], build: Callable[[Path], None], **_: object
    ) -> Path:
        keys.append(inputs)
        return tmp_path / name

    monkeypatch.setattr(userland, "build_once", note)
    for name in ("kernel", "busybox"):
        monkeypatch.setattr(userland, name, lambda *_, name=name: tmp_path / name)
    monkeypatch.setattr(Toolchain, "identity", lambda *_: "a compiler")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pico_image", tmp_path / "pico_image", ignore=ignored)
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    monkeypatch.setattr(userland, "code_of", cache.code_of.__wrapped__)  # not the kept answer
    recipe = tmp_path / "pico_image/emulator/system/userland.py"
    text = recipe.read_text()
    list_begins = 'INITRAMFS_APPLETS = (\n    *("sh", '
    assert list_begins in text
    for begins in (list_begins, f"#: A better comment.\n{list_begins}", list_begins + '"dd", '):
        recipe.write_text(text.replace(list_begins, begins))
        userland.initramfs(Console(), configuration.load(), Toolchain())
    stock, commented, other = keys
    assert stock == commented
    assert stock != other
