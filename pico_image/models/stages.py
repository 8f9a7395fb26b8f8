"""The stages of a conversion, each a cache entry keyed by all that goes in.

What the converters read: *prepared* (ONNX graph, calibration and held-out pictures), *tflite*
(float32 and int8), *rknn* (for the NPU). What is only shown and judged: *shown* (labels, labelled
photographs), *photographs* and *golden* (the photographs on the converted models). A changed title,
label, threshold or photograph thus converts nothing again, and a killed stage leaves no entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pico_image.base.cache import build_once, cache_dir, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file, sha256_tree, write_text
from pico_image.models.environment import WORKER, lock_file, run_worker

#: Said before a conversion that takes long; measured, see docs/models.md.
MMSE_TAKES = (
    "algorithm mmse tries many ranges for every layer on all {count} calibration pictures; "
    "EfficientNet-Lite0 with 100 took 8.5 minutes of CPU time and 3.2 GB of memory"
)

#: rv1103 and rv1106 payloads are byte-identical (rknn-toolkit2 2.5.0, measured).
PLATFORM = "rv1103"


@dataclass(frozen=True)
class Plan:
    """One conversion: the model file as plain data and the fetched file of each of its sources."""

    spec: Mapping[str, Any]
    archives: Mapping[str, str] = field(default_factory=dict)
    #: Hashes of inputs that are no source of ours (a user's ONNX file, calibration folder).
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    def part(self, *keys: str) -> dict[str, Any]:
        """Some of the model file's values."""
        return {key: self.spec[key] for key in keys}

    def archives_of(self, names: set[str | None]) -> dict[str, str]:
        """Path of the fetched file of each of some sources."""
        return {name: path for name, path in self.archives.items() if name in names}


@dataclass(frozen=True)
class Stages:
    """The cache entries that a conversion went through; ``golden`` is there when ``rknn`` is."""

    base: Path
    shown: Path
    tflite: Path
    photographs: Path
    rknn: Path | None
    golden: Path | None
    versions: Mapping[str, str]

    @property
    def names(self) -> list[str | None]:
        """The key of each, for the keys of what is made from them."""
        folders = (self.base, self.shown, self.tflite, self.photographs, self.rknn, self.golden)
        return [folder.name if folder else None for folder in folders]


