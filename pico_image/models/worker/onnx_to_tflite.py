"""Translate a normalised ONNX classifier to a float32 TFLite graph.

Takes what ``onnx_graph.normalise`` returns. ONNX tensors of four axes are N, C, H, W, those of
TFLite N, H, W, C: every such value is kept in TFLite's order from the start, so no transposition
is left in the graph. Operators that are not in ``HANDLERS`` are refused by name; a handler gets the
translation, the node and its attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from pico_image.base.errors import UserError
from pico_image.models.worker.jobs import OnnxFacts
from pico_image.models.worker.networks import Array, same_pads
from pico_image.models.worker.onnx_graph import (
    attributes,
    constants,
    load,
    macs,
    normalise,
    output_shape,
    shapes,
)
from pico_image.models.worker.tflite_file import Writer

Activation = schema.ActivationFunctionType
#: NCHW axis -> NHWC axis.
AXES = (0, 3, 1, 2)


def convert(model: onnx.ModelProto, what: str) -> bytes:
    """The ``.tflite`` of a normalised ONNX model: input (1, H, W, 3), output (1, classes).

    Raises UserError naming every operator (with its layer) that cannot be translated.
    """
    unknown = sorted({node.op_type for node in model.graph.node if node.op_type not in HANDLERS})
    if unknown:
        layers = [n.name or n.output[0] for n in model.graph.node if n.op_type == unknown[0]]
        raise UserError(
            f"{what} uses operators that cannot be converted: {', '.join(unknown)} "
            f"(the first is layer {layers[0]!r})",
            hint=f"convertible: {', '.join(sorted(HANDLERS))}",
        )
    return _Translation(model, what).run()


def describe(path: Path) -> OnnxFacts:
    """The job that describes a user's ONNX classifier, checked as for a conversion."""
    model = normalise(load(path), path.name)
    _, _, height, width = shapes(model)[model.graph.input[0].name]
    convert(model, path.name)
    classes = int(np.prod(output_shape(model), dtype=np.int64))
    return OnnxFacts(height=height, width=width, classes=classes, macs=macs(model))


