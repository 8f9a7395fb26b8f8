"""Convert models of ``configs/models``, or a user's, once, and keep them: see ``stages``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pico_image import sources
from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir
from pico_image.config.configuration import Config
from pico_image.config.schema import ModelSpec
from pico_image.models import accuracy_page, card, gate, stages
from pico_image.models.environment import unavailable
from pico_image.models.placing import replace_files
from pico_image.models.sidecar import sidecar
from pico_image.models.stages import Plan, Stages


def plan(console: Console, config: Config, model_name: str, algorithm: str = "") -> Plan:
    """Fetch what a model of the configuration is made from.

    ``algorithm`` takes the place of the model file's own. Raises UserError for an unknown model,
    source or algorithm, or a failed download; one that only the weights suffer from names the
    model of the same layers that needs none.
    """
    spec = config.model(model_name)
    archives = {}
    # The weights come last: a machine without any network is told so, not to take another model.
    for name in sorted(used_sources(spec), key=lambda name: (name == spec.source, name)):
        try:
            archives[name] = str(sources.fetch(console, config.source(name)))
        except UserError as error:
            twin = offline_twin(config, spec) if name == spec.source else None
            if twin is None:
                raise
            raise UserError(
                f"{error.message}\n  {spec.name} cannot be made without its weights; "
                f"{twin} has the same layers, cost and speed with RANDOM WEIGHTS and needs none",
                hint=f"for the speed alone put {twin} in the place of {spec.name}: "
                f"`--model {twin}` here, in the variant's list `models` for an image; "
                f"or bring the file: {error.hint}",
            ) from error
    values = spec.model_dump(mode="json")
    folder = config.root / "configs" / "models"
    for item in (values["labels"], *values["images"]):
        if item["file"] is not None:
            item["file"] = own_file(folder / item["file"], spec.name)
            item["path"] = Path(item["file"]).name
    if algorithm:
        values["algorithm"] = known_algorithm(algorithm)
    return Plan(values, archives)


def own_file(path: Path, model: str) -> str:
    """The absolute path of a picture or list of labels that the user put beside the model file."""
    if not path.is_file():
        raise UserError(
            f"could not find {path}, which configs/models/{model}.yml names",
            hint="paths of `file` are relative to configs/models",
        )
    return str(path.resolve())


def offline_twin(config: Config, spec: ModelSpec) -> str | None:
    """The model with the same layers and random weights, by its name NAME-random."""
    twin = config.models.get(f"{spec.name}-random")
    return twin.name if twin is not None and twin.source is None else None


def known_algorithm(name: str) -> str:
    """``--algorithm``. Raises UserError for one that rknn-toolkit2 has not for this NPU."""
    known = get_args(ModelSpec.model_fields["algorithm"].annotation)
    if name not in known:
        raise UserError(
            f"there is no algorithm {name!r} for the ranges of the .rknn",
            hint=f"choose one of: {', '.join(known)}",
        )
    return name


def used_sources(spec: ModelSpec) -> set[str]:
    """Names of all sources that a model needs, for ``invoke fetch`` and the manifest."""
    names = {spec.source, spec.labels.source, *(image.source for image in spec.images)}
    names |= {photograph.source for photograph in spec.calibration.photographs}
    return {name for name in names if name is not None}


def convert(console: Console, config: Config, model_name: str, *, npu: bool | None = None) -> Path:
    """The folder of a converted model: ``model.json``, ``fp32.tflite``, ``int8.tflite``,
    ``model.rknn`` with its sidecar ``model.rknn.json`` and ``golden/``, ``labels.txt``,
    ``images/`` and ``report.json``.

    ``npu``: True insists on the ``.rknn``, False leaves it out, None makes it when the model file
    wants it and this machine can (a warning tells when it cannot).
    Raises UserError for bad input, CommandError when a converter crashes, CheckFailed when the
    result misses a threshold of the model file.
    """
    return convert_plan(console, config, plan(console, config, model_name), npu=npu)


def run_stages(console: Console, config: Config, job: Plan, npu: bool | None) -> Stages:
    """Run, or find in the cache, every stage; the versions and the ``.rknn`` pass the gate."""
    versions = gate.check(config)
    with_npu = _wants_npu(console, job, npu)
    base = stages.prepared(console, job)
    shown = stages.shown(console, job)
    tflite = stages.tflite_models(console, job, base)
    photographs = stages.photographs(console, job, shown, tflite)
    rknn = stages.rknn_model(console, job, base, shown, tflite) if with_npu else None
    golden = None
    if rknn is not None:
        gate.check_model(config, rknn / "model.rknn")
        golden = stages.golden(console, job, base, shown, rknn)
    return Stages(base, shown, tflite, photographs, rknn, golden, versions)


def convert_plan(console: Console, config: Config, job: Plan, *, npu: bool | None = None) -> Path:
    """The same for any plan; see ``convert``."""
    return _assemble(console, job, run_stages(console, config, job, npu))


def _assemble(console: Console, job: Plan, found: Stages) -> Path:
    inputs = {
        "stages": found.names,
        "spec": {key: value for key, value in job.spec.items() if key != "calibration"},
        "versions": dict(found.versions),
        "code": code_of("pico_image.models"),
    }

    def build(folder: Path) -> None:
        report = card.report(job.spec, found)
        card.check(report)
        _write(folder / "report.json", report)
        for kind in ("fp32", "int8"):
            if kind in job.spec["sets"]:
                shutil.copyfile(found.tflite / card.FILES[kind], folder / card.FILES[kind])
        shutil.copyfile(found.shown / "labels.txt", folder / "labels.txt")
        shutil.copytree(found.shown / "images", folder / "images")
        if found.rknn is not None and found.golden is not None:
            shutil.copyfile(found.rknn / "model.rknn", folder / "model.rknn")
            shutil.copytree(found.golden / "golden", folder / "golden")
            beside = sidecar(job.spec, found.rknn, found.golden, folder / "labels.txt")
            _write(folder / "model.rknn.json", beside)
        _write(folder / "model.json", card.make_card(job.spec, folder).plain())

    return build_once(f"model-{job.name}", inputs, build, notify=console.info)


def _wants_npu(console: Console, job: Plan, npu: bool | None) -> bool:
    if npu is False or (npu is None and "npu" not in job.spec["sets"]):
        return False
    reason = unavailable(console, "rknn")
    if reason is None:
        return True
    if npu:
        raise reason
    console.warn(f"{job.name} gets no .rknn: {reason.message}")
    return False


def convert_all(console: Console, config: Config, names: Sequence[str]) -> dict[str, Path]:
    """Folders of converted models by name, for an image; see ``convert``."""
    return {name: convert(console, config, name) for name in names}


def convert_models(
    console: Console,
    config: Config,
    names: Sequence[str],
    *,
    npu: bool | None = None,
    algorithm: str = "",
) -> list[dict[str, Any]]:
    """Convert models and put each with its report below ``out/models/NAME``.

    ``algorithm``: another than the model files' own; what an image gets is theirs.
    Returns for each: ``name``, ``folder``, ``page`` (the HTML report) and ``scores``.
    """
    if algorithm:
        known_algorithm(algorithm)
    for name in names:
        config.model(name)  # an unknown one ends this before an hour's work, not after
    # All downloads come before the first conversion, for the same reason.
    jobs = [plan(console, config, name, algorithm) for name in names]
    return [publish(console, config, job, npu=npu) for job in jobs]


def publish(
    console: Console, config: Config, job: Plan, *, npu: bool | None = None
) -> dict[str, Any]:
    """Convert and copy to ``out/models/NAME``, with the page even when a threshold is missed."""
    folder = output_dir() / "models" / job.name
    found = run_stages(console, config, job, npu)
    report = card.report(job.spec, found)
    page = accuracy_page.write(console, report, found, folder)
    try:
        result = _assemble(console, job, found)
    except CheckFailed as error:
        raise CheckFailed(f"{error}\n  report: {page}") from error
    replace_files(result, folder)
    return {
        "name": job.name,
        "folder": str(folder),
        "page": str(page),
        "scores": {
            kind: {key: scores[key] for key in ("top1", "top5_overlap", "cosine", "bytes")}
            for kind, scores in report["scores"].items()
        },
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
