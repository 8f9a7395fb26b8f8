"""Convert models of ``configs/models``, or a user's, once, and keep them: see ``pipeline``."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pico_image import sources
from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir, write_text
from pico_image.config.configuration import Config
from pico_image.config.schema import Algorithm, ModelSpec
from pico_image.models import papers, rknn_file, verdict
from pico_image.models.environment import lock_file, unavailable
from pico_image.models.pipeline import Plan, Stages, run_stages
from pico_image.models.worker.jobs import RknnScores, read_json

TOOLKIT, RUNTIME, DRIVER = "rknn-toolkit2", "rknn-runtime", "rknpu-driver"
#: The runtime's own words: "requires driver version >= 0.2.1".
OLDEST_DRIVER = "0.2.1"
#: Every file and folder that a converted model can have.
CARRIED = (
    *papers.FILES.values(),
    papers.SIDECAR,
    papers.GOLDEN,
    "images",
    "labels.txt",
    "model.json",
    "report.json",
)


@dataclass(frozen=True)
class Published:
    """A model below ``out/models``: ``page`` is its HTML report, ``npu`` what the NPU side needs.

    ``scores``: by kind of model ``top1``, ``top5_overlap``, ``cosine`` and ``bytes``.
    """

    name: str
    folder: str
    page: str | None = None
    scores: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    npu: str | None = None

    def plain(self) -> dict[str, object]:
        """For ``--json``, without empty values."""
        return {key: value for key, value in vars(self).items() if value}


def plan(console: Console, config: Config, model_name: str, algorithm: str = "") -> Plan:
    """Fetch what a model of the configuration is made from.

    ``algorithm`` takes the place of the model file's own. Raises UserError for an unknown model,
    source or algorithm, or a failed download. When only the weights cannot be had, the error names
    the model of the same layers that needs none.
    """
    spec = config.model(model_name)
    archives = {}
    # The weights come last: without any network the error names no other model.
    for name in sorted(used_sources(spec), key=lambda name: (name == spec.source, name)):
        try:
            archives[name] = sources.fetch(console, config.source(name))
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
    spec = _with_own_files(spec, config.root / "configs" / "models")
    if algorithm:
        spec = spec.model_copy(update={"algorithm": known_algorithm(algorithm)})
    return Plan(spec, archives)


def _with_own_files(spec: ModelSpec, folder: Path) -> ModelSpec:
    """The model with absolute paths of the user's files, which are relative to ``folder``."""

    def own(file: str | None) -> str | None:
        if file is None:
            return None
        path = folder / file
        if not path.exists():
            raise UserError(
                f"could not find {path}, which configs/models/{spec.name}.yml names",
                hint="paths of `file` and `folder` are relative to configs/models",
            )
        return str(path.resolve())

    labels, weights, pictures = spec.labels, spec.weights, spec.calibration
    return spec.model_copy(
        update={
            "weights": weights.model_copy(update={"file": own(weights.file)}),
            "labels": labels and labels.model_copy(update={"file": own(labels.file)}),
            "images": [i.model_copy(update={"file": own(i.file)}) for i in spec.images],
            "calibration": pictures.model_copy(update={"folder": own(pictures.folder)}),
        }
    )


def offline_twin(config: Config, spec: ModelSpec) -> str | None:
    """The model with the same layers and random weights, by its name NAME-random."""
    twin = config.models.get(f"{spec.name}-random")
    return twin.name if twin is not None and twin.random_weights else None


def known_algorithm(name: str) -> Algorithm:
    """``--algorithm``. Raises UserError for one that rknn-toolkit2 does not offer for this NPU."""
    known: tuple[Algorithm, ...] = get_args(Algorithm)
    for algorithm in known:
        if algorithm == name:
            return algorithm
    raise UserError(
        f"there is no algorithm {name!r} for the ranges of the .rknn",
        hint=f"choose one of: {', '.join(known)}",
    )


def used_sources(spec: ModelSpec) -> set[str]:
    """Names of all sources that a model needs, for ``invoke fetch`` and the manifest."""
    names = {spec.source, spec.labels.source if spec.labels else None}
    names |= {image.source for image in spec.images}
    names |= {photograph.source for photograph in spec.calibration.photographs}
    return {name for name in names if name is not None}


def check_versions(config: Config) -> dict[str, str]:
    """Versions of toolkit, runtime and driver, after holding them against each other.

    A model must not be newer than the runtime that reads it: "failed to decode config data!" and a
    crash on the board are what users met most often, each time a model of a newer toolkit on an
    older runtime. Raises UserError when the toolkit is newer than the runtime, the lock installs
    another toolkit than configs/sources.yml names, or the driver is too old.
    """
    versions = {name: config.source(name).version for name in (TOOLKIT, RUNTIME, DRIVER)}
    toolkit, runtime = versions[TOOLKIT], versions[RUNTIME]
    if rknn_file.version(toolkit) > rknn_file.version(runtime):
        raise UserError(
            f"models would be made by rknn-toolkit2 {toolkit}, newer than the runtime {runtime} "
            "that the image ships",
            hint=f"in configs/sources.yml set {TOOLKIT} to {runtime} (and requirements/rknn.in, "
            f"then requirements/lock-models.sh), or ship a runtime >= {toolkit}",
        )
    locked = _locked_version(lock_file("rknn"), TOOLKIT)
    if locked != toolkit:
        raise UserError(
            f"requirements/rknn.txt installs {TOOLKIT} {locked}, "
            f"configs/sources.yml says {toolkit}",
            hint="make them agree: requirements/rknn.in, then requirements/lock-models.sh",
        )
    if rknn_file.version(versions[DRIVER]) < rknn_file.version(OLDEST_DRIVER):
        raise UserError(
            f"the NPU driver {versions[DRIVER]} is older than {OLDEST_DRIVER}, which the runtime "
            f"{runtime} asks for"
        )
    return versions


