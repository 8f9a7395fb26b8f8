"""Put a float32 TFLite graph together operator by operator. (Worker code.)

Only builtin operators of version 1, so that every TensorFlow Lite since 2018 reads the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pico_image.models.worker.tflite_file import pack

Array = np.ndarray[Any, Any]

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}
SIGNATURE = "serving_default"


class Writer:
    """Tensors are numbered as they are added; the caller keeps the numbers."""

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
