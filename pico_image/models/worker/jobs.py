"""The arguments and results of the worker's jobs, as types.

Plain dataclasses, because the converters' Pythons have no pydantic. ``rebuild`` makes them from
plain data on both sides: on the host from a model file, in the worker from the job's JSON.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Resize:
    """From a picture to the network's input size."""

    rule: str
    fraction: float


@dataclass(frozen=True)
class Input:
    """The network's input; ``mean`` and ``std`` are per channel in pixel values."""

    width: int
    height: int
    color: str
    mean: list[float]
    std: list[float]
    resize: Resize


@dataclass(frozen=True)
class Item:
    """A file on this machine (``file``), or ``path`` in the archive of ``source``."""

    source: str | None
    path: str | None
    file: str | None


@dataclass(frozen=True)
class Image(Item):
    """A photograph that ships with the model, as ``images/FILE_NAME``."""

    name: str
    file_name: str


@dataclass(frozen=True)
class Photograph:
    """A photograph to cut crops from; crops of a ``judged`` one may be held out."""

    source: str
    path: str
    judged: bool


@dataclass(frozen=True)
class Calibration:
    """Crops of photographs, or a folder of the user's own pictures."""

    photographs: list[Photograph]
    folder: str | None
    count: int
    held_out: int
    seed: int


@dataclass(frozen=True)
class Weights:
    """A file in the source's archive, an ONNX file of the user's own, or a seed."""

    path: str | None
    sha256: str | None
    file: str | None
    seed: int | None


@dataclass(frozen=True)
class Network:
    """What the graph and its calibration pictures are made from."""

    name: str
    source: str | None
    architecture: str
    weights: Weights
    input: Input
    classes: int
    calibration: Calibration


@dataclass(frozen=True)
class Exhibits:
    """What ships with a model and no converter reads."""

    name: str
    input: Input
    classes: int
    labels: Item | None
    images: list[Image]


@dataclass(frozen=True)
class RknnOptions:
    """How rknn-toolkit2 converts; ``custom`` is the string that the ``.rknn`` carries."""

    input: Input
    algorithm: str
    platform: str
    custom: str


@dataclass(frozen=True)
class OnnxFacts:
    """A user's ONNX classifier."""

    height: int
    width: int
    classes: int
    macs: int


@dataclass(frozen=True)
class TfliteTensor:
    """An input or output of a ``.tflite``."""

    name: str
    shape: list[int]
    dynamic: bool
    type: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class TfliteFacts:
    """What a ``.tflite`` holds; ``operators`` counts them by name."""

    kind: str
    bytes: int
    schema: int
    description: str
    inputs: list[TfliteTensor]
    outputs: list[TfliteTensor]
    operators: dict[str, int]
    weights_bytes: int
    buffer_faults: list[str]


@dataclass(frozen=True)
class Prepared:
    """``prepared.json``: the ONNX graph and the numbers of pictures."""

    macs: int
    opset: int
    calibration: int
    held_out: int


@dataclass(frozen=True)
class Agreement:
    """How well a model agrees with the float network on the held-out pictures.

    ``top1``: share of pictures with the same winner. ``top1_in_top5``: share whose float winner
    is among the other's five best. ``top5_overlap``: mean share of common classes among the five
    best. ``cosine``: of the logits, mean over the pictures; ``cosine_min`` the worst picture.
    ``error_db``: signal to quantisation noise over all logits, 10 log10(sum x^2 / sum (x-y)^2),
    None without noise. ``near_ties``: pictures that the float network itself is unsure of.
    """

    pictures: int
    top1: float
    top1_in_top5: float
    top5_overlap: float
    cosine: float
    cosine_min: float
    error_db: float | None
    near_ties: int


@dataclass(frozen=True)
class TfliteScores:
    """``tflite.json``. ``float_difference`` is a share of the largest logit."""

    float_difference: float
    seconds: dict[str, float]
    fp32: Agreement
    int8: Agreement


@dataclass(frozen=True)
class Ranked:
    """The answer to one photograph: the five best classes, and the probability of the first."""

    top5: list[int]
    probability: float


@dataclass(frozen=True)
class Answers:
    """``answers.json``: the photographs on both ``.tflite`` models."""

    fp32: list[Ranked]
    int8: list[Ranked]


@dataclass(frozen=True)
class Quantity:
    """Quantisation of a tensor: real = (q - zero_point) * scale."""

    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Quantities:
    """Of a ``.rknn``."""

    input: Quantity
    output: Quantity


@dataclass(frozen=True)
class Layer:
    """A layer on one picture: cosine and distance to float, up to it and of it alone."""

    layer: str
    operator: str
    cosine: float
    distance: float
    own_cosine: float
    own_distance: float


@dataclass(frozen=True)
class RknnScores:
    """``rknn.json``."""

    quantities: Quantities
    agreement: Agreement
    against_int8_tflite: Agreement
    layers: list[Layer]
    seconds: dict[str, float]


@dataclass(frozen=True)
class GoldenVector:
    """An input and the simulator's int8 answer; ``lead_steps`` is the winner's lead."""

    name: str
    input: str
    output: str
    top1: int
    lead_steps: int


@dataclass(frozen=True)
class Golden:
    """``golden.json``; ``photographs`` are the answers to the labelled ones."""

    golden: list[GoldenVector]
    photographs: list[Ranked]


@dataclass(frozen=True)
class Step:
    """An operator of a network, named by its output, with the shapes of what it reads and gives."""

    name: str
    operator: str
    inputs: list[list[int]]
    output: list[int]


@dataclass(frozen=True)
class Cut:
    """Where a prefix of a network ends: the tensor, and the operators since the end before."""

    tensor: str
    steps: list[Step]


def rebuild(kind: type[T], value: Any) -> T:
    """``value``, plain data as JSON has it, as the type ``kind``; other keys are left out."""
    result: T = _rebuild(kind, value)
    return result


def _rebuild(kind: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (each for each in inner if each is not types.NoneType)
        return None if value is None else _rebuild(kind, value)
    if origin is list:
        return [_rebuild(inner[0], item) for item in value]
    if origin is dict:
        return {key: _rebuild(inner[1], item) for key, item in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _rebuild(hint, value[name]) for name, hint in hints.items()})
    return Path(value) if kind is Path else value


def to_json(value: object, indent: int | None = None) -> str:
    """JSON of plain data with dataclasses and paths in it."""
    return json.dumps(value, default=_plain, indent=indent)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else dataclasses.asdict(value)


def read_json(kind: type[T], path: Path) -> T:
    """What ``write_json`` wrote."""
    return rebuild(kind, json.loads(path.read_text(encoding="utf-8")))


def write_json(path: Path, value: object) -> None:
    path.write_text(to_json(value, indent=1) + "\n", encoding="utf-8")


def tell(stage: str) -> None:
    """Say what the job does now; the host shows it to the user."""
    part = Path("progress.part")
    part.write_text(stage, encoding="utf-8")
    part.replace("progress")
