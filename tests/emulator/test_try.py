"""`invoke try` as a newcomer types it: the real model, booted, all three engines, the table."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from tests.support.result_schema import validated

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

PICTURES = ("chelsea", "coffee", "rocket")
CONFIGURATIONS = ("CPU float32", "CPU int8", "NPU int8")
#: What the int8 model has to leave of the 64 MB while it runs.
LEAST_LEFT_KIB = 20 * 1024


def invoke(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        env={**os.environ, "PICO_OUTPUT_DIR": str(out)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3000,
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("try")


@pytest.fixture(scope="module")
def tried(out: Path) -> subprocess.CompletedProcess[str]:
    done = invoke(out, "try")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def kept(tried: subprocess.CompletedProcess[str], out: Path) -> Path:
    (folder,) = (out / "results").iterdir()
    assert f"results: {folder}" in tried.stdout
    return folder


def test_the_table_is_shown_whole(tried: subprocess.CompletedProcess[str]) -> None:
    text = tried.stdout
    assert "\N{REPLACEMENT CHARACTER}" not in text
    assert text.count("efficientnet-lite0 224 · 385 MMAC · ") == len(PICTURES)
    assert text.count("emulated CPU · SIMULATED NPU") >= len(PICTURES)
    columns = ("CPU total", "CPU inference", "CPU total", "CPU inference")
    heading = r"Run +" + " +".join((*columns, "NPU total", "NPU inference")) + r" +\[us\]"
    assert len(re.findall(heading, text)) == len(PICTURES)
    for title in CONFIGURATIONS:
        right = re.findall(rf"^top-1 {title} .* right$", text, re.MULTILINE)
        assert len(right) == len(PICTURES), text
    assert "speed-up" not in text and "of peak" not in text
    assert "SIMULATED NPU = PC: within tolerance, largest step " in text
    assert re.search(r"^image: +\S+/sdcard\.img$", text, re.MULTILINE)


def test_the_result_is_kept_and_right(kept: Path) -> None:
    result = validated((kept / "result.json").read_text(encoding="utf-8"))
    assert result["outcome"] == "ok" and result["emulated"] and result["simulated_npu"]
    assert result["options"]["pictures"] == len(PICTURES)
    (model,) = result["models"]
    found = {config["title"]: config for config in model["configurations"]}
    assert tuple(found) == CONFIGURATIONS
    for config in found.values():
        assert config["failure"] is None and config["file"]["verified"] == "yes"
        names = tuple(Path(picture["path"]).stem for picture in config["pictures"])
        assert names == PICTURES
        assert all(picture["correct"] for picture in config["pictures"])
        if config["engine"] == "cpu":
            assert config["facts"]["xnnpack"]["used"] is True
    assert found["CPU int8"]["memory"]["available_kib"] >= LEAST_LEFT_KIB
    npu = found["NPU int8"]
    assert npu["facts"]["api_version"].startswith("SIMULATED")
    assert npu["verification"]["verdict"] == "within-tolerance" and npu["verification"]["simulated"]
    assert npu["verification"]["run"] == 2 < npu["verification"]["listed"]
    assert len(model["comparisons"]) == 3 * len(PICTURES)
    for comparison in model["comparisons"]:
        assert comparison["top1_equal"] and comparison["cosine"] > 0.97
        if "NPU int8" in (comparison["of"], comparison["against"]):
            assert comparison["speedup_total"] is None
    info = json.loads((kept / "build-info.json").read_text(encoding="utf-8"))
    assert info["variant"] == "emulator"


def test_again_with_nothing_changed_builds_nothing(kept: Path, out: Path) -> None:
    images = out / "emulator" / "images"
    before = {path: path.stat().st_mtime_ns for path in images.iterdir()}
    done = invoke(out, "build-image", "--variant", "emulator")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in images.iterdir()} == before
    shown = invoke(out, "report", "--result", str(kept), "--output", str(out / "page"))
    assert shown.returncode == 0, shown.stderr
    page = (out / "page" / "index.html").read_text(encoding="utf-8")
    assert "SIMULATED" in page and "emulated" in page


def test_its_licences_and_its_bill(tried: subprocess.CompletedProcess[str], out: Path) -> None:
    """As a user collects them: each component that ships is listed, and its text is there."""
    images = out / "emulator" / "images"
    built = json.loads((images / "sbom.cdx.json").read_text(encoding="utf-8"))
    done = invoke(out, "sbom", "--variant", "emulator")
    assert done.returncode == 0 and done.stdout.strip() == str(images / "sbom.cdx.json")
    again = json.loads((images / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert again["components"] == built["components"], "the build and the task tell the same"

    done = invoke(out, "legal-info", "--variant", "emulator")
    assert done.returncode == 0, done.stderr
    folder = out / "emulator" / "legal-info"
    assert done.stdout.splitlines()[0] == str(folder)
    with (folder / "licences.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["component"]: row for row in csv.DictReader(stream)}
    texts = {path.name: path for path in (folder / "licences").glob("*/*")}
    shipped = [
        component["name"]
        for component in again["components"]
        if component["bom-ref"].startswith("source:") and component["scope"] == "required"
    ]
    assert {"linux-armmp", "busybox", "e2fsprogs", "tensorflow", "xnnpack", "zlib"} <= set(shipped)
    for name in shipped:
        assert rows[name]["ships"] == "yes"
        found = [path for text, path in texts.items() if text.startswith(f"{name}-")]
        assert found and all(path.stat().st_size > 100 for path in found), name
    assert "GNU GENERAL PUBLIC LICENSE" in texts["busybox-LICENSE"].read_text(errors="replace")
    runtime = rows["glibc, libgcc and libstdc++ of the cross compiler"]
    assert "LGPL-2.1" in runtime["licence"] and "gnueabihf" in runtime["version"]
    assert rows["model efficientnet-lite0"]["licence"] == "Apache-2.0"
    assert rows["scikit-image-photographs"]["ships"] == "no"


def test_licences_of_an_image_that_is_not_built(tmp_path: Path) -> None:
    for task in ("legal-info", "sbom"):
        done = invoke(tmp_path, task, "--variant", "emulator")
        assert done.returncode == 2
        assert "invoke build-image --variant emulator" in done.stderr


def test_the_whole_image_signed_verified_and_tampered_with(
    kept: Path, out: Path, tmp_path: Path
) -> None:
    """The build with a key, `verify` as another person types it, and what a forger may change."""
    key = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"me@home {key.with_suffix('.pub').read_text()}")
    built = invoke(out, "build-image", "--variant", "emulator", "--sign-key", str(key))
    assert built.returncode == 0, built.stderr
    images = out / "emulator" / "images"
    assert f"signature: {images / 'SHA256SUMS.sig'}" in built.stdout

    def verify() -> tuple[int, str]:
        done = invoke(out, "verify", str(images), "--signers", str(allowed))
        return done.returncode, done.stdout + done.stderr

    status, text = verify()
    assert status == 0 and "ok  signed by me@home" in text, text
    listed = re.findall(r"^ok  (\S+) with SHA256SUMS$", text, re.MULTILINE)
    assert {"sdcard.img", "sdcard.img.zst", "rootfs.img", "build-info.json"} <= set(listed)
    # What lies there and is not listed, nobody signed: only the sums and their signature may.
    names = {path.name for path in images.iterdir()}
    assert names - set(listed) == {"SHA256SUMS", "SHA256SUMS.sig"}
    for name in ("sdcard.img", "sdcard.img.zst", "build-info.json", "sdcard.img.bmap"):
        with (images / name).open("r+b") as stream:
            stream.seek(-9, os.SEEK_END)
            byte = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte[0] ^ 1]))
        status, text = verify()
        assert status == 1 and f"{name} does not have the SHA-256" in text, text
        with (images / name).open("r+b") as stream:
            stream.seek(-9, os.SEEK_END)
            stream.write(byte)
    sums = images / "SHA256SUMS"
    honest = sums.read_text()
    sums.write_text(honest.replace(honest[:64], "0" * 64))
    status, text = verify()
    assert status == 1 and "is not what me@home signed" in text and "do not trust" in text, text
    sums.write_text(honest)
    assert verify()[0] == 0
    again = invoke(out, "build-image", "--variant", "emulator")
    assert again.returncode == 0, again.stderr
    assert verify()[0] == 0, "a build with nothing changed took the signature away"
