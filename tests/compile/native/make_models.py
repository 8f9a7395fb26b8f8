"""Write small quantised models, their inputs and the outputs to expect. (Models environment.)

Usage: make_models.py FOLDER

Each model is the smallest that takes one road through TensorFlow Lite which has gone wrong, or
would without our patches. ``NAME.tflite``, ``NAME.in`` (raw input) and ``NAME.out`` (raw output
of the reference interpreter on this machine) are written to FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

Array = np.ndarray[Any, Any]
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}


class Model:
    """One operator with its tensors; the first tensor is the input, the last the output."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "made by tests/compile/native/make_models.py"
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors = []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        kind: str,
        shape: tuple[int, ...],
        scale: float | Array | None = None,
        zero_point: int = 0,
        value: Array | None = None,
        axis: int = 0,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), TYPES[kind]
        tensor.buffer = 0
        if value is not None:
            content = np.frombuffer(np.ascontiguousarray(value, kind).tobytes(), np.uint8)
            self.model.buffers.append(schema.BufferT(data=content))
            tensor.buffer = len(self.model.buffers) - 1
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales.tolist()
            tensor.quantization.zeroPoint = [zero_point] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def finish(self, kind: str, options: Any, version: int) -> bytes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = version
        self.model.operatorCodes = [code]
        operator = schema.OperatorT()
        last = len(self.graph.tensors) - 1
        operator.inputs, operator.outputs = list(range(last)), [last]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(
            schema.BuiltinOptions, type(options).__name__.removesuffix("T")
        )
        self.graph.operators = [operator]
        self.graph.inputs, self.graph.outputs = [0], [last]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def convolution(
    kind: str, size: int, channels: int, outputs: int, padding: int, zero_point: int
) -> bytes:
    """A 3x3 convolution of a quantised size x size picture; int8 weights per channel."""
    rng = np.random.default_rng(1)
    model = Model()
    model.tensor("input", kind, (1, size, size, channels), 0.05, zero_point)
    if kind == "int8":
        scales: float | Array = rng.uniform(0.004, 0.02, outputs)
        weights = rng.integers(-127, 128, (outputs, 3, 3, channels))
        model.tensor("weights", "int8", weights.shape, scales, 0, weights)
    else:
        scales = 0.01
        weights = rng.integers(0, 256, (outputs, 3, 3, channels))
        model.tensor("weights", "uint8", weights.shape, scales, 131, weights)
    bias = rng.integers(-2000, 2000, outputs)
    model.tensor("bias", "int32", (outputs,), 0.05 * np.asarray(scales), 0, bias)
    out = size if padding == schema.Padding.SAME else size - 2
    middle = -5 if kind == "int8" else 120
    model.tensor("output", kind, (1, out, out, outputs), 1.5, middle)
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = padding, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    return model.finish("CONV_2D", options, 3 if kind == "int8" else 1)


def depthwise(size: int, channels: int, kernel: int) -> bytes:
    """A padded int8 depthwise convolution, the other half of every mobile network."""
    rng = np.random.default_rng(5)
    scales = rng.uniform(0.004, 0.02, channels)
    weights = rng.integers(-127, 128, (1, kernel, kernel, channels))
    bias = rng.integers(-2000, 2000, channels)
    model = Model()
    model.tensor("input", "int8", (1, size, size, channels), 0.05, -128)
    model.tensor("weights", "int8", weights.shape, scales, 0, weights, axis=3)
    model.tensor("bias", "int32", (channels,), 0.05 * scales, 0, bias)
    model.tensor("output", "int8", (1, size, size, channels), 0.4, 7)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = options.depthMultiplier = 1
    return model.finish("DEPTHWISE_CONV_2D", options, 3)


def dense(kind: str, batch: int, depth: int, outputs: int) -> bytes:
    """A dense layer with int8 weights: "float32" activations (hybrid) or "int16" ones."""
    rng = np.random.default_rng(2)
    weights = rng.integers(-127, 128, (outputs, depth))
    model = Model()
    if kind == "float32":
        model.tensor("input", kind, (batch, depth))
        model.tensor("weights", "int8", weights.shape, 0.01, 0, weights)
        model.tensor("bias", "float32", (outputs,), value=rng.normal(0, 1, outputs))
        model.tensor("output", kind, (batch, outputs))
    else:
        model.tensor("input", kind, (batch, depth), 0.0002)
        model.tensor("weights", "int8", weights.shape, 0.01, 0, weights)
        bias = rng.integers(-9000, 9000, outputs)
        model.tensor("bias", "int64", (outputs,), 0.0002 * 0.01, 0, bias)
        model.tensor("output", kind, (batch, outputs), 0.005)
    options = schema.FullyConnectedOptionsT()
    return model.finish("FULLY_CONNECTED", options, 3 if kind == "float32" else 4)


def hybrid_convolution(size: int, channels: int, outputs: int) -> bytes:
    """A 3x3 convolution with float activations and int8 weights per channel."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, (outputs, 3, 3, channels))
    model = Model()
    model.tensor("input", "float32", (1, size, size, channels))
    model.tensor("weights", "int8", weights.shape, rng.uniform(0.004, 0.02, outputs), 0, weights)
    model.tensor("bias", "float32", (outputs,), value=rng.normal(0, 1, outputs))
    model.tensor("output", "float32", (1, size, size, outputs))
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    return model.finish("CONV_2D", options, 2)


def main(folder: Path) -> None:
    same, valid = schema.Padding.SAME, schema.Padding.VALID
    models = {
        "int8-1x1-output": convolution("int8", 3, 32, 16, valid, 3),
        "int8-padded": convolution("int8", 9, 16, 24, same, -128),
        "uint8-padded": convolution("uint8", 9, 16, 24, same, 128),
        # 40 channels: two full vectors of 16 and a remainder.
        "int8-depthwise-3x3": depthwise(8, 40, 3),
        "int8-depthwise-5x5": depthwise(8, 40, 5),
        "hybrid-dense": dense("float32", 3, 67, 19),
        "hybrid-convolution": hybrid_convolution(6, 16, 8),
        "int16-dense": dense("int16", 3, 67, 19),
    }
    rng = np.random.default_rng(4)
    for name, content in models.items():
        path = folder / f"{name}.tflite"
        path.write_bytes(content)
        interpreter = Interpreter(
            model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        if details["dtype"] == np.float32:
            values = rng.normal(0, 1, details["shape"]).astype(np.float32)
        else:
            limits = np.iinfo(details["dtype"])
            values = rng.integers(limits.min, limits.max + 1, details["shape"]).astype(
                details["dtype"]
            )
        interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        (folder / f"{name}.in").write_bytes(values.tobytes())
        (folder / f"{name}.out").write_bytes(output.tobytes())
        print(name, output.dtype, output.shape, float(output.min()), float(output.max()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
