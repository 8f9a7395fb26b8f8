"""First stage: weights, labels and pictures to what the other stages read.

``prepare`` writes ``model.onnx``, ``calibration/`` and ``held-out/`` (8-bit PNG of the network's
input size), ``contact-sheet.png`` and ``prepared.json``. ``exhibit`` writes what no converter
reads: ``labels.txt``, ``images/`` (the photographs as they are shipped) and ``labelled/`` (8-bit
PNG of the network's input size); a job of its own, so that a changed picture or label converts
nothing again.

A checkpoint (``.pth``) is a Python pickle, and a pickle can run any program when it is loaded. The
unpickler here knows the five names that a state dict needs and refuses every other one. It
reads the format that ``torch.save`` wrote before PyTorch 1.6, which is what the EfficientNet-Lite0
package holds: three header pickles, the state dict, the list of storage keys, and then each
storage as an int64 element count followed by its raw little-endian elements.
"""

from __future__ import annotations

import collections
import hashlib
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from PIL import Image

from pico_image.base.errors import UserError
from pico_image.models.worker import networks, onnx_graph, pictures
from pico_image.models.worker.jobs import (
    Exhibits,
    Input,
    Item,
    Network,
    Prepared,
    tell,
    write_json,
)
from pico_image.models.worker.networks import Array

#: How many pictures the random networks are scaled on.
SCALING_SAMPLE = 16
Archives = Mapping[str, Path]
#: First value of the file (torch/serialization.py, MAGIC_NUMBER) and the protocol after it.
PTH_MAGIC = 0x1950A86A20F9469CFC6C
PTH_PROTOCOL = 1001

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


def prepare(network: Network, archives: dict[str, Path], out: Path) -> None:
    """``archives`` are the fetched files of the sources.

    Raises UserError for weights, graphs and pictures that are wrong.
    """
    tell("cutting pictures")
    _write_pictures(network, archives, out)
    tell("building the network")
    model = _build(network, archives, out / "calibration")
    count = int(np.prod(onnx_graph.output_shape(model), dtype=np.int64))
    if count != network.classes:
        raise UserError(
            f"{network.name} has {count} outputs, the model file says {network.classes}"
        )
    shape = onnx_graph.shapes(model)[model.graph.input[0].name]
    asked = (1, 3, network.input.height, network.input.width)
    if shape != asked:
        raise UserError(
            f"{network.name} takes an input of shape {shape}, the model file says {asked}"
        )
    onnx.save(model, str(out / "model.onnx"))
    facts = Prepared(
        macs=onnx_graph.macs(model),
        opset=next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        calibration=len(list((out / "calibration").glob("*.png"))),
        held_out=len(list((out / "held-out").glob("*.png"))),
    )
    write_json(out / "prepared.json", facts)


def exhibit(exhibits: Exhibits, archives: dict[str, Path], out: Path) -> None:
    """``archives`` are the fetched files of the sources.

    Raises UserError for a picture that is none and a list of labels of the wrong length.
    """
    tell("reading labels and photographs")
    labels = _labels(exhibits, archives)
    (out / "labels.txt").write_text("".join(f"{name}\n" for name in labels), encoding="utf-8")
    (out / "images").mkdir()
    (out / "labelled").mkdir()
    for number, image in enumerate(exhibits.images):
        data = _bytes_of(image, archives, f"the picture {image.name}")
        (out / "images" / image.file_name).write_bytes(data)
        pixels = pictures.prepare(
            pictures.open_picture(data, image.file or image.path or ""), exhibits.input
        )
        target = out / "labelled" / f"{number:03d}-{image.name}.png"
        Image.fromarray(np.ascontiguousarray(pixels)).save(target)


def _write_pictures(network: Network, archives: Archives, out: Path) -> None:
    """Write both sets. Raises UserError for a set that cannot calibrate."""
    card, plan = network.input, network.calibration
    if plan.folder is not None:
        kept, held = pictures.user_folder(Path(plan.folder), card)
    else:
        photographs, judged = [], []
        for item in plan.photographs:
            data = _member(archives, item.source, item.path)
            photographs.append((item.path, pictures.open_picture(data, item.path)))
            judged += photographs[-1:] if item.judged else []
        kept = pictures.crops(photographs, plan.count, plan.seed, card, held_out=False)
        held = pictures.crops(judged, plan.held_out, plan.seed, card, held_out=True)
        pictures.refuse_alike(kept, "the default set")
    pictures.write_set(out / "calibration", kept)
    pictures.write_set(out / "held-out", held)
    pictures.contact_sheet(out / "contact-sheet.png", kept)


def _build(network: Network, archives: Archives, calibration: Path) -> onnx.ModelProto:
    """The model's graph, normalised. Raises UserError for weights that are wrong or damaged."""
    name, weights, source = network.name, network.weights, network.source or ""
    if network.architecture == "onnx":
        path = Path(weights.file) if weights.file else archives[source]
        return onnx_graph.normalise(onnx_graph.load(path), path.name)
    if network.architecture == "efficientnet-lite0":
        data = _member(archives, source, weights.path or "")
        digest = hashlib.sha256(data).hexdigest()
        if digest != weights.sha256:
            raise UserError(
                f"the weights of {name} have the SHA-256 {digest}, expected {weights.sha256}",
                hint=f"is {source} in configs/sources.yml the right version? then correct "
                f"weights.sha256 in configs/models/{name}.yml",
            )
        file = Path("weights.pth")
        file.write_bytes(data)
        return onnx_graph.normalise(networks.efficientnet_lite0(read_pth(file)), name)
    builders = {
        "mobilenet-v2": networks.mobilenet_v2,
        "dense-control": networks.dense_control,
    }
    sample = _scaling_sample(calibration, network.input)
    model = builders[network.architecture](sample, weights.seed or 0)
    return onnx_graph.normalise(model, name)