class _Translation:
    def __init__(self, model: onnx.ModelProto, what: str) -> None:
        self.model, self.what = model, what
        self.constants = constants(model.graph)
        self.sizes = shapes(model)
        self.writer = Writer(f"{model.graph.name} from ONNX")
        self.tensors: dict[str, int] = {}
        self.users: dict[str, int] = {}
        #: Values known to be >= 0, where padding with zeros is as good as with minus infinity.
        self.positive: set[str] = set()
        for node in model.graph.node:
            for name in node.input:
                self.users[name] = self.users.get(name, 0) + 1

    def run(self) -> bytes:
        source, result = self.model.graph.input[0].name, self.model.graph.output[0].name
        self.tensors[source] = self.writer.tensor("input", self.shape(source))
        for node in self.model.graph.node:
            HANDLERS[node.op_type](self, node, attributes(node))
        output = self.tensors[result]
        classes = int(np.prod(self.sizes[result], dtype=np.int64))
        if self.writer.shape(output) != (1, classes):
            output = self.reshape(output, (1, classes), "logits")
        return self.writer.finish(self.tensors[source], output)

    # -- helpers ------------------------------------------------------------------------

    def refuse(self, node: onnx.NodeProto, why: str, hint: str | None = None) -> UserError:
        name = node.name or node.output[0]
        return UserError(
            f"{self.what}: {node.op_type} {name!r} cannot be converted: {why}", hint=hint
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """A value's shape in TFLite's order of axes."""
        size = self.sizes[name]
        return (size[0], size[2], size[3], size[1]) if len(size) == 4 else size

    def axis(self, name: str, axis: int) -> int:
        rank = len(self.sizes[name])
        axis %= rank
        return AXES[axis] if rank == 4 else axis

    def value(self, node: onnx.NodeProto, name: str) -> int:
        """The tensor of an activation, or of a constant that broadcasts against one."""
        if name in self.tensors:
            return self.tensors[name]
        array = self.constants[name].astype(np.float32)
        rank = len(self.sizes[node.output[0]])
        if rank == 4 and array.ndim:
            array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 2, 3, 1)
        return self.writer.constant(name, array)

    def output(self, node: onnx.NodeProto) -> int:
        name = node.output[0]
        self.tensors[name] = self.writer.tensor(name, self.shape(name))
        return self.tensors[name]

    def reshape(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        result = self.writer.tensor(name, shape)
        self.reshape_into(tensor, result, shape)
        return result

    def reshape_into(self, tensor: int, result: int, shape: tuple[int, ...]) -> None:
        target = np.asarray(shape, np.int32)
        self.writer.operator(
            "RESHAPE",
            [tensor, self.writer.constant(f"shape{shape}", target)],
            [result],
            "ReshapeOptions",
            newShape=list(shape),
        )

    def constant_input(self, node: onnx.NodeProto, position: int, what: str) -> Array:
        name = node.input[position] if position < len(node.input) else ""
        if name not in self.constants:
            raise self.refuse(node, f"its {what} is not constant")
        return self.constants[name]

    def padded(
        self,
        node: onnx.NodeProto,
        options: dict[str, Any],
        kernel: list[int],
        strides: list[int],
        dilations: list[int],
        *,
        zeros_are_neutral: bool,
    ) -> tuple[int, int]:
        """(input tensor, Padding value); an explicit PAD is put in where SAME does not fit."""
        name = node.input[0]
        height, width = self.sizes[name][2:]
        pads = list(options.get("pads", [0, 0, 0, 0]))
        if not any(pads):
            return self.tensors[name], schema.Padding.VALID
        if pads == same_pads((height, width), kernel, strides, dilations):
            return self.tensors[name], schema.Padding.SAME
        if not zeros_are_neutral:
            raise self.refuse(node, f"pads {pads} are not TensorFlow's SAME")
        return self.pad(self.tensors[name], pads, f"{node.output[0]}.pad"), schema.Padding.VALID

    def pad(self, tensor: int, pads: list[int], name: str) -> int:
        """Zeros around an NHWC value; ``pads`` is top, left, bottom, right."""
        _, height, width, channels = self.writer.shape(tensor)
        top, left, bottom, right = pads
        table = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        result = self.writer.tensor(
            name, (1, height + top + bottom, width + left + right, channels)
        )
        amounts = self.writer.constant(f"{name}.amounts", table)
        self.writer.operator("PAD", [tensor, amounts], [result], "PadOptions")
        return result

    def fuse(self, node: onnx.NodeProto, kind: int, fallback: str) -> None:
        """An activation: a field of the operator before it where that is possible."""
        name = node.input[0]
        tensor = self.tensors[name]
        before = self.writer.last_operator(tensor)
        options: Any = before.builtinOptions if before is not None else None
        self.positive.add(node.output[0])
        if self.users[name] == 1 and getattr(options, "fusedActivationFunction", None) == 0:
            options.fusedActivationFunction = kind
            self.writer.graph.tensors[tensor].name = node.output[0]
            self.tensors[node.output[0]] = tensor
            return
        self.writer.operator(fallback, [tensor], [self.output(node)])


Options = dict[str, Any]


def _conv(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    weight = t.constant_input(node, 1, "weight").astype(np.float32)
    if weight.ndim != 4:
        raise t.refuse(node, f"its weight has shape {list(weight.shape)}; only 2-D convolutions")
    outputs, _, *kernel = weight.shape
    inputs = t.sizes[node.input[0]][1]
    group = options.get("group", 1)
    if group not in (1, inputs):
        raise t.refuse(
            node,
            f"{group} groups over {inputs} channels",
            "only plain (1 group) and depthwise (a group per channel) convolutions",
        )
    bias = np.zeros(outputs, np.float32)
    if len(node.input) > 2 and node.input[2]:
        bias = t.constant_input(node, 2, "bias").astype(np.float32)
    strides = list(options.get("strides", [1, 1]))
    dilations = list(options.get("dilations", [1, 1]))
    source, padding = t.padded(node, options, kernel, strides, dilations, zeros_are_neutral=True)
    name = node.output[0]
    common = {
        "padding": padding,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
        "fusedActivationFunction": Activation.NONE,
    }
    biases = t.writer.constant(f"{name}.bias", bias)
    if group == inputs and group > 1:
        # ONNX (C * m, 1, kH, kW) -> TFLite (1, kH, kW, C * m), the same order of outputs
        weights = t.writer.constant(f"{name}.weight", weight.transpose(1, 2, 3, 0))
        t.writer.operator(
            "DEPTHWISE_CONV_2D",
            [source, weights, biases],
            [t.output(node)],
            "DepthwiseConv2DOptions",
            depthMultiplier=outputs // inputs,
            **common,
        )
        return
    weights = t.writer.constant(f"{name}.weight", weight.transpose(0, 2, 3, 1))
    t.writer.operator(
        "CONV_2D", [source, weights, biases], [t.output(node)], "Conv2DOptions", **common
    )


def _gemm(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    if options.get("transA") or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
        raise t.refuse(node, "transA, alpha and beta other than 1 are not supported")
    weight = t.constant_input(node, 1, "weight").astype(np.float32)
    weight = weight if options.get("transB") else weight.T
    bias = np.zeros(weight.shape[0], np.float32)
    if len(node.input) > 2 and node.input[2]:
        bias = np.broadcast_to(t.constant_input(node, 2, "bias").reshape(-1), bias.shape)
    _fully_connected(t, node, weight, bias.astype(np.float32))


def _matmul(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    weight = t.constant_input(node, 1, "second factor").astype(np.float32)
    if weight.ndim != 2 or len(t.sizes[node.input[0]]) != 2:
        raise t.refuse(node, "only (1, K) times a constant (K, N)")
    _fully_connected(t, node, weight.T, np.zeros(weight.shape[1], np.float32))


def _fully_connected(
    t: _Translation, node: onnx.NodeProto, weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]
) -> None:
    name = node.output[0]
    inputs = [
        t.tensors[node.input[0]],
        t.writer.constant(f"{name}.weight", weight),
        t.writer.constant(f"{name}.bias", bias),
    ]
    t.writer.operator(
        "FULLY_CONNECTED",
        inputs,
        [t.output(node)],
        "FullyConnectedOptions",
        fusedActivationFunction=Activation.NONE,
    )


def _relu(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    t.fuse(node, Activation.RELU, "RELU")


def _clip(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    low, high = options.get("min"), options.get("max")
    if len(node.input) > 1 and node.input[1]:
        low = float(t.constant_input(node, 1, "minimum"))
    if len(node.input) > 2 and node.input[2]:
        high = float(t.constant_input(node, 2, "maximum"))
    if low == 0 and high == 6:
        t.fuse(node, Activation.RELU6, "RELU6")
    elif low == 0 and (high is None or high > 1e30):
        t.fuse(node, Activation.RELU, "RELU")
    else:
        raise t.refuse(node, f"limits {low} and {high}; only 0 and 6, or 0 alone")


def _leaky(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    source = t.tensors[node.input[0]]
    alpha = float(options.get("alpha", 0.01))
    t.writer.operator("LEAKY_RELU", [source], [t.output(node)], "LeakyReluOptions", alpha=alpha)


def _sigmoid(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    t.positive.add(node.output[0])
    t.writer.operator("LOGISTIC", [t.tensors[node.input[0]]], [t.output(node)])


def _tanh(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    t.writer.operator("TANH", [t.tensors[node.input[0]]], [t.output(node)])


def _hard_swish(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    source = t.tensors[node.input[0]]
    t.writer.operator("HARD_SWISH", [source], [t.output(node)], "HardSwishOptions")


def _elementwise(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    inputs = [t.value(node, name) for name in node.input]
    ranks = {len(t.sizes[name]) for name in node.input if name in t.tensors}
    if len(ranks) > 1:
        raise t.refuse(node, "it broadcasts between different numbers of axes")
    if node.op_type != "Sub" and all(name in t.positive for name in node.input):
        t.positive.add(node.output[0])
    kind = node.op_type
    t.writer.operator(
        kind.upper(),
        inputs,
        [t.output(node)],
        f"{kind}Options",
        fusedActivationFunction=Activation.NONE,
    )


def _batch_norm(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    gamma, beta, mean, variance = (
        t.constant_input(node, number, "statistics").astype(np.float64) for number in range(1, 5)
    )
    scale = gamma / np.sqrt(variance + options.get("epsilon", 1e-5))
    name, source = node.output[0], t.tensors[node.input[0]]
    scaled = t.writer.tensor(f"{name}.scaled", t.shape(name))
    none = {"fusedActivationFunction": Activation.NONE}
    factor = t.writer.constant(f"{name}.scale", scale.astype(np.float32))
    t.writer.operator("MUL", [source, factor], [scaled], "MulOptions", **none)
    shift = t.writer.constant(f"{name}.shift", (beta - mean * scale).astype(np.float32))
    t.writer.operator("ADD", [scaled, shift], [t.output(node)], "AddOptions", **none)


def _mean(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    name = node.input[0]
    axes = [2, 3]
    if node.op_type == "ReduceMean":
        if len(node.input) > 1:
            axes = [int(axis) for axis in t.constant_input(node, 1, "list of axes")]
        else:
            axes = list(options.get("axes", []))
        if len(t.sizes[name]) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
            raise t.refuse(node, f"axes {axes}; only height and width of N, C, H, W")
    keep = node.op_type == "GlobalAveragePool" or bool(options.get("keepdims", 1))
    numbers = t.writer.constant("height and width", np.array([1, 2], np.int32))
    if name in t.positive:
        t.positive.add(node.output[0])
    t.writer.operator(
        "MEAN", [t.tensors[name], numbers], [t.output(node)], "ReducerOptions", keepDims=keep
    )


def _pool(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    kernel = list(options["kernel_shape"])
    strides = list(options.get("strides", [1, 1]))
    if len(kernel) != 2 or list(options.get("dilations", [1, 1])) != [1, 1]:
        raise t.refuse(node, "only 2-D windows without dilation")
    if options.get("ceil_mode"):
        raise t.refuse(node, "ceil_mode is not supported", "export it with floor")
    average = node.op_type == "AveragePool"
    # TFLite's SAME leaves padding out of an average; ONNX counts it with count_include_pad.
    counted = average and bool(options.get("count_include_pad")) and any(options.get("pads", []))
    if counted:
        name = f"{node.output[0]}.pad"
        source, padding = (
            t.pad(t.tensors[node.input[0]], list(options["pads"]), name),
            schema.Padding.VALID,
        )
    else:
        neutral = not average and node.input[0] in t.positive
        source, padding = t.padded(
            node, options, kernel, strides, [1, 1], zeros_are_neutral=neutral
        )
    if node.input[0] in t.positive:
        t.positive.add(node.output[0])
    t.writer.operator(
        "AVERAGE_POOL_2D" if average else "MAX_POOL_2D",
        [source],
        [t.output(node)],
        "Pool2DOptions",
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        fusedActivationFunction=Activation.NONE,
    )


def _pad(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    if options.get("mode", b"constant") != b"constant" or len(t.sizes[node.input[0]]) != 4:
        raise t.refuse(node, "only constant padding of N, C, H, W")
    pads = [int(amount) for amount in t.constant_input(node, 1, "amount")]
    if len(node.input) > 2 and node.input[2] and float(t.constant_input(node, 2, "value")):
        raise t.refuse(node, "it pads with another value than zero")
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        raise t.refuse(node, f"pads {pads}; only height and width can be padded")
    if node.input[0] in t.positive:
        t.positive.add(node.output[0])
    window = [pads[2], pads[3], pads[6], pads[7]]
    t.tensors[node.output[0]] = t.pad(t.tensors[node.input[0]], window, node.output[0])


def _concat(t: _Translation, node: onnx.NodeProto, options: Options) -> None:
    inputs = [t.value(node, name) for name in node.input]
    if all(name in t.positive for name in node.input):
        t.positive.add(node.output[0])
    axis = t.axis(node.output[0], options["axis"])
    t.writer.operator(
        "CONCATENATION",
        inputs,
        [t.output(node)],
        "ConcatenationOptions",
        axis=axis,
        fusedActivationFunction=Activation.NONE,
    )


def _reshape(t: _Translation, node: onnx.NodeProto, _options: Options) -> None:
    name, result = node.input[0], node.output[0]
    before, after = t.sizes[name], t.sizes[result]
    source = t.tensors[name]
    if name in t.positive:
        t.positive.add(result)
    if len(before) == 4 and before[2] * before[3] > 1:
        # The bytes are N, H, W, C here; the layer after a flattened picture expects N, C, H, W.
        order = t.writer.constant("to NCHW", np.array([0, 3, 1, 2], np.int32))
        turned = t.writer.tensor(f"{result}.nchw", before)
        t.writer.operator("TRANSPOSE", [source, order], [turned], "TransposeOptions")
        source = turned
    if len(after) == 4 and after[2] * after[3] > 1:
        raise t.refuse(node, f"it makes a picture of shape {list(after)} out of {list(before)}")
    t.reshape_into(source, t.output(node), t.shape(result))


Handler = Callable[[_Translation, onnx.NodeProto, Options], None]
HANDLERS: dict[str, Handler] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Relu": _relu,
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Sigmoid": _sigmoid,
    "Tanh": _tanh,
    "HardSwish": _hard_swish,
    "Add": _elementwise,
    "Sub": _elementwise,
    "Mul": _elementwise,
    "BatchNormalization": _batch_norm,
    "GlobalAveragePool": _mean,
    "ReduceMean": _mean,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Pad": _pad,
    "Concat": _concat,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
}
