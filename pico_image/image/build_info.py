"""What is in an image and what it was made from: ``build-info.json``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.files import sha256_file, write_text
from pico_image.config.target import Target

SCHEMA = "1.0"


def write(target: Target, images: Path, parts: dict[str, Path], inputs: dict[str, Any]) -> Path:
    """Write ``build-info.json`` beside the image.

    ``inputs`` maps what went in (compiled programs, models, sources) to hashes or versions.
    """
    config, board = target.config, target.board
    info = {
        "schema": SCHEMA,
        "variant": target.name,
        "board": board.name,
        "backend": board.backend,
        "project": asdict(project.revision(config.root)),
        "source_date": project.source_date(config.root),
        "partitions": target.partitions,
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