def _locked_version(lock: Path, package: str) -> str | None:
    """The version of a package in a lock file."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, equals, rest = line.partition("==")
        if equals and name.strip() == package:
            return rest.split()[0]
    return None


def convert(console: Console, config: Config, model_name: str, *, npu: bool | None = None) -> Path:
    """The folder of a converted model: ``model.json``, ``fp32.tflite``, ``int8.tflite``,
    ``model.rknn`` with its sidecar ``model.rknn.json`` and ``golden/``, ``labels.txt``,
    ``images/`` and ``report.json``.

    ``npu``: True insists on the ``.rknn``, False leaves it out, None makes it when the model file
    wants it and this machine can (with a warning when it cannot).
    Raises UserError for bad input, CommandError when a converter crashes, CheckFailed when the
    result misses a threshold of the model file.
    """
    job = plan(console, config, model_name)
    versions = check_versions(config)
    stages = run_stages(console, job, with_npu=wants_npu(console, job.spec, npu))
    return _assemble(console, job.spec, stages, versions)


def _assemble(
    console: Console, spec: ModelSpec, stages: Stages, versions: Mapping[str, str]
) -> Path:
    """The folder that a board gets. Raises CheckFailed for a model that is not accurate enough."""
    inputs = {
        "stages": stages.names,
        "spec": spec.model_dump(mode="json", exclude={"calibration"}),
        "versions": dict(versions),
        "code": code_of("pico_image.models"),
    }

    def build(folder: Path) -> None:
        report = verdict.report(spec, stages, versions)
        verdict.check(report)
        write_text(folder / "report.json", report.text())
        for kind in ("fp32", "int8"):
            if kind in spec.sets:
                shutil.copyfile(stages.tflite / papers.FILES[kind], folder / papers.FILES[kind])
        shutil.copyfile(stages.shown / "labels.txt", folder / "labels.txt")
        shutil.copytree(stages.shown / "images", folder / "images")
        if stages.rknn is not None and stages.golden is not None:
            shutil.copyfile(stages.rknn / papers.FILES["npu"], folder / papers.FILES["npu"])
            papers.write_golden(spec, stages.golden, folder)
            quantities = read_json(RknnScores, stages.rknn / "rknn.json").quantities
            papers.write_sidecar(spec, quantities, folder)
            rknn_file.refuse_unfit(
                rknn_file.read(folder / papers.FILES["npu"]), runtime=versions[RUNTIME]
            )
        papers.write_card(spec, folder)

    return build_once(f"model-{spec.name}", inputs, build, notify=console.info)


def wants_npu(console: Console, spec: ModelSpec, npu: bool | None) -> bool:
    """Whether to make the ``.rknn``; see ``convert``."""
    if npu is False or (npu is None and "npu" not in spec.sets):
        return False
    reason = unavailable(console, "rknn")
    if reason is None:
        return True
    if npu:
        raise reason
    console.warn(f"{spec.name} gets no .rknn: {reason.message}")
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
) -> list[Published]:
    """Convert models and put each with its report below ``out/models/NAME``.

    ``algorithm``: another than the model files' own; an image gets the model files' own.
    """
    if algorithm:
        known_algorithm(algorithm)
    for name in names:
        config.model(name)  # an unknown name is an error before an hour of work
    # All downloads come before the first conversion, for the same reason.
    jobs = [plan(console, config, name, algorithm) for name in names]
    return [publish(console, config, job, npu=npu) for job in jobs]


def publish(console: Console, config: Config, job: Plan, *, npu: bool | None = None) -> Published:
    """Convert and copy to ``out/models/NAME``, with the page even when a threshold is missed."""
    folder = output_dir() / "models" / job.name
    versions = check_versions(config)
    stages = run_stages(console, job, with_npu=wants_npu(console, job.spec, npu))
    report = verdict.report(job.spec, stages, versions)
    with console.step(f"write the accuracy report of {job.name}"):
        page = verdict.write_page(report, stages, folder)
    try:
        converted = _assemble(console, job.spec, stages, versions)
    except CheckFailed as error:
        raise CheckFailed(f"{error}\n  report: {page}") from error
    replace_files(converted, folder)
    return Published(
        name=job.name,
        folder=str(folder),
        page=str(page),
        scores={
            kind: {key: getattr(scores, key) for key in ("top1", "top5_overlap", "cosine", "bytes")}
            for kind, scores in report.scores.items()
        },
    )


def replace_files(converted: Path, folder: Path) -> None:
    """Copy a converted model to ``folder`` and remove the files of an earlier one that it lacks.

    A ``.rknn`` of other weights would be taken for this model's. Other files there stay. Everything
    is copied before anything is removed, so that a full disk or Ctrl-C keeps the earlier result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new.", dir=folder) as scratch:
        new = Path(scratch)
        for name in CARRIED:
            if (converted / name).is_dir():
                shutil.copytree(converted / name, new / name)
            elif (converted / name).is_file():
                shutil.copyfile(converted / name, new / name)
        for name in CARRIED:
            target = folder / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if (new / name).exists():
                (new / name).rename(target)
