"""The schema of ``configs/``: what a board, a variant, a model and a source may say.

``configuration`` reads, merges and cross-checks the files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


def _symbol_value(value: object) -> object:
    """YAML reads ``yes`` and ``5`` as a truth value and a number; Kconfig wants y and 5."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return str(value) if isinstance(value, int) else value


SymbolValue = Annotated[str, BeforeValidator(_symbol_value)]


def _plain_words(line: str) -> str:
    """Buildroot's makefiles and a shell pass these lines on to post-build.sh, between quotes."""
    if not re.fullmatch(r"[\w./*:@+ -]+", line, re.ASCII):
        raise ValueError("letters, digits, spaces and . / * : @ + - _ alone")
    return " ".join(line.split())


AllowedLine = Annotated[str, AfterValidator(_plain_words)]


class Strict(BaseModel):
    """Base of every configuration model: unknown keys are errors, values are final."""

    model_config = ConfigDict(extra="forbid", frozen=True)


#: What a board's backend needs to know besides what every board says.
_NEEDED = {
    "luckfox-sdk": ("soc", "kernel_dts", "uboot_fragment", "sdk_board_config"),
    "emulator": (),
}


#: What is known of a board, from most to least; nobody here has one.
EVIDENCE = {
    "tests": "this project's tests boot it",
    "boot-log": "an owner's public log or report shows that it boots so, with the vendor's image",
    "sdk-files": "read in the SDK's files alone",
}


class Board(Strict):
    """A board: facts about hardware and its boot chain, never repeated in scripts."""

    name: Name
    title: str
    evidence: Literal["tests", "boot-log", "sdk-files"] = Field(
        description="what shows that the facts below are right, see EVIDENCE"
    )
    soc: Literal["rv1103", "rv1106"] | None = None
    backend: Literal["luckfox-sdk", "emulator"]
    medium: Literal["sd_card", "emmc"] = Field(
        default="sd_card", description="what it boots from: a card, or memory written over USB"
    )
    block_device: str = Field(description="name of the medium in the board's kernel")
    partitions: str = Field(description="SIZE[@OFFSET](NAME),... as in blkdevparts")
    cma_mib: int = Field(ge=0, description="rk_dma_heap_cma: what the NPU may allocate, MiB")
    usable_mib: int = Field(gt=0, description="RAM left to programs with cma_mib = 0, MiB")
    kernel_dts: str | None = None
    uboot_fragment: str | None = None
    sdk_board_config: str | None = None
    ethernet: bool = False
    wifi: str | None = Field(default=None, description="the chip; no image sets it up")
    console: str = "ttyFIQ0"
    kernel_arguments: str = Field(default="", description="added to the kernel's command line")

    @model_validator(mode="after")
    def _backends_know_their_files(self) -> Board:
        for field in _NEEDED[self.backend]:
            if getattr(self, field) is None:
                raise ValueError(f"a board of the {self.backend} backend needs {field!r}")
        return self

    @property
    def buildroot(self) -> bool:
        """Whether Buildroot, in the vendor's SDK, makes the root file system."""
        return self.sdk_board_config is not None


class Variant(Strict):
    """What goes into one image for one board."""

    name: Name
    title: str
    board: str
    packages: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    cma_mib: int | None = Field(default=None, ge=0, le=512)
    bench_at_boot: bool = False
    camera: bool = False
    hostname: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = (
        "pico"
    )
    partitions: str | None = None
    extra_symbols: dict[str, SymbolValue] = Field(
        default_factory=dict, description="Buildroot symbols and their values"
    )
    allowed: list[AllowedLine] = Field(
        default_factory=list,
        description="what its root file system may have besides what every image may: lines in the"
        " syntax of board/luckfox-pico/allowed.txt",
    )


class Resize(Strict):
    """From a picture to the network's input size."""

    rule: Literal["center-crop", "stretch"] = "center-crop"
    fraction: float = Field(default=0.875, gt=0, le=1, description="share of the short side kept")
    filter: Literal["bilinear"] = "bilinear"


class ModelInput(Strict):
    """Shape and normalisation of a network's input: (pixel - mean) / std per channel."""

    width: int = Field(gt=0, le=4096)
    height: int = Field(gt=0, le=4096)
    channels: Literal[3] = 3
    color: Literal["RGB", "BGR"] = "RGB"
    mean: Channels
    std: Channels
    resize: Resize = Resize()


class Taken(Strict):
    """Something out of the archive of a source, or a file of the user's own."""

    source: str | None = None
    path: str | None = Field(default=None, description="where it lies inside the source's archive")
    file: str | None = Field(
        default=None,
        description="a file, relative to configs/models: in place of source and path",
    )

    @model_validator(mode="after")
    def _from_one_place(self) -> Taken:
        archived = self.source is not None and self.path is not None
        if archived == (self.file is not None) or (self.source is None) != (self.path is None):
            raise ValueError("give either source and path, or file")
        return self


class LabelledImage(Taken):
    """A photograph that ships with a model, and the classes that count as right."""

    name: str
    title: str
    top1: list[int] = Field(description="right classes; empty where the network knows nothing")
    licence: str
    credit: str = ""
    ships_as: str | None = Field(
        default=None, description="its file name on the board; that of path or file by default"
    )

    @property
    def file_name(self) -> str:
        """Its file name on the board."""
        return self.ships_as or Path(self.file or self.path or "").name


