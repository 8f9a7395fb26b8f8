r"""Read the public parts of a ``.rknn`` file: its header and the JSON at its end.

Layout, little endian, as the PyPI package rknncli 0.3.3 (MIT) reads it too: ``RKNN\0\0\0\0``; u64
container version; u64 L, the length of the body; the body at byte 64; at 64 + L a u64 J and
J bytes of JSON up to the end of the file. Nothing inside the body is interpreted here, except
that the last part of a mini-runtime file's body is metadata whose length is the body's first
u32: the bytes between are what the NPU gets (commands, weights), and those are the same in every
build, while the file as a whole is not (its writer leaks uninitialised memory).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError

MAGIC = b"RKNN\0\0\0\0"
BODY = 64
#: Container version of toolkits 2.2.0 to 2.5.0 for the chips with the mini runtime.
MINI_CONTAINER = 0x1004
#: rv1103 and rv1106 payloads are byte-identical; the b variants have another NPU interface, and
#: the runtime starts them without complaint.
PLATFORMS = ("rv1103", "rv1106")
#: How the JSON is marked inside the file: a custom string of ours begins with this.
CUSTOM_MARK = b'{"pico_image":'


@dataclass(frozen=True)
class Tensor:
    """An input or output: ``shape`` is NCHW."""

    name: str
    shape: list[int]
    type: str
    quantization: str


@dataclass(frozen=True)
class RknnFile:
    """The public facts of one file."""

    path: Path
    size: int
    container: int
    trailer: dict[str, Any]
    payload_sha256: str | None
    custom: dict[str, Any] | None

    @property
    def platforms(self) -> list[str]:
        platforms = self.trailer.get("target_platform", [])
        return [platforms] if isinstance(platforms, str) else [str(name) for name in platforms]

    @property
    def toolkit(self) -> str:
        return str(self.trailer.get("version", "")).split(" ")[0].split("(")[0]

    def tensors(self, kind: str) -> list[Tensor]:
        """The inputs (``kind`` "input") or outputs."""
        tensors = []
        graph = self.trailer.get("graph", [])
        by_id = {
            item.get("tensor_id", number): item
            for number, item in enumerate(self.trailer.get("norm_tensor", []))
        }
        for edge in graph:
            if edge.get("left") != kind:
                continue
            tensor = by_id.get(edge.get("right_tensor_id"), {})
            dtype = tensor.get("dtype", {})
            tensors.append(
                Tensor(
                    name=tensor.get("url", ""),
                    shape=[int(size) for size in tensor.get("size", [])],
                    type=dtype.get("vx_type", "?"),
                    quantization=dtype.get("qnt_type", ""),
                )
            )
        return tensors


def read(path: Path) -> RknnFile:
    """Parse a file. Raises UserError when it is missing, cut short, or no ``.rknn`` at all."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"could not read the model {path}: {error.strerror}") from error
    if not data.startswith(MAGIC):
        raise UserError(f"{path} is not an .rknn model (it does not begin with RKNN)")
    trailer: Any = None
    try:
        container, body = struct.unpack_from("<QQ", data, 8)
        (length,) = struct.unpack_from("<Q", data, BODY + body)
        start = BODY + body + 8
        if start + length > len(data):
            raise ValueError(f"its trailer ends {start + length - len(data)} bytes beyond the file")
        trailer = json.loads(data[start : start + length].rstrip(b"\0"))
        _check_trailer(trailer)
    except (struct.error, OverflowError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is cut short or damaged: {error}",
            hint="copy it again and compare its size and hash with the original",
        ) from error
    return RknnFile(
        path, len(data), container, trailer, _payload_hash(data, container, body), _custom(data)
    )


def _check_trailer(trailer: Any) -> None:
    """Raise ValueError where a value that is used here has another type than toolkits write."""
    if not isinstance(trailer, dict):
        raise ValueError("its trailer is no JSON object")
    if not isinstance(trailer.get("target_platform", []), (str, list)):
        raise ValueError("target_platform in its trailer is no list")
    for key in ("graph", "norm_tensor"):
        items = trailer.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError(f"{key} in its trailer is no list of objects")
    for edge in trailer.get("graph", []):
        _expect(edge, "right_tensor_id", int)
    for tensor in trailer.get("norm_tensor", []):
        _expect(tensor, "tensor_id", int)
        _expect(tensor, "url", str)
        _expect(tensor, "dtype", dict)
        _expect(tensor, "size", list)
        if not all(type(size) is int for size in tensor.get("size", [])):
            raise ValueError("size in its trailer is no list of integers")
        for key in ("vx_type", "qnt_type"):
            _expect(tensor.get("dtype", {}), key, str)


