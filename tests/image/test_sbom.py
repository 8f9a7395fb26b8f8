"""The bill of materials: valid CycloneDX with everything that is in an image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.card import parts
from pico_image.compile import programs
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.emulator import backend as emulator
from pico_image.image import sbom
from pico_image.models.papers import ModelCard
from pico_image.sdk import backend as sdk
from tests.support.model_cards import card

CARD = card(
    files={
        "int8": {"path": "int8.tflite", "sha256": "ab" * 32, "bytes": 5},
        "npu": {"path": "model.rknn", "sha256": "cd" * 32, "bytes": 5},
    },
    images=[
        {
            "path": "images/cat.jpg",
            "title": "Cat",
            "top1": [],
            "licence": "CC0-1.0",
            "credit": "somebody",
        }
    ],
)
# Columns as Buildroot 2023.02.6 writes them (Makefile, target legal-info-prepare).
COLUMNS = (
    *("PACKAGE", "VERSION", "LICENSE", "LICENSE FILES", "SOURCE ARCHIVE", "SOURCE SITE"),
    "DEPENDENCIES WITH LICENSES",
)
(LEGACY,) = re.findall(
    r"\nRKNN_RUNTIME_LEGACY_LICENSE = (.*)\n",
    (ROOT / "package/rknn-runtime-legacy/rknn-runtime-legacy.mk").read_text(),
)
ROWS = (
    ("rknn-runtime-legacy", "1.6.0", LEGACY, "LICENSE flatcc/LICENSE", "", "not saved", ""),
    ("busybox", "1.36.1", "GPL-2.0, bzip2-1.0.4", "LICENSE", "b.tar.bz2", "https://x", "s []"),
    ("rknn-runtime", "2.3.2", "PROPRIETARY (RKNN SDK License)", "LICENSE", "", "not saved", ""),
    ("libzlib", "1.2.13", "Zlib", "LICENSE", "zlib.tar.xz", "https://x", ""),
)
MANIFEST = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (COLUMNS, *ROWS))


def components(text: str) -> dict[str, dict[str, Any]]:
    problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert problem is None, problem
    return {entry["bom-ref"]: entry for entry in json.loads(text)["components"]}


def document(target: Target, cards: list[ModelCard]) -> str:
    listed = emulator.components(target, "arm-g++ 12", ssh_server=False)
    return sbom.document(target, cards, listed)


def test_an_emulator_image() -> None:
    found = components(document(Target.of(configuration.load(), "emulator"), [CARD]))
    for name in ("tensorflow", "xnnpack", "zlib", "busybox", "linux-armmp"):
        assert f"source:{name}" in found
    model = found["model:efficientnet-lite0"]
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {"name": "pico:file:int8.tflite:sha256", "value": "ab" * 32} in model["properties"]
    assert found["model:efficientnet-lite0:images/cat.jpg"]["type"] == "data"
    golden = found["model:efficientnet-lite0:golden"]
    assert {"license": {"id": "CC0-1.0"}} in golden["licenses"]
    assert found["source:scikit-image-photographs"]["scope"] == "excluded"
    assert found["source:efficientnet-lite0-weights"]["scope"] == "excluded"
    assert found["tool:rknn-toolkit2"]["version"] == "2.3.2"
    assert "source:luckfox-sdk" not in found
    assert found["own:neon-runner"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_the_same_input_makes_the_same_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    target = Target.of(configuration.load(), "emulator")
    first = document(target, [CARD])
    assert first == document(target, [CARD])
    assert json.loads(first)["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    assert first != document(target, [])


def test_an_image_of_the_sdk_lists_the_packages_of_buildroot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = configuration.load()
    target = Target.of(loaded, "luckfox-pico-mini")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(MANIFEST)
    backend = sdk.Backend(Console())
    listed = parts.listed_components(manifest)
    found = components(sbom.document(target, [CARD], backend.components(target, listed)))
    assert found["buildroot:busybox"]["version"] == "1.36.1"
    named = [entry["license"] for entry in found["buildroot:busybox"]["licenses"]]
    assert {name for entry in named for name in entry.values()} == {"GPL-2.0", "bzip2-1.0.4"}
    assert found["buildroot:rknn-runtime"]["licenses"] == [
        {"license": {"name": "PROPRIETARY (RKNN SDK License)"}}
    ]
    # The older runtime is a component of its own, with the flatcc that is compiled into it.
    older = found["buildroot:rknn-runtime-legacy"]
    assert older["version"] == "1.6.0"
    flatcc, own = sorted(entry["license"]["name"] for entry in older["licenses"])
    assert own.startswith("PROPRIETARY (") and flatcc == "Apache-2.0 (flatcc)"
    assert {"source:luckfox-sdk", "source:tensorflow"} <= set(found)
    assert "source:busybox" not in found, "the emulator's busybox is not the board's"
    assert not {"toolchain:runtime", "source:libpng"} & set(found)
    # A neon-runner that came ready: what is in it, Buildroot does not list.
    symbols = {programs.PREBUILT: "y", programs.PREBUILT_PATH: "/opt/neon-runner"}
    outside = target.variant.model_copy(update={"extra_symbols": symbols})
    target = Target(loaded, outside, target.board, target.layout, target.cma_mib)
    monkeypatch.setattr(programs, "prebuilt_neon_runner", lambda *_: None)
    text = sbom.document(target, [CARD], backend.components(target, listed))
    assert {"toolchain:runtime", "source:libpng", "source:xnnpack"} <= set(components(text))


def test_a_list_of_packages_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not read"):
        parts.listed_components(tmp_path / "absent")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not a manifest\.csv"):
        parts.listed_components(tmp_path / "other.csv")
    for text in ("", "[]", '{"a": {}}'):
        with pytest.raises(UserError, match="cannot be understood"):
            parts.shown_components(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", ["MIT"]),
        ("GPL-2.0-or-later, MIT", ["GPL-2.0-or-later", "MIT"]),
        ("Apache-2.0 (A, B), MIT", ["Apache-2.0 (A, B)", "MIT"]),
        ("", []),
    ],
)
def test_licences_of_buildroot(text: str, expected: list[str]) -> None:
    found = [getattr(one, "id", None) or getattr(one, "name", None) for one in sbom.licences(text)]
    assert found == expected
