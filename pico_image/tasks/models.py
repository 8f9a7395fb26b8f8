"""Convert models to the files that a board runs, and read such files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.tasks.common import JSON, VARIANT, VERBOSE, guarded, optional_path, show


@task(
    iterable=["model"],
    help=VARIANT
    | VERBOSE
    | JSON
    | {
        "model": "model of configs/models, repeatable (default: those of the variant)",
        "onnx": "an ONNX classifier of your own",
        "tflite": "a .tflite of your own, taken as it is for the CPU",
        "calibration": "folder with pictures for your model's int8",
        "mean": "per channel, in pixel values, for example 127,127,127",
        "std": "per channel, in pixel values",
        "labels": "text file, one label a line",
        "algorithm": "of the .rknn: normal, kl_divergence or mmse, which takes minutes "
        "and gigabytes more (default: the model file's)",
        "npu": "make the .rknn too, and fail where that is impossible",
        "bisect": "model of configs/models: make it cut after each of its layers, for a board that "
        "answers wrongly (minutes; verify-board --bisect makes only those that it needs)",
    },
)
@guarded
def convert_models(
    _: Context,
    model: list[str],
    variant: str = "luckfox-pico-mini",
    onnx: str = "",
    tflite: str = "",
    calibration: str = "",
    mean: str = "",
    std: str = "",
    labels: str = "",
    algorithm: str = "",
    npu: bool = False,
    bisect: str = "",
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Convert models, with a report on their accuracy."""
    from pico_image.models import convert
    from pico_image.models.user_files import UserModel, channel_values, onnx_plan, take_tflite

    if bool(onnx) + bool(tflite) + bool(model) > 1:
        raise UserError("--onnx, --tflite and --model exclude one another", hint="give one")
    if bisect and (onnx or tflite or model or algorithm or npu):
        raise UserError(
            "--bisect names a model of configs/models, which says all about its conversion",
            hint=f"convert-models --bisect {bisect}",
        )
    if not (onnx or tflite) and (calibration or mean or std or labels):
        raise UserError(
            "--calibration, --mean, --std and --labels describe a model of your own",
            hint="name it with --onnx FILE or --tflite FILE; the project's models have theirs in "
            "configs/models",
        )
    if onnx and not (calibration and mean and std):
        raise UserError(
            "a model of your own needs to know what its pictures are like",
            hint="add --calibration FOLDER --mean R,G,B --std R,G,B",
        )
    if tflite and not (mean and std):
        raise UserError("a model of your own needs its normalisation", hint="add --mean and --std")
    console = Console(verbose=verbose)
    config = configuration.load()
    if bisect:
        _convert_prefixes(console, config, bisect, json)
        return
    own = None
    if onnx or tflite:
        means, stds = channel_values(mean, "--mean"), channel_values(std, "--std")
        own = UserModel(Path(onnx or tflite), means, stds, optional_path(labels))
    with console.logging_to(output_dir() / "models" / "logs", "convert-models"):
        if own is None:
            names = model or config.variant(variant).models
            done = convert.convert_models(
                console, config, names, npu=npu or None, algorithm=algorithm
            )
        elif onnx:
            plan = onnx_plan(console, own, Path(calibration), algorithm or "normal")
            done = [convert.publish(console, config, plan, npu=npu or None)]
        else:
            done = [take_tflite(console, own)]
    if json:
        show([item.plain() for item in done])
        return
    for item in done:
        print(f"{item.name}: {item.folder}")
        for kind, scores in item.scores.items():
            print(f"  {kind}: " + ", ".join(f"{key} {value}" for key, value in scores.items()))
        if item.npu is not None:
            print(f"  NPU: {item.npu}")


def _convert_prefixes(console: Console, config: Config, name: str, json: bool) -> None:
    from pico_image.models.prefixes import Prefixes, layer

    with console.logging_to(output_dir() / "models" / "logs", "convert-models"):
        prefixes = Prefixes.of(console, config, name)
        folders = prefixes.publish()
    rows = zip(prefixes.cuts, folders, strict=True)
    if json:
        show([{"folder": str(folder), **asdict(cut)} for cut, folder in rows])
        return
    for cut, folder in rows:
        print(f"{folder.name}  {layer(cut)}")
    print(f"prefixes: {folders[0].parent}")


@task(positional=["file"], help=VERBOSE | {"file": "an .rknn or .tflite model"})
@guarded
def inspect_model(_: Context, file: str, verbose: bool = False) -> None:
    """Read a model back; refuse what the board cannot run, with the reason."""
    from pico_image.models import user_files

    facts = user_files.inspect_model(Console(verbose=verbose), configuration.load(), Path(file))
    show(asdict(facts))