def prepared(console: Console, job: Plan) -> Path:
    """Folder with ``model.onnx`` and the pictures of both converters; see ``job_prepare``.

    Raises UserError for weights, graphs or pictures that are wrong, and when the number of
    multiply-accumulates is not what the model file declares.
    """
    spec = job.part("name", "source", "architecture", "weights", "input", "classes", "calibration")
    photographs = spec["calibration"].get("photographs", [])
    archives = job.archives_of({spec["source"], *(item["source"] for item in photographs)})
    inputs = {
        "spec": spec,
        "archives": _hashes(archives),
        "extra": dict(job.extra),
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(folder: Path) -> None:
        arguments = {"spec": spec, "archives": archives, "out": str(folder)}
        with console.step(f"prepare the network and the calibration pictures of {job.name}"):
            facts = run_worker(
                console, "models", "job_prepare:run", arguments, what=f"prepare {job.name}"
            )
        _same_macs(job, facts)

    made = build_once(f"prepared-{job.name}", inputs, build, notify=console.info)
    _same_macs(job, json.loads((made / "prepared.json").read_text(encoding="utf-8")))
    return made


def _same_macs(job: Plan, facts: Mapping[str, Any]) -> None:
    declared = job.spec["macs"]
    if declared and facts["macs"] != declared:
        raise UserError(
            f"{job.name} needs {facts['macs']} multiply-accumulates, "
            f"the model file says {declared}",
            hint=f"correct macs in configs/models/{job.name}.yml",
        )


def shown(console: Console, job: Plan) -> Path:
    """Folder with ``labels.txt``, ``images/`` and ``labelled/``; see ``job_pictures``.

    Raises UserError for a picture that is none and a list of labels of the wrong length.
    """
    spec = job.part("name", "input", "classes", "labels")
    spec["images"] = [
        {key: image.get(key) for key in ("name", "source", "path", "file")}
        for image in job.spec["images"]
    ]
    items = [spec["labels"] or {}, *spec["images"]]
    archives = job.archives_of({item.get("source") for item in items})
    inputs = {
        "spec": spec,
        "archives": _hashes(archives),
        "files": [sha256_file(Path(item["file"])) for item in items if item.get("file")],
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(folder: Path) -> None:
        arguments = {"spec": spec, "archives": archives, "out": str(folder)}
        with console.step(f"prepare the labels and labelled photographs of {job.name}"):
            run_worker(console, "models", "job_pictures:run", arguments, what=f"prepare {job.name}")

    return build_once(f"shown-{job.name}", inputs, build, notify=console.info)


def tflite_models(console: Console, job: Plan, base: Path) -> Path:
    """Folder with ``fp32.tflite``, ``int8.tflite`` and their scores; see ``job_tflite``."""
    spec = job.part("name", "input")
    inputs = {
        "spec": spec,
        "prepared": base.name,
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(folder: Path) -> None:
        arguments = {"spec": spec, "prepared": str(base), "out": str(folder)}
        with console.step(f"convert {job.name} to float32 and int8 TensorFlow Lite"):
            run_worker(console, "models", "job_tflite:run", arguments, what=f"convert {job.name}")

    return build_once(f"tflite-{job.name}", inputs, build, notify=console.info)


def photographs(console: Console, job: Plan, shown: Path, tflite: Path) -> Path:
    """Folder with the answers of both ``.tflite`` to the photographs; see ``job_photographs``."""
    card, labelled = job.spec["input"], shown / "labelled"
    inputs = {
        "input": card,
        "labelled": sha256_tree([labelled]),
        "tflite": tflite.name,
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("models")),
    }

    def build(folder: Path) -> None:
        arguments = {
            "card": card,
            "labelled": str(labelled),
            "tflite": str(tflite),
            "out": str(folder),
        }
        with console.step(f"judge {job.name} on its labelled photographs"):
            run_worker(
                console, "models", "job_photographs:run", arguments, what=f"judge {job.name}"
            )

    return build_once(f"photographs-{job.name}", inputs, build, notify=console.info)


def rknn_model(console: Console, job: Plan, base: Path, shown: Path, tflite: Path) -> Path:
    """Folder with ``model.rknn``, its scores and what simulates it; see ``job_rknn``.

    The file's bytes differ from build to build, those for the NPU do not: a rebuild from the
    same inputs whose payload hash is another one is refused, for then something that is not in
    the inputs has changed.
    """
    spec = job.part("name", "input", "algorithm")
    custom = custom_string(job, base)
    # With mmse the simulator cannot be made again without the whole conversion.
    labelled = shown / "labelled" if job.spec["algorithm"] == "mmse" else None
    inputs = {
        "spec": spec,
        "custom": custom,
        "labelled": sha256_tree([labelled]) if labelled else None,
        "prepared": base.name,
        "tflite": tflite.name,
        "platform": PLATFORM,
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("rknn")),
    }

    def build(folder: Path) -> None:
        arguments = {
            "spec": spec,
            "prepared": str(base),
            "reference": str(tflite / "logits.npz"),
            "platform": PLATFORM,
            "custom": custom,
            "out": str(folder),
            "labelled": str(labelled) if labelled else None,
        }
        if labelled:
            count = len(list((base / "calibration").glob("*.png")))
            console.info(MMSE_TAKES.format(count=count))
        with console.step(f"convert {job.name} for the NPU and simulate it"):
            report = run_worker(
                console, "rknn", "job_rknn:run", arguments, what=f"convert {job.name} to .rknn"
            )
        _same_payload(job, inputs, report["payload_sha256"])

    return build_once(f"rknn-{job.name}", inputs, build, notify=console.info)


def golden(console: Console, job: Plan, base: Path, shown: Path, rknn: Path) -> Path:
    """Folder with golden vectors and the simulator's answers to the photographs: ``job_golden``."""
    labelled = shown / "labelled"
    inputs = {
        "labelled": sha256_tree([labelled]),
        "prepared": base.name,
        "rknn": rknn.name,
        "code": code_of(WORKER),
        "lock": sha256_file(lock_file("rknn")),
    }

    def build(folder: Path) -> None:
        arguments = {
            "labelled": str(labelled),
            "prepared": str(base),
            "rknn": str(rknn),
            "out": str(folder),
        }
        with console.step(f"simulate the labelled photographs of {job.name}"):
            run_worker(console, "rknn", "job_golden:run", arguments, what=f"simulate {job.name}")

    return build_once(f"golden-{job.name}", inputs, build, notify=console.info)


def _hashes(archives: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256_file(Path(path)) for name, path in archives.items()}


def custom_string(job: Plan, base: Path) -> str:
    """Our own facts inside the ``.rknn``; the board reads them with query 7. 1023 bytes at most.

    The labels' hash is in the sidecar: here each corrected label would cost a conversion.
    """
    card = job.spec["input"]
    facts = {
        "pico_image": 1,
        "model": job.name,
        "onnx": sha256_file(base / "model.onnx")[:16],
        "mean": card["mean"],
        "std": card["std"],
        "color": card["color"],
        "softmax": job.spec["softmax"],
    }
    text = json.dumps(facts, separators=(",", ":"))
    if len(text.encode()) > 1023:
        raise UserError(f"the facts of {job.name} do not fit into the model's custom string")
    return text


def _same_payload(job: Plan, inputs: Mapping[str, object], payload: str) -> None:
    """Remember the payload hash of these inputs, or hold a rebuild against it."""
    key = json.dumps(inputs, sort_keys=True)
    path = cache_dir() / "payloads" / f"{job.name}.json"
    known: dict[str, str] = {}
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
    if known.setdefault(key, payload) != payload:
        raise UserError(
            f"{job.name} was converted again from the same inputs, but what the NPU would run "
            f"differs: payload {payload[:16]} now, {known[key][:16]} before",
            hint=f"something outside the inputs changed; if that is meant, delete {path}",
        )
    write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
