"""The stages of a conversion, each a cache entry keyed by all that goes in.

Conversion: *prepared* (ONNX graph, calibration and held-out pictures), *tflite* (float32 and int8),
*rknn* (for the NPU). Exhibition: *shown* (labels, labelled photographs), *photographs* and *golden*
(the photographs on the converted models). On demand: *cuts*, *prefix* and *prefix-tflite* (see
``prefixes``). A changed title, label, threshold or photograph therefore
converts nothing again. A killed stage leaves no entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pico_image.base.cache import build_once, cache_dir, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import locked, sha256_file, sha256_tree, write_text
from pico_image.config.schema import ModelSpec
from pico_image.models import rknn_file
from pico_image.models.environment import WORKER, lock_file, run_worker
from pico_image.models.worker.jobs import (
    Cut,
    Exhibits,
    Input,
    Network,
    Prepared,
    RknnOptions,
    read_json,
    rebuild,
)

#: Shown before a long conversion; measured, see docs/models.md.
MMSE_TAKES = (
    "algorithm mmse tries many ranges for every layer on all {count} calibration pictures; "
    "EfficientNet-Lite0 with 100 took 8.5 minutes of CPU time and 3.2 GB of memory"
)
#: rv1103 and rv1106 payloads are byte-identical (rknn-toolkit2 2.5.0, measured).
PLATFORM = "rv1103"


@dataclass(frozen=True)
class Plan:
    """One conversion: the model, its own files by absolute path, and the fetched archives."""

    spec: ModelSpec
    archives: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def input(self) -> Input:
        return rebuild(Input, self.spec.input.model_dump())

    def archives_of(self, names: set[str | None]) -> dict[str, Path]:
        """The fetched file of each of some sources."""
        return {name: path for name, path in self.archives.items() if name in names}


@dataclass(frozen=True)
class Stages:
    """The cache entries that a conversion went through; ``golden`` is there when ``rknn`` is."""

    prepared: Path
    shown: Path
    tflite: Path
    photographs: Path
    rknn: Path | None
    golden: Path | None

    @property
    def names(self) -> list[str | None]:
        """The key of each."""
        folders = (
            self.prepared, self.shown, self.tflite, self.photographs, self.rknn, self.golden
        )  # fmt: skip
        return [folder.name if folder else None for folder in folders]


def run_stages(console: Console, plan: Plan, *, with_npu: bool) -> Stages:
    """Run every stage, or find it in the cache."""
    prepared = prepare(console, plan)
    shown = exhibit(console, plan)
    tflite = make_tflite(console, plan, prepared)
    photographs = judge(console, plan, shown, tflite)
    rknn = golden = None
    if with_npu:
        rknn = make_rknn(console, plan, prepared, shown, tflite)
        golden = make_golden(console, plan, prepared, shown, rknn)
    return Stages(prepared, shown, tflite, photographs, rknn, golden)


@dataclass(frozen=True)
class _Stage:
    """A stage: its name, the converter's environment, the job, and the words for its progress."""

    name: str
    environment: str
    call: str
    doing: str

    def run(
        self,
        console: Console,
        plan: Plan,
        key: Mapping[str, object],
        arguments: Mapping[str, object],
        check: Callable[[Path], None] | None = None,
        note: str = "",
    ) -> Path:
        """The stage's folder, made by the job unless the cache has it.

        ``key``: what the result depends on besides the code and the packages of the converter.
        ``check`` examines a new folder before it is kept; ``note`` is shown before the job.
        """
        inputs = self.inputs(key)

        def build(folder: Path) -> None:
            doing = self.doing.format(plan.name)
            if note:
                console.info(note)
            with console.step(doing):
                run_worker(
                    console, self.environment, self.call, {**arguments, "out": folder}, what=doing
                )
            if check is not None:
                check(folder)

        return build_once(f"{self.name}-{plan.name}", inputs, build, notify=console.info)

    def inputs(self, key: Mapping[str, object]) -> dict[str, object]:
        lock = sha256_file(lock_file(self.environment))
        return {**key, "code": code_of(WORKER), "lock": lock}