def _scaling_sample(calibration: Path, card: Input) -> Array:
    _, pixels = pictures.read_prepared(calibration)
    sample = networks.normalise(pixels[:SCALING_SAMPLE], card).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(sample)


def _labels(exhibits: Exhibits, archives: Archives) -> list[str]:
    """One name per class, in order. Raises UserError when there are too many or too few."""
    item, count = exhibits.labels, exhibits.classes
    if item is None:
        return [f"class {number}" for number in range(count)]
    data = _bytes_of(item, archives, "the labels")
    if item.file:
        try:
            names = data.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"could not read the labels {item.file}: {error}") from error
    else:
        table = json.loads(data)
        names = [table[str(number)] for number in range(len(table))]
    if len(names) != count or not all(name.strip() for name in names):
        raise UserError(
            f"{item.file or item.path} has {len(names)} labels (none may be empty), "
            f"{exhibits.name} has {count} classes"
        )
    return names


def _bytes_of(item: Item, archives: Archives, what: str) -> bytes:
    """The bytes of a file on this machine, or of one in an archive."""
    if item.file is None:
        return _member(archives, item.source or "", item.path or "")
    try:
        return Path(item.file).read_bytes()
    except OSError as error:
        raise UserError(f"could not read {what} {item.file}: {error.strerror}") from error


def _member(archives: Archives, source: str, path: str) -> bytes:
    """One file out of a fetched archive (a wheel is a zip file), or the file itself."""
    archive = archives[source]
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                return bundle.read(path)
        return archive.read_bytes()
    except KeyError as error:
        raise UserError(f"{archive.name} of source {source} has no {path}") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"could not read {path} from {archive}: {error}") from error


class _Lazy:
    """A tensor whose storage comes later in the file."""

    def __init__(self, key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.key, self.offset, self.shape, self.strides = key, offset, shape, strides


def _rebuild_tensor(
    key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Lazy:
    return _Lazy(key, offset, shape, strides)


class _StateDict(collections.OrderedDict[str, Any]):
    """An OrderedDict that takes the ``_metadata`` attribute which torch pickles with it."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no list of weights needs")

    def persistent_load(self, pid: Any) -> str:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError("holds a reference that is not a tensor's storage")
        kind, key = pid[1], str(pid[2])
        self.storages[key] = STORAGES[kind]
        return key


def read_pth(path: Path) -> dict[str, Array]:
    """The tensors of a checkpoint by name, in their own shapes and types.

    Raises UserError when the file is missing, cut short, in another format, or a pickle that
    asks for anything but tensors.
    """
    what = f"the weights {path}"
    try:
        with path.open("rb") as stream:
            return _read(stream, _Unpickler)
    except FileNotFoundError as error:
        raise UserError(f"could not find {what}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused to read {what}: the file {error}",
            hint="the file is not a plain PyTorch state dict; do not load it with anything else",
        ) from error
    except (
        EOFError,
        struct.error,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:
        raise UserError(
            f"could not read {what}: cut short or damaged ({error or type(error).__name__})",
            hint="delete the file so that it is fetched again",
        ) from error


def _read(stream: IO[bytes], unpickler: Callable[[IO[bytes]], _Unpickler]) -> dict[str, Array]:
    if stream.read(2) == b"PK":
        raise pickle.UnpicklingError("is in the zip format of PyTorch >= 1.6, not in the older one")
    stream.seek(0)
    if unpickler(stream).load() != PTH_MAGIC or unpickler(stream).load() != PTH_PROTOCOL:
        raise pickle.UnpicklingError("does not begin as a PyTorch checkpoint does")
    unpickler(stream).load()  # sizes of C types on the writing machine
    body = unpickler(stream)
    state = body.load()
    keys = unpickler(stream).load()
    data: dict[str, Array] = {}
    for key in keys:
        dtype: np.dtype[Any] = body.storages[str(key)]
        (count,) = struct.unpack("<q", stream.read(8))
        raw = stream.read(count * dtype.itemsize)
        if count < 0 or len(raw) != count * dtype.itemsize:
            raise EOFError(f"storage {key} has {len(raw)} of {count * dtype.itemsize} bytes")
        data[str(key)] = np.frombuffer(raw, dtype=dtype)
    tensors: dict[str, Array] = {}
    for name, lazy in state.items():
        tensors[str(name)] = _view(str(name), data[lazy.key], lazy).copy()
    return tensors


def _view(name: str, flat: Array, lazy: _Lazy) -> Array:
    """The tensor inside its storage. Checkpoints converted from TensorFlow are transposed views."""
    last = lazy.offset + sum(
        (size - 1) * stride for size, stride in zip(lazy.shape, lazy.strides, strict=True)
    )
    if lazy.offset < 0 or min((*lazy.strides, 0)) < 0 or min((*lazy.shape, 1)) < 1:
        raise ValueError(f"tensor {name} has an impossible shape")
    if last >= flat.size:
        raise ValueError(f"tensor {name} reaches beyond its storage")
    strides = tuple(stride * flat.itemsize for stride in lazy.strides)
    return np.lib.stride_tricks.as_strided(flat[lazy.offset :], lazy.shape, strides)
