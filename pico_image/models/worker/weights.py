"""Read the tensors of a PyTorch checkpoint without PyTorch and without trusting it. (Worker code.)

A ``.pth`` file is a Python pickle, and a pickle can run any program when it is loaded. The
unpickler here knows the five names that a state dict needs and refuses every other one. It
reads the format that ``torch.save`` wrote before PyTorch 1.6, which is what the EfficientNet-Lite0
package holds: three header pickles, the state dict, the list of storage keys, and then each
storage as an int64 element count followed by its raw little-endian elements.
"""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pico_image.base.errors import UserError

#: First value of the file (torch/serialization.py, MAGIC_NUMBER) and the protocol after it.
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


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


def read_pth(path: Path) -> dict[str, np.ndarray[Any, Any]]:
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


def _read(
    stream: IO[bytes], unpickler: Callable[[IO[bytes]], _Unpickler]
) -> dict[str, np.ndarray[Any, Any]]:
    if stream.read(2) == b"PK":
        raise pickle.UnpicklingError("is in the zip format of PyTorch >= 1.6, not in the older one")
    stream.seek(0)
    if unpickler(stream).load() != MAGIC or unpickler(stream).load() != PROTOCOL:
        raise pickle.UnpicklingError("does not begin as a PyTorch checkpoint does")
    unpickler(stream).load()  # sizes of C types on the writing machine
    body = unpickler(stream)
    state = body.load()
    keys = unpickler(stream).load()
    data: dict[str, np.ndarray[Any, Any]] = {}
    for key in keys:
        dtype: np.dtype[Any] = body.storages[str(key)]
        (count,) = struct.unpack("<q", stream.read(8))
        raw = stream.read(count * dtype.itemsize)
        if count < 0 or len(raw) != count * dtype.itemsize:
            raise EOFError(f"storage {key} has {len(raw)} of {count * dtype.itemsize} bytes")
        data[str(key)] = np.frombuffer(raw, dtype=dtype)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name, lazy in state.items():
        tensors[str(name)] = _view(str(name), data[lazy.key], lazy).copy()
    return tensors


def _view(name: str, flat: np.ndarray[Any, Any], lazy: _Lazy) -> np.ndarray[Any, Any]:
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