PREPARE = _Stage(
    "prepared",
    "models",
    "prepare:prepare",
    "prepare the network and the calibration pictures of {}",
)
EXHIBIT = _Stage(
    "shown", "models", "prepare:exhibit", "prepare the labels and labelled photographs of {}"
)
TFLITE = _Stage(
    "tflite", "models", "make_tflite:make_tflite", "convert {} to float32 and int8 TensorFlow Lite"
)
JUDGE = _Stage("photographs", "models", "make_tflite:judge", "judge {} on its labelled photographs")
RKNN = _Stage("rknn", "rknn", "make_rknn:make_rknn", "convert {} for the NPU and simulate it")
GOLDEN = _Stage(
    "golden", "rknn", "make_rknn:make_golden", "simulate the labelled photographs of {}"
)
CUTS = _Stage("cuts", "models", "cutting:cuts", "find the layers of {}")
PREFIX = _Stage("prefix", "rknn", "cutting:make_prefix", "convert the beginning of {} for the NPU")
PREFIX_TFLITE = _Stage(
    "prefix-tflite", "models", "cutting:cut_tflite", "cut {} for the simulated NPU"
)


def prepare(console: Console, plan: Plan) -> Path:
    """Folder with ``model.onnx`` and the pictures of both converters.

    Raises UserError for weights, graphs or pictures that are wrong, and when the number of
    multiply-accumulates is not what the model file declares.
    """
    network = rebuild(Network, plan.spec.model_dump())
    pictures = network.calibration
    archives = plan.archives_of({network.source, *(item.source for item in pictures.photographs)})
    files = [Path(file) for file in (network.weights.file, pictures.folder) if file]
    key = {"spec": asdict(network), "archives": _hashes(archives), "files": sha256_tree(files)}

    def check(folder: Path) -> None:
        macs = read_json(Prepared, folder / "prepared.json").macs
        if macs != plan.spec.macs:
            raise UserError(
                f"{plan.name} needs {macs} multiply-accumulates, "
                f"the model file says {plan.spec.macs}",
                hint=f"correct macs in configs/models/{plan.name}.yml",
            )

    arguments = {"network": network, "archives": archives}
    folder = PREPARE.run(console, plan, key, arguments, check)
    check(folder)  # the cache may hold it for another number
    return folder


def exhibit(console: Console, plan: Plan) -> Path:
    """Folder with ``labels.txt``, ``images/`` and ``labelled/``.

    Raises UserError for a picture that is none and a list of labels of the wrong length.
    """
    images = [{**image.model_dump(), "file_name": image.file_name} for image in plan.spec.images]
    exhibits = rebuild(Exhibits, {**plan.spec.model_dump(), "images": images})
    items = [*([exhibits.labels] if exhibits.labels else []), *exhibits.images]
    archives = plan.archives_of({item.source for item in items})
    files = [sha256_file(Path(item.file)) for item in items if item.file]
    key = {"spec": asdict(exhibits), "archives": _hashes(archives), "files": files}
    return EXHIBIT.run(console, plan, key, {"exhibits": exhibits, "archives": archives})


def make_tflite(console: Console, plan: Plan, prepared: Path) -> Path:
    """Folder with ``fp32.tflite``, ``int8.tflite`` and their scores."""
    key = {"name": plan.name, "input": asdict(plan.input), "prepared": prepared.name}
    arguments = {"name": plan.name, "card": plan.input, "prepared": prepared}
    return TFLITE.run(console, plan, key, arguments)


def judge(console: Console, plan: Plan, shown: Path, tflite: Path) -> Path:
    """Folder with the answers of both ``.tflite`` to the photographs."""
    labelled = shown / "labelled"
    key = {
        "input": asdict(plan.input),
        "labelled": sha256_tree([labelled]),
        "tflite": tflite.name,
    }
    arguments = {"card": plan.input, "labelled": labelled, "tflite": tflite}
    return JUDGE.run(console, plan, key, arguments)


