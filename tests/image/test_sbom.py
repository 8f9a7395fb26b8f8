"""The bill of materials: valid CycloneDX with everything that is in an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pico_image.base.errors import UserError
from pico_image.compile import programs
from pico_image.config import configuration
from pico_image.image import sbom
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
ROWS = (
    ("busybox", "1.36.1", "GPL-2.0, bzip2-1.0.4", "LICENSE", "b.tar.bz2", "https://x", "s []"),
    ("rknn-runtime", "2.3.2", "PROPRIETARY (RKNN SDK License)", "LICENSE", "", "not saved", ""),
    ("libzlib", "1.2.13", "Zlib", "LICENSE", "zlib.tar.xz", "https://x", ""),
)
MANIFEST = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (COLUMNS, *ROWS))


def components(text: str) -> dict[str, dict[str, Any]]:
    problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert problem is None, problem
    return {entry["bom-ref"]: entry for entry in json.loads(text)["components"]}


def test_an_emulator_image() -> None:
    loaded = configuration.load()
    text = sbom.document(loaded, loaded.variant("emulator"), [CARD])
    found = components(text)
    for name in ("tensorflow", "xnnpack", "zlib", "busybox", "linux-armmp"):
        assert f"source:{name}" in found
    model = found["model:efficientnet-lite0"]
    assert model["type"] == "machine-learning-model"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {"name": "pico:file:int8.tflite:sha256", "value": "ab" * 32} in model["properties"]
    assert found["model:efficientnet-lite0:images/cat.jpg"]["type"] == "data"
    assert found["source:scikit-image-photographs"]["scope"] == "excluded"
    assert found["source:efficientnet-lite0-weights"]["scope"] == "excluded"
    assert found["tool:rknn-toolkit2"]["version"] == "2.3.2"
    assert "source:luckfox-sdk" not in found
    assert found["own:neon-runner"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_the_same_input_makes_the_same_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    loaded = configuration.load()
    first = sbom.document(loaded, loaded.variant("emulator"), [CARD])
    assert first == sbom.document(loaded, loaded.variant("emulator"), [CARD])
    assert json.loads(first)["metadata"]["timestamp"].startswith("2023-11-14T22:13:20")
    assert first != sbom.document(loaded, loaded.variant("emulator"), [])


def test_an_image_of_the_sdk_lists_the_packages_of_buildroot(tmp_path: Path) -> None:
    loaded = configuration.load()
    variant = loaded.variant("luckfox-pico-mini")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(MANIFEST)
    path = sbom.write(
        loaded, variant, tmp_path / "sbom.cdx.json", cards=[CARD], buildroot_manifest=manifest
    )
    found = components(path.read_text())
    assert found["buildroot:busybox"]["version"] == "1.36.1"
    named = [entry["license"] for entry in found["buildroot:busybox"]["licenses"]]
    assert {name for entry in named for name in entry.values()} == {"GPL-2.0", "bzip2-1.0.4"}
    assert found["buildroot:rknn-runtime"]["licenses"] == [
        {"license": {"name": "PROPRIETARY (RKNN SDK License)"}}
    ]
    assert {"source:luckfox-sdk", "source:tensorflow"} <= set(found)
    assert "source:busybox" not in found, "the emulator's busybox is not the board's"
    assert not {"toolchain:runtime", "source:libpng"} & set(found)
    # A neon-runner that came ready: what is in it, Buildroot does not list.
    outside = variant.model_copy(update={"extra_symbols": {programs.PREBUILT: "y"}})
    text = sbom.document(loaded, outside, [CARD], manifest)
    assert {"toolchain:runtime", "source:libpng", "source:xnnpack"} <= set(components(text))


def test_without_the_list_of_packages_it_is_not_complete(tmp_path: Path) -> None:
    loaded = configuration.load()
    variant = loaded.variant("luckfox-pico-mini")
    with pytest.raises(UserError, match="not done yet"):
        sbom.document(loaded, variant, [])
    with pytest.raises(UserError, match="could not read"):
        sbom.document(loaded, variant, [], tmp_path / "absent")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not a manifest\.csv"):
        sbom.document(loaded, variant, [], tmp_path / "other.csv")


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
