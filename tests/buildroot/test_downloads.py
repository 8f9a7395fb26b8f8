"""Which sources a variant's packages download, held against make's own reading of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.config import configuration, downloads, render
from tests.buildroot.test_tree import hashes, make

CONFIG = configuration.load()
VARIANTS = render.renderable(CONFIG)


def symbols_of(variant: str) -> dict[str, str]:
    return {name: symbol.value for name, symbol in render.symbols(CONFIG, variant).items()}


def test_conditions_of_makefiles() -> None:
    """Make's own forms: what is not understood would be read, or left out, for ever."""
    for path in (ROOT / "package").glob("*/*.mk"):
        for line in re.findall(r"^.*\b(?:if\w* \(|else\b).*$", path.read_text(), re.MULTILINE):
            if not line.startswith("#"):
                assert re.match(r"ifn?eq \(.*\)$|else$", line), f"{path}: {line}"
        for line in re.findall(r"^\w+_DEPENDENCIES.*$", path.read_text(), re.MULTILINE):
            assert re.match(r"\w+_DEPENDENCIES \+?= [\w -]+$", line), f"{path}: {line}"
    text = "A = 1\nifeq ($(BR2_X),y)\nB = 2\nelse\nC = 3\nendif\n"
    text += "ifneq ($(wildcard x),)\nD = 4\nelse\nE = 5\nifneq ($(BR2_X),y)\nF = 6\nendif\nendif\n"
    assert downloads._active(text, {}).split("\n") == ["A = 1", "C = 3", "D = 4", "E = 5", "F = 6"]
    assert downloads._active(text, {"BR2_X": "y"}).split("\n") == [
        *("A = 1", "B = 2", "D = 4", "E = 5"),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_that_our_packages_download_has_a_source(variant: str) -> None:
    """Names and hashes as make sees them with the variant's symbols: none is left to Buildroot."""
    symbols = symbols_of(variant)
    found = downloads.wanted(CONFIG, symbols)
    packages = {path.partition("/")[0] for path in found}
    settings = [f"{name}={value}" for name, value in symbols.items() if " " not in value]
    asked = {f"{line[1]}/{line[2]}" for line in make(*settings) if line[0] == "get"}
    # It prints licence files, too, which lie inside the archives; those of one name are downloads.
    texts = {"rknn-runtime/LICENSE", "rknn-runtime-legacy/LICENSE"}
    loaded = {path for path in asked if path in texts or not is_licence(path)}
    assert {path for path in loaded if path.partition("/")[0] in packages} == set(found)
    for path, source in found.items():
        package, _, file = path.partition("/")
        (one,) = source.files
        assert hashes(ROOT / f"package/{package}/{package}.hash")[file] == one.sha256
        assert one.places or one.sha1


def is_licence(path: str) -> bool:
    return re.search(r"/(LICENSE|COPYING|parts/|flatcc/)", path) is not None


def test_only_what_a_variant_selects() -> None:
    bench = downloads.wanted(CONFIG, symbols_of("luckfox-pico-mini"))
    assert len([path for path in bench if path.startswith("tensorflow-lite-static/")]) == 12
    assert len(bench) == 12 + 4 + 3
    minimal = downloads.wanted(CONFIG, symbols_of("luckfox-pico-mini-minimal"))
    assert {path.partition("/")[0] for path in minimal} == {"rknn-runtime"}
    prebuilt = {**symbols_of("luckfox-pico-mini"), "BR2_PACKAGE_NEON_RUNNER_PREBUILT": "y"}
    assert {path.partition("/")[0] for path in downloads.wanted(CONFIG, prebuilt)} == {
        *("rknn-runtime", "rknn-runtime-legacy"),
    }
    upstream = {**symbols_of("luckfox-pico-mini"), "BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN": "n"}
    assert set(bench) - set(downloads.wanted(CONFIG, upstream)) == {
        "tensorflow-lite-static/tensorflow_2.14.1+dfsg.orig.tar.xz"
    }


def test_a_prebuilt_runner_needs_no_archive_of_tensorflow(tmp_path: Path) -> None:
    """Buildroot would drop the choice of the archive, and the build ends where it drops one."""
    config = configuration.load(ROOT)
    variant = config.variant("luckfox-pico-mini")
    for value, asked in (("y", False), ("n", True)):
        symbols = {"BR2_PACKAGE_NEON_RUNNER_PREBUILT": value}
        config.variants[variant.name] = variant.model_copy(update={"extra_symbols": symbols})
        found = render.symbols(config, variant.name)
        assert ("BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN" in found) == asked
