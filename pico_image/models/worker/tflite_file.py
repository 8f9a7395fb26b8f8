"""Read, write and describe ``.tflite`` files by the schema that ai-edge-litert carries.

Two things the board needs are done on every write: weights lie inside the flatbuffer
(ai-edge-quantizer 0.10 puts those of models above 256 kB behind it, which TFLite 2.14.1 does not
know: "Input tensor N lacks data"), and each buffer begins at a multiple of 16 bytes, because the
runners map the file and XNNPACK reads weights where they lie. Python's generated packer aligns
to 4 only. ``Writer`` uses only builtin operators of version 1, so that every TensorFlow Lite since
2018 reads the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pico_image.base.errors import UserError
from pico_image.models.worker.jobs import TfliteFacts, TfliteTensor
from pico_image.models.worker.networks import Array

IDENTIFIER = b"TFL3"
ALIGNMENT = 16

TYPE_NAMES = {
    value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
}
OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}


_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}
SIGNATURE = "serving_default"


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of ALIGNMENT from the start of the file."""

    def Pack(self, builder: Any) -> int:
        data = None
        if self.data is not None and len(self.data):
            raw = bytes(np.asarray(self.data, np.uint8))
            builder.StartVector(1, len(raw), ALIGNMENT)
            builder.head = builder.head - len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def pack(model: Any) -> bytes:
    """Serialise a ``ModelT``: buffers inside and aligned, the same bytes for the same model."""
    model.buffers = [_AlignedBuffer(data=buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def unpack(data: bytes, what: str) -> Any:
    """Parse into a ``ModelT``, weights brought inside. Raises UserError for other files."""
    if len(data) < 16 or data[4:8] != IDENTIFIER:
        raise UserError(f"{what} is not a TensorFlow Lite model (no {IDENTIFIER.decode()} mark)")
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        if not model.subgraphs or not model.buffers:
            raise ValueError("no graph in it")
        for buffer in model.buffers:
            if buffer.data is None and buffer.offset > 1 and buffer.size:
                end = buffer.offset + buffer.size
                if end > len(data):
                    raise ValueError("weights reach beyond its end")
                buffer.data = np.frombuffer(data[buffer.offset : end], np.uint8)
            buffer.offset = buffer.size = 0
    except Exception as error:  # the generated code indexes wherever the bytes point
        raise UserError(
            f"{what} is cut short or damaged: {type(error).__name__}: {error}",
            hint="compare its size and hash with the original",
        ) from error
    return model


def inline_weights(data: bytes, what: str) -> bytes:
    """The same model with every weight inside the flatbuffer and aligned."""
    return pack(unpack(data, what))


def buffer_faults(data: bytes) -> list[str]:
    """Buffers of a file that TFLite 2.14.1 cannot use; empty for a good file."""
    faults = []
    root = schema.Model.GetRootAs(data, 0)
    base = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    for number in range(root.BuffersLength()):
        buffer = root.Buffers(number)
        if buffer.Offset() > 1:
            faults.append(f"buffer {number} lies outside the flatbuffer")
        elif buffer.DataLength():
            start = buffer.DataAsNumpy().__array_interface__["data"][0] - base
            if start % ALIGNMENT:
                faults.append(f"buffer {number} begins at byte {start}")
    return faults


def describe(data: bytes, what: str) -> TfliteFacts:
    """What a model holds.

    Raises UserError when it is no TFLite model or has no graph.
    """
    model = unpack(data, what)
    graph = model.subgraphs[0]
    operators: dict[str, int] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "?")
        if name == "CUSTOM" and code.customCode:
            name = f"CUSTOM {code.customCode.decode(errors='replace')}"
        operators[name] = operators.get(name, 0) + 1
    return TfliteFacts(
        kind="tflite",
        bytes=len(data),
        schema=model.version,
        description=_text(model.description),
        inputs=[_tensor(graph.tensors[index]) for index in graph.inputs],
        outputs=[_tensor(graph.tensors[index]) for index in graph.outputs],
        operators=operators,
        weights_bytes=sum(len(b.data) for b in model.buffers if b.data is not None),
        buffer_faults=buffer_faults(data),
    )


def describe_file(path: Path) -> TfliteFacts:
    """The job for ``inspect-model``."""
    return describe(_read(path), str(path))


def take(path: Path, out: Path) -> TfliteFacts:
    """The job that copies a user's ``.tflite`` to ``out``, weights inside the flatbuffer."""
    data = _read(path)
    describe(data, str(path))
    if buffer_faults(data):
        data = inline_weights(data, str(path))
    (out / "model.tflite").write_bytes(data)
    return describe(data, str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"could not read the model {path}: {error.strerror}") from error


def _tensor(tensor: Any) -> TfliteTensor:
    shape = [int(size) for size in (tensor.shape if tensor.shape is not None else [])]
    signature = tensor.shapeSignature
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    zero = None if quantization is None else quantization.zeroPoint
    return TfliteTensor(
        name=_text(tensor.name),
        shape=shape,
        dynamic=signature is not None and any(int(size) < 0 for size in signature),
        type=TYPE_NAMES.get(tensor.type, "?"),
        scale=None if scale is None or not len(scale) else float(scale[0]),
        zero_point=None if zero is None or not len(zero) else int(zero[0]),
    )


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


class Writer:
    """Puts a float32 graph together, operator by operator.

    Tensors are numbered as they are added; the caller keeps the numbers.
    """

    def __init__(self, description: str) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = description
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.name = "main"
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self._shared: dict[bytes, int] = {}

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        """A float32 value that an operator (or the caller of the model) fills."""
        return self._append(name, shape, schema.TensorType.FLOAT32, 0)

    def constant(self, name: str, value: Array) -> int:
        """A float32 or int32 constant; equal ones share their bytes."""
        raw = np.ascontiguousarray(value)
        content = raw.tobytes()
        key = content + str((raw.dtype, raw.shape)).encode()
        if key not in self._shared:
            self.model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
            number = len(self.model.buffers) - 1
            self._shared[key] = self._append(name, raw.shape, _TYPES[raw.dtype], number)
        return self._shared[key]

    def _append(self, name: str, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), kind
        tensor.buffer = buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.graph.tensors[tensor].shape)

    def operator(
        self,
        kind: str,
        inputs: list[int],
        outputs: list[int],
        options: str | None = None,
        **fields: Any,
    ) -> None:
        """Append one builtin operator; ``options`` names its options table without the T."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind))
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for field, value in fields.items():
                if not hasattr(operator.builtinOptions, field):
                    raise AttributeError(f"{options} has no field {field}")
                setattr(operator.builtinOptions, field, value)
        self.graph.operators.append(operator)

    def last_operator(self, output: int) -> Any | None:
        """The operator that fills a tensor, if that is the last one appended."""
        operators = self.graph.operators
        return operators[-1] if operators and output in operators[-1].outputs else None

    def _code(self, builtin: int) -> int:
        for number, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == builtin:
                return number
        code = schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)  # readers before schema v3a look here
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def finish(self, source: int, result: int) -> bytes:
        """The flatbuffer, with one signature that names its input ``input``, output ``output``."""
        self.graph.inputs, self.graph.outputs = [source], [result]
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.subgraphIndex = 0
        signature.inputs = [_named("input", source)]
        signature.outputs = [_named("output", result)]
        self.model.signatureDefs = [signature]
        return pack(self.model)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry
