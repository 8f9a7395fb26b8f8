"""The accuracy report of a conversion: ``accuracy.json`` and one self-contained HTML page."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.files import sha256_file, write_text
from pico_image.models.card import TITLES, shortcomings
from pico_image.models.environment import lock_file, run_worker
from pico_image.models.stages import Stages

TEMPLATES = Path(__file__).with_name("templates")
ROWS = (
    ("top1", "same first class"),
    ("top1_in_top5", "float's first among five best"),
    ("top5_overlap", "overlap of the five best"),
    ("cosine", "cosine of the logits, mean"),
    ("cosine_min", "cosine of the logits, worst picture"),
    ("error_db", "signal to error, dB"),
    ("near_ties", "pictures that float itself is unsure of"),
    ("bytes", "file, bytes"),
)


def write(
    console: Console,
    report: Mapping[str, Any],
    found: Stages,
    folder: Path,
) -> Path:
    """Write ``accuracy.json``, ``accuracy.html``, ``contact-sheet.png`` and ``calibration.txt``.

    Returns the page's path.
    """
    inputs = {
        "report": dict(report),
        "stages": found.names,
        "code": code_of("pico_image.models"),
        "template": sha256_file(TEMPLATES / "accuracy.html.j2"),
        "lock": sha256_file(lock_file("report")),
    }

    def build(made: Path) -> None:
        text = _page(console, report, found)
        (made / "accuracy.html").write_text(text, encoding="utf-8")

    made = build_once(f"accuracy-{report['name']}", inputs, build, notify=console.info)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "accuracy.json", json.dumps(report, indent=1) + "\n")
    shutil.copyfile(found.base / "contact-sheet.png", folder / "contact-sheet.png")
    # A smaller set must not keep the rest of a former one.
    shutil.rmtree(folder / "calibration", ignore_errors=True)
    shutil.copytree(found.base / "calibration", folder / "calibration")
    shutil.copyfile(made / "accuracy.html", folder / "accuracy.html")
    return folder / "accuracy.html"


def _page(console: Console, report: Mapping[str, Any], found: Stages) -> str:
    arguments = {
        "report": dict(report),
        "logits": str(found.tflite / "logits.npz"),
        "simulator": str(found.rknn / "simulator.npz") if found.rknn else None,
    }
    with console.step(f"draw the accuracy report of {report['name']}"):
        plots = run_worker(
            console, "report", "job_plots:run", arguments, what="draw the accuracy report"
        )["plots"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=True
    )
    scores = report["scores"]
    return environment.get_template("accuracy.html.j2").render(
        report=report,
        plots=plots,
        rows=ROWS,
        titles=TITLES,
        shown=_shown,
        short=shortcomings(report),
        layers=scores.get("npu", {}).get("layers", []),
        photographs=_photographs(scores),
        sheet=base64.b64encode((found.base / "contact-sheet.png").read_bytes()).decode("ascii"),
    )


def _photographs(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per labelled photograph with a cell per kind of model."""
    tables = [entry["photographs"] for entry in scores.values()]
    return [
        {"image": cells[0]["image"], "expected": cells[0]["expected"], "cells": cells}
        for cells in zip(*tables, strict=True)
    ]


def _shown(value: float | int | None) -> str:
    if value is None:
        return "exact"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