def make_rknn(console: Console, plan: Plan, prepared: Path, shown: Path, tflite: Path) -> Path:
    """Folder with ``model.rknn``, its scores and what simulates it.

    The file's bytes differ from build to build, those for the NPU do not. A rebuild from the same
    inputs with another payload hash is refused: something that is not in the inputs has changed.
    """
    options = rknn_options(plan, prepared)
    # With mmse the simulator cannot be made again without the whole conversion.
    labelled = shown / "labelled" if options.algorithm == "mmse" else None
    key = {
        "options": asdict(options),
        "labelled": sha256_tree([labelled]) if labelled else None,
        "prepared": prepared.name,
        "tflite": tflite.name,
    }
    arguments = {
        "options": options,
        "prepared": prepared,
        "reference": tflite / "logits.npz",
        "labelled": labelled,
    }

    def check(folder: Path) -> None:
        payload = rknn_file.read(folder / "model.rknn").payload_sha256
        check_payload(plan.name, RKNN.inputs(key), str(payload))

    note = ""
    if labelled:
        count = read_json(Prepared, prepared / "prepared.json").calibration
        note = MMSE_TAKES.format(count=count)
    return RKNN.run(console, plan, key, arguments, check, note)


def make_golden(console: Console, plan: Plan, prepared: Path, shown: Path, rknn: Path) -> Path:
    """Folder with golden vectors and the simulator's answers to the photographs."""
    labelled = shown / "labelled"
    key = {
        "labelled": sha256_tree([labelled]),
        "prepared": prepared.name,
        "rknn": rknn.name,
    }
    arguments = {"labelled": labelled, "prepared": prepared, "rknn": rknn}
    return GOLDEN.run(console, plan, key, arguments)


def rknn_options(plan: Plan, prepared: Path) -> RknnOptions:
    return RknnOptions(
        input=plan.input,
        algorithm=plan.spec.algorithm,
        platform=PLATFORM,
        custom=custom_string(plan, prepared),
    )


def find_cuts(console: Console, plan: Plan, prepared: Path) -> list[Cut]:
    """Where the prefixes of a model end, in the order of its layers; the last is the whole."""
    folder = CUTS.run(console, plan, {"prepared": prepared.name}, {"prepared": prepared})
    cuts = json.loads((folder / "cuts.json").read_text(encoding="utf-8"))
    return [rebuild(Cut, each) for each in cuts]


def make_prefix(console: Console, plan: Plan, prepared: Path, rknn: Path, tensor: str) -> Path:
    """Folder with the ``model.rknn`` that ends in ``tensor``, its scales and golden vectors."""
    options = rknn_options(plan, prepared)
    key = {"options": asdict(options), "rknn": rknn.name, "tensor": tensor}
    arguments = {"options": options, "prepared": prepared, "rknn": rknn, "tensor": tensor}
    return PREFIX.run(console, plan, key, arguments)


def cut_tflite(console: Console, plan: Plan, tflite: Path, tensor: str) -> Path:
    """Folder with the ``int8.tflite`` that ends in ``tensor``."""
    key = {"tflite": tflite.name, "tensor": tensor}
    return PREFIX_TFLITE.run(console, plan, key, {"tflite": tflite, "tensor": tensor})


def _hashes(archives: Mapping[str, Path]) -> dict[str, str]:
    return {name: sha256_file(path) for name, path in archives.items()}


def custom_string(plan: Plan, prepared: Path) -> str:
    """Our own facts inside the ``.rknn``; the board reads them with query 7. 1023 bytes at most.

    The labels' hash is in the sidecar: here each corrected label would cost a conversion.
    """
    facts = {
        "pico_image": 1,
        "model": plan.name,
        "onnx": sha256_file(prepared / "model.onnx")[:16],
        "mean": plan.spec.input.mean,
        "std": plan.spec.input.std,
        "color": plan.spec.input.color,
        "softmax": plan.spec.softmax,
    }
    text = json.dumps(facts, separators=(",", ":"))
    if len(text.encode()) > 1023:
        raise UserError(
            f"the name of {plan.name} is too long for the model's custom string",
            hint="give it a shorter name",
        )
    return text


def check_payload(name: str, inputs: Mapping[str, object], payload: str) -> None:
    """Remember the payload hash of these inputs, or hold a rebuild against it."""
    key = json.dumps(inputs, sort_keys=True)
    path = cache_dir() / "payloads" / f"{name}.json"
    with locked(path.with_suffix(".lock"), f"the list of payloads of {name}"):
        known: dict[str, str] = {}
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
        if known.setdefault(key, payload) != payload:
            raise UserError(
                f"{name} was converted again from the same inputs, but what the NPU would run "
                f"differs: payload {payload[:16]} now, {known[key][:16]} before",
                hint=f"something outside the inputs changed; if that is meant, delete {path}",
            )
        write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
