"""What is in an image and what it was made from: ``build-info.json``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pico_image.base.files import sha256_file, write_text
from pico_image.config.configuration import Config
from pico_image.config.schema import Variant

SCHEMA = "1.0"


def source_date_epoch(root: Path) -> int:
    """``SOURCE_DATE_EPOCH`` if set, else the time of our last commit, else the year 2023."""
    if value := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(value)
    stamp = _git(root, "log", "-1", "--format=%ct")
    return int(stamp) if stamp else 1672531200


def version(root: Path) -> dict[str, Any]:
    """Our commit and whether the tree differed from it."""
    commit = _git(root, "rev-parse", "HEAD")
    dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return {"commit": commit or "unknown", "dirty": dirty}


def release(config: Config, variant: Variant) -> dict[str, str]:
    """What ``/etc/pico-image-release`` says on the board."""
    project = version(config.root)
    epoch = source_date_epoch(config.root)
    return {
        "VARIANT": variant.name,
        "VERSION": project["commit"][:12],
        "COMMIT": project["commit"] + ("-dirty" if project["dirty"] else ""),
        "BACKEND": config.board(variant.board).backend,
        "BUILD_DATE": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
    }


def release_text(values: Mapping[str, str]) -> str:
    """The lines of ``/etc/pico-image-release``, which a shell may source."""
    for key, value in values.items():
        if "\n" in value or not key.isidentifier():
            raise ValueError(f"{key}={value!r} cannot be a line of pico-image-release")
    return "".join(f"{key}={value}\n" for key, value in sorted(values.items()))


def write(
    config: Config, variant: Variant, images: Path, parts: dict[str, Path], inputs: dict[str, Any]
) -> Path:
    """Write ``build-info.json`` beside the image.

    ``inputs`` maps what went in (compiled programs, models, sources) to hashes or versions.
    """
    board = config.board(variant.board)
    epoch = source_date_epoch(config.root)
    info = {
        "schema": SCHEMA,
        "variant": variant.name,
        "board": board.name,
        "backend": board.backend,
        "project": version(config.root),
        "source_date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
        "partitions": variant.partitions or board.partitions,
        "block_device": board.block_device,
        "inputs": inputs,
        "sources": {
            source.name: {
                "version": source.version,
                "licence": source.licence,
                "sha256": [file.sha256 for file in source.files],
            }
            for source in config.sources.values()
            if source.files
        },
        "parts": {
            name: {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for name, path in parts.items()
        },
    }
    path = images / "build-info.json"
    write_text(path, json.dumps(info, indent=1, sort_keys=True) + "\n")
    return path


def inputs_of(images: Path) -> dict[str, Any]:
    """The inputs in an image's ``build-info.json``; none where there is no such file yet."""
    try:
        info = json.loads((images / "build-info.json").read_text(encoding="utf-8"))
        return dict(info["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _git(root: Path, *words: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "-C", str(root), *words],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