def _expect(item: dict[str, Any], key: str, kind: type) -> None:
    if key in item and not isinstance(item[key], kind):
        raise ValueError(f"{key} in its trailer is no {kind.__name__}")


def _payload_hash(data: bytes, container: int, body: int) -> str | None:
    if container != MINI_CONTAINER or body < 8:
        return None
    (metadata,) = struct.unpack_from("<I", data, BODY)
    if metadata >= body - 4:
        return None
    return hashlib.sha256(data[BODY + 4 : BODY + body - metadata]).hexdigest()


def _custom(data: bytes) -> dict[str, Any] | None:
    """Our own facts, which the conversion put into the model's custom string."""
    start = data.rfind(CUSTOM_MARK)
    end = data.find(b"\0", start)
    if start < 0 or end < 0:
        return None
    try:
        facts = json.loads(data[start:end])
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


@dataclass(frozen=True)
class RknnFacts:
    """What ``inspect-model`` shows."""

    kind: str
    bytes: int
    container: str
    platforms: list[str]
    toolkit: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    payload_sha256: str | None
    custom: dict[str, Any] | None


def describe(model: RknnFile) -> RknnFacts:
    return RknnFacts(
        kind="rknn",
        bytes=model.size,
        container=f"{model.container:#x}",
        platforms=model.platforms,
        toolkit=model.toolkit,
        inputs=model.tensors("input"),
        outputs=model.tensors("output"),
        payload_sha256=model.payload_sha256,
        custom=model.custom,
    )


def refuse_unfit(model: RknnFile, *, runtime: str) -> None:
    """Raise UserError with the reason when the board cannot run the model.

    ``runtime``: version of the runtime on the board; it reads no model of a newer toolkit.
    """
    platforms = ", ".join(model.platforms) or "no platform at all"
    again = "convert it again with target_platform='rv1103'"
    if not set(model.platforms) & set(PLATFORMS):
        twin = (
            " (its NPU has another interface)"
            if any(name in ("rv1103b", "rv1106b") for name in model.platforms)
            else ""
        )
        raise UserError(
            f"{model.path} is made for {platforms}{twin}; the board is an {' or '.join(PLATFORMS)}",
            hint=again,
        )
    if model.container != MINI_CONTAINER:
        raise UserError(
            f"{model.path} has container version {model.container:#x}; the mini runtime reads "
            f"{MINI_CONTAINER:#x}",
            hint=again,
        )
    for kind in ("input", "output"):
        tensors = model.tensors(kind)
        if len(tensors) != 1:
            raise UserError(f"{model.path} has {len(tensors)} {kind}s; the runners take one")
        tensor = tensors[0]
        if any(size <= 0 for size in tensor.shape) or not tensor.shape:
            raise UserError(f"{model.path}: the {kind} {tensor.name!r} has a dynamic shape")
        if "float" in tensor.type and kind == "input":
            raise UserError(
                f"{model.path}: the input {tensor.name!r} is {tensor.type}; "
                "the NPU of this chip computes in integers only",
                hint="convert it with do_quantization=True",
            )
    if model.trailer.get("dynamic_input") or model.trailer.get("dynamic_shape"):
        raise UserError(f"{model.path} has dynamic shapes, which the mini runtime refuses")
    if version(model.toolkit) > version(runtime):
        raise UserError(
            f"{model.path} was made by toolkit {model.toolkit}, newer than the runtime {runtime} "
            "that would run it",
            hint=f"convert it with rknn-toolkit2=={runtime}",
        )


def version(text: str) -> tuple[int, ...]:
    """``2.3.2`` as numbers, for comparison, up to the first part that is no number."""
    numbers: list[int] = []
    for part in text.split("."):
        # Not str.isdigit: it takes "²", which int() refuses; nor more digits than int() reads.
        digits = "".join(ch for ch in part if ch in "0123456789")[:9]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