class Weights(Strict):
    """Where a network's numbers come from: a file in the source's archive, one's own, or a seed."""

    path: str | None = Field(default=None, description="where it lies inside the source's archive")
    sha256: Sha256 | None = None
    file: str | None = Field(default=None, description="an ONNX file, relative to configs/models")
    seed: int | None = Field(default=None, ge=0, description="of random weights")


class Photograph(Strict):
    """A photograph in the archive of a source, to cut crops from."""

    source: str
    path: str
    judged: bool = Field(default=True, description="shows a class, so crops of it may judge")


class Calibration(Strict):
    """Pictures that the quantisers take their ranges from, and those that judge the result."""

    photographs: list[Photograph] = Field(
        default_factory=list, description="crops of these are taken"
    )
    folder: str | None = Field(
        default=None,
        description="a folder of pictures, relative to configs/models: in place of photographs",
    )
    count: int = Field(default=100, ge=10, le=1000)
    held_out: int = Field(default=60, ge=50, le=1000, description="pictures for judging only")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _from_one_place(self) -> Calibration:
        if bool(self.photographs) == (self.folder is not None):
            raise ValueError("give either photographs, or folder")
        return self


Algorithm = Literal["normal", "kl_divergence", "mmse"]


class Accuracy(Strict):
    """The least agreement with the float model, on held-out pictures; below it conversion fails."""

    top1: float = Field(default=0.9, ge=0, le=1, description="share with the same first class")
    cosine: float = Field(default=0.97, ge=-1, le=1, description="mean over the logits")


class Model(Strict):
    """What a model is: where its weights come from and what its input and output mean."""

    name: Name
    title: str
    source: str | None = Field(
        default=None, description="a name in sources.yml; null for random weights or one's own"
    )
    licence: str
    weights: Weights = Weights()
    input: ModelInput
    classes: int = Field(gt=1)
    softmax: bool = Field(description="the network ends in logits, so the runner applies softmax")
    macs: int = Field(ge=0, description="multiply-accumulates of one inference; 0: not counted")
    macs_source: str
    images: list[LabelledImage] = Field(default_factory=list)

    @model_validator(mode="after")
    def _weights_have_one_origin(self) -> Model:
        origins = (self.source, self.weights.seed, self.weights.file)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError(
                "a model has exactly one of: source, weights.file, weights.seed (random weights)"
            )
        return self

    @model_validator(mode="after")
    def _pictures_have_names_of_their_own(self) -> Model:
        names = [image.file_name for image in self.images]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two images are files called {twice[0]}; they lie in one folder")
        return self

    @property
    def random_weights(self) -> bool:
        return self.weights.seed is not None


class ModelSpec(Model):
    """A model and how it is converted."""

    architecture: Literal["efficientnet-lite0", "mobilenet-v2", "dense-control", "onnx"]
    macs: int = Field(gt=0, description="multiply-accumulates of one inference")
    labels: Taken | None = Field(
        default=None,
        description="one a line in a file, or ImageNet's JSON of a source; numbers by default",
    )
    calibration: Calibration
    algorithm: Algorithm = Field(default="normal", description="how rknn-toolkit2 finds the ranges")
    accuracy: Accuracy = Accuracy()
    sets: Annotated[list[Literal["fp32", "int8", "npu"]], Field(min_length=1)] = Field(
        default=["fp32", "int8", "npu"], description="what is built from it"
    )


class Place(Strict):
    """One place where a file may be had: exactly one kind."""

    url: str | None = None
    pool: str | None = Field(
        default=None, description="path below pool/COMPONENT of a Debian mirror"
    )
    pypi: str | None = Field(default=None, description="NAME==VERSION on the Python registry")

    @model_validator(mode="after")
    def _one_kind(self) -> Place:
        if sum(kind is not None for kind in (self.url, self.pool, self.pypi)) != 1:
            raise ValueError("a place has exactly one of: url, pool, pypi")
        return self


class SourceFile(Strict):
    """One file by its hash, and the places to try for it, in order."""

    file: str
    sha256: Sha256
    sha1: Sha1 | None = Field(default=None, description="lets the snapshot archive serve it")
    size: int | None = Field(default=None, gt=0)
    places: list[Place] = Field(default_factory=list)
    strip: int = Field(default=1, ge=0, description="leading folders to drop when unpacking")

    @model_validator(mode="after")
    def _somewhere(self) -> SourceFile:
        if not self.places and self.sha1 is None:
            raise ValueError("a file needs at least one place, or a sha1 for the snapshot archive")
        return self


class Source(Strict):
    """Something that is downloaded. Several files are alternatives, tried in order."""

    name: str
    version: str
    licence: str
    purpose: str
    checked: str = Field(default="", description="how the hash was checked")
    files: list[SourceFile] = Field(default_factory=list)
    commit: str | None = Field(default=None, description="for sources that are git checkouts")
    repository: str | None = None
    image: str | None = Field(default=None, description="for sources that are container images")
