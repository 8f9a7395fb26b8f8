"""What our orchestration adds to the time of the stages, as a ratio.

    .venv/bin/python -m benchmarks.sdk_overhead [--seconds 60]

Both sides in one run, on the tests' own container engine and with the stand-in for the SDK: its
stages called by hand in one container that is there already, and a whole build from nothing by
``sdk.build`` (container image, checkout, stages, export). Each stage of the stand-in sleeps for the
given seconds; the real ones take minutes to an hour, so the real ratio is smaller. Needs root.
Exits 1 when the ratio is above 1.03.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.project import NAME
from pico_image.card.parts import Contents
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.engine import run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.sdk.backend import Backend
from pico_image.sdk.workspace import Options
from tests.support.model_cards import card
from tests.support.sdk_stand_in import base_image, repository
from tests.support.sdk_stand_in.engine import TestEngine, missing

BASE = "pico-test/base:1"
VARIANT = "luckfox-pico-mini"
#: Where the stand-in can be slowed, one in each stage.
POINTS = ("uboot", "kernel", "busybox")
LIMIT = 1.03


def project(folder: Path, url: str, commit: str) -> Path:
    """A copy of our tree whose SDK is the stand-in."""
    root = repository.copy_tree(folder / "tree")
    sources = root / "configs/sources.yml"
    text = sources.read_text(encoding="utf-8")
    for key, value in (("repository", url), ("commit", commit)):
        pattern = rf"(luckfox-sdk:(?:\n    .*)*?\n    {key}: )\S+"
        text = re.sub(pattern, rf"\g<1>{value}", text)
    sources.write_text(text, encoding="utf-8")
    repository.replace_downloads(root, folder / "downloads")
    (root / "docker/Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="utf-8")
    return root


def measure(seconds: float, folder: Path, process: TestEngine) -> dict[str, float]:
    """Seconds of both sides and their ratio."""
    with process.client() as client:
        name, _, tag = BASE.partition(":")
        client.api.import_image(base_image.archive(), repository=name, tag=tag)
    os.environ |= {
        "DOCKER_HOST": process.url,
        "PICO_OUTPUT_DIR": str(folder / "out"),
        "PICO_CACHE_DIR": str(folder / "cache"),
    }
    commit = repository.make_repository(folder / "git/sdk")
    models = folder / "model"
    models.mkdir()
    (models / "model.json").write_text(json.dumps(card().plain()), encoding="utf-8")
    options = Options(base_image=BASE, first_bytes=0)
    console = Console()
    engine = Engine.connect(NAME)
    with (
        repository.served(folder / "git", process.gateway) as url,
        console.logging_to(folder / "logs", "overhead"),
    ):
        config = configuration.load(project(folder, f"{url}/sdk", commit))
        volumes.ensure(engine, f"{NAME}-dl", {f"{NAME}.cache": "dl"}, what="a benchmark")
        knobs = "".join(f"slow {point}\n" for point in POINTS).encode()
        entries = {
            "stand-in": volumes.Entry(knobs),
            "stand-in-seconds": volumes.Entry(str(seconds).encode()),
        }
        volumes.Volume(engine, BASE, f"{NAME}-dl").put(entries)
        began = time.monotonic()
        contents = Contents({"efficientnet-lite0": models})
        Backend(console, options, engine).build(Target.of(config, VARIANT), contents)
        ours = time.monotonic() - began
        volume = f"{NAME}-{VARIANT}-{commit[:12]}"
        source = next(
            str(item.name)
            for item in engine.client.volumes.list()
            if str(item.name).startswith(f"{volume}-src-")
        )
        mounts = [Mount(volume, "/build"), Mount(source, "/src", True)]
        mounts += [Mount(f"{NAME}-{name}", f"/cache/{name}") for name in ("git", "dl", "ccache")]
        link = "ln -sfn /build/board/BoardConfig-npu-luckfox-pico-mini.mk .BoardConfig.mk"
        script = (
            f"cd /build/sdk; ./build.sh clean; {link}; ./build.sh uboot; ./build.sh driver; "
            "rm -rf /build/output; . /src/docker/buildroot.sh; "
            "buildroot npu_luckfox_pico_mini_defconfig; buildroot source; buildroot"
        )
        lines: list[str] = []
        ended = run.run(
            engine,
            console,
            Container(
                BASE,
                ["bash", "-ec", f"date +%s.%N; {script} >/dev/null; date +%s.%N"],
                mounts,
                {
                    "BR2_EXTERNAL": "/src/br2-external",
                    "BR2_DL_DIR": "/cache/dl",
                    "PICO_KERNEL_MODULES": "/build/modules",
                    "PICO_MODELS_DIR": "/src/models",
                },
                network=True,
            ),
            what="run the stages by hand",
            on_line=lines.append,
        )
        assert ended.status == 0, lines
    stamps = [float(line) for line in lines if re.fullmatch(r"\d+\.\d+", line)]
    by_hand = stamps[-1] - stamps[0]
    engine.close()
    return {"ours": ours, "by hand": by_hand, "ratio": ours / by_hand}


def main() -> int:
    """Run both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="what each stage takes")
    seconds = parser.parse_args().seconds
    if reason := missing() or base_image.missing():
        print(f"cannot run: {reason}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    process = TestEngine()
    process.start()
    try:
        found = measure(seconds, folder, process)
    finally:
        process.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({**found, "limit": LIMIT, "seconds by stage": seconds}, indent=2))
    return 0 if found["ratio"] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
