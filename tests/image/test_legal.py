"""Licences of an image: all texts, one list, and what to look at before passing it on."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image import sources
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import parts
from pico_image.card.parts import Licences
from pico_image.compile import programs
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.emulator import backend as emulator
from pico_image.image import licences
from pico_image.models import convert
from pico_image.sdk import backend as sdk
from tests.support.model_cards import card

CARD = card(
    images=[
        {
            "path": "images/cat.jpg",
            "title": "Cat",
            "top1": [],
            "licence": "CC-BY-NC-4.0",
            "credit": "somebody",
        }
    ]
)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "prefix/licences"
    folder.mkdir(parents=True)
    (folder / "xnnpack-LICENSE").write_text("BSD\n")
    (folder / "tensorflow-LICENSE").write_text("Apache\n")
    return folder.parent


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "licences.csv").open(newline="") as stream:
        return {row["component"]: row for row in csv.DictReader(stream)}


def test_an_emulator_image(tmp_path: Path, prefix: Path) -> None:
    loaded = configuration.load()
    out = tmp_path / "legal-info"
    (out / "old").mkdir(parents=True)
    system = tmp_path / "system/licences"
    system.mkdir(parents=True)
    (system / "busybox-LICENSE").write_text("GPL\n")
    texts = {"tflite": prefix, "system": system.parent}
    known = Licences((parts.runtime("arm-gcc 12"),), texts)
    warnings = licences.collect(loaded, out, [CARD], known)
    assert not (out / "old").exists()
    assert (out / "licences/tflite/xnnpack-LICENSE").read_text() == "BSD\n"
    found = rows(out)
    assert found["xnnpack"]["licence"] == "BSD-3-Clause"
    assert found["busybox"]["ships"] == "yes"
    assert (out / "licences/system/busybox-LICENSE").is_file()
    assert found["glibc, libgcc and libstdc++ of the cross compiler"]["version"] == "arm-gcc 12"
    assert found["model efficientnet-lite0"]["ships"] == "yes"
    assert found["scikit-image-photographs"]["ships"] == "no"
    assert warnings == ["efficientnet-lite0/images/cat.jpg: CC-BY-NC-4.0 (somebody)"]


@pytest.fixture
def buildroot(tmp_path: Path) -> Path:
    """What ``make legal-info`` of an image left."""
    folder = tmp_path / "buildroot"
    (folder / "licenses/rknn-runtime-2.3.2").mkdir(parents=True)
    (folder / "licenses/rknn-runtime-2.3.2/LICENSE").write_text("text")
    (folder / "sources").mkdir()
    (folder / "manifest.csv").write_text(
        '"PACKAGE","VERSION","LICENSE","SOURCE ARCHIVE"\n'
        '"rknn-runtime","2.3.2","PROPRIETARY (RKNN SDK License)","not saved"\n'
        '"zlib","1.2.13","Zlib","zlib.tar"\n'
    )
    return folder


def test_an_image_of_the_sdk(tmp_path: Path, buildroot: Path) -> None:
    loaded = configuration.load()
    out = tmp_path / "out"
    warnings = licences.collect(loaded, out, [], Licences((), buildroot=buildroot))
    assert warnings == ["rknn-runtime: PROPRIETARY (RKNN SDK License) (source not passed on)"]
    assert (out / "buildroot/licenses/rknn-runtime-2.3.2/LICENSE").is_file()
    assert not (out / "buildroot/sources").exists()
    assert rows(out)["zlib"]["licence"] == "Zlib"


def test_a_neon_runner_from_outside_brings_its_texts(
    tmp_path: Path, prefix: Path, buildroot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buildroot's list has the program, not what was linked into it elsewhere."""
    target = Target.of(configuration.load(), "luckfox-pico-mini")
    target = replace(
        target,
        variant=target.variant.model_copy(update={"extra_symbols": {programs.PREBUILT: "y"}}),
    )
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setattr(
        sdk.Backend, "_collect", lambda _self, _target, _contents, folder: shutil.copytree(
            buildroot, folder, dirs_exist_ok=True
        ),
    )  # fmt: skip
    monkeypatch.setattr(convert, "convert_all", lambda *_: {})
    monkeypatch.setattr("pico_image.compile.libraries.image_libraries", lambda *_: prefix)
    monkeypatch.setattr("pico_image.compile.libraries.tflite", lambda *_: prefix)
    monkeypatch.setattr("pico_image.compile.toolchain.Toolchain.check", lambda *_: "arm-g++ 12")
    for program, compiler in (
        (None, "of the machine that built neon-runner"),
        (tmp_path / "neon-runner", "arm-g++ 12"),
    ):
        monkeypatch.setattr(programs, "prebuilt_neon_runner", lambda *_, program=program: program)
        folder, _ = licences.legal_info(Console(), target)
        found = rows(folder)
        assert "rknn-runtime" in found
        assert ("xnnpack" in found) == (program is not None)
        text = folder / "licences/tensorflow-lite/xnnpack-LICENSE"
        assert text.exists() == (program is not None)
        assert found[parts.runtime("").name]["version"] == compiler


def test_texts_come_from_the_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "program.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("program/deep/LICENSE", "program/LICENSE"):
            text = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    monkeypatch.setattr(sources, "fetch", lambda console, source: archive)
    console, loaded = Console(), configuration.load()
    folder = emulator.take_texts(console, loaded, ["busybox"], tmp_path / "texts")
    assert (folder / "licences/busybox-LICENSE").read_text() == "program/LICENSE"
    # A bug of the table, so no UserError, which would exit with "the user can mend it".
    with pytest.raises(LookupError, match=r"has no \*/NOTICE, the licence text of e2fsprogs"):
        emulator.take_texts(console, loaded, ["e2fsprogs"], tmp_path / "none")


def test_texts_of_the_compilers_libraries(tmp_path: Path) -> None:
    assert emulator.take_runtime_texts(tmp_path / "none", tmp_path) is None
    for name in ("libc6-dev-armhf-cross", "libstdc++-12-dev-armhf-cross", "libzip5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "copyright").write_text(name)
    found = emulator.take_runtime_texts(tmp_path / "runtime", tmp_path)
    assert found is not None
    assert {path.name for path in (found / "licences").iterdir()} == {
        "libc6-dev-armhf-cross-copyright", "libstdc++-12-dev-armhf-cross-copyright",
    }  # fmt: skip


def test_missing_texts_and_lists(tmp_path: Path) -> None:
    loaded = configuration.load()
    with pytest.raises(UserError, match="has no licence texts"):
        licences.collect(loaded, tmp_path / "out", [], Licences((), {"tflite": tmp_path}))
    with pytest.raises(UserError, match="could not read"):
        licences.collect(loaded, tmp_path / "out", [], Licences((), buildroot=tmp_path))


def test_what_is_in_an_emulator_image_is_known_after_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    monkeypatch.setattr(convert, "convert_all", lambda *_: {})
    with pytest.raises(UserError, match="has not been built") as caught:
        licences.bill(Console(), Target.of(configuration.load(), "emulator"))
    assert "invoke build-image" in str(caught.value)
