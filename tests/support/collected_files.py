"""Files of npu-doctor for tests. SYNTHETIC: no board was involved."""

from __future__ import annotations

from typing import Any

from tests.support import synthetic_results


def document(**changes: Any) -> dict[str, Any]:
    """What npu-doctor writes on a board with one problem and one note."""
    usual: dict[str, Any] = {
        "schema": "1.2",
        "kind": "doctor",
        "program": {"name": "npu-doctor", "version": "0.1.0"},
        "gathered": "2026-01-01T00:00:33Z",
        "emulated": False,
        "recorded": False,
        "facts": {
            "system": {
                "board": "Luckfox Pico Mini B",
                "image": {"VARIANT": "luckfox-pico-mini", "COMMIT": "c" * 40},
            }
        },
        "texts": {"kernel_log": ["eth0: <mac-1>"], "modules": None},
        "result": {
            "file": "20260101T000000Z-001.json",
            "bytes": 40_000,
            "content": synthetic_results.result(),
            "broken": "",
        },
        "not_read": ["/proc/rknpu/load could not be read: no answer"],
        "findings": [
            {
                "level": "problem",
                "name": "cma",
                "text": "1024 KiB of contiguous memory (CMA) are too few",
                "remedy": "invoke repack --cma 8M",
            },
            {"level": "note", "name": "clock", "text": "not set", "remedy": "date -s sets it"},
            {"level": "ok", "name": "chip", "text": "rv1103", "remedy": None},
        ],
        "known_wrong": ["CmaFree is always 0"],
    }
    return usual | changes
