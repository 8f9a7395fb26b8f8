"""Translate a normalised ONNX classifier to a float32 TFLite graph. (Worker code.)

Takes what ``onnx_graph.normalise`` returns. ONNX tensors of four axes are N, C, H, W, those of
TFLite N, H, W, C: every such value is kept in TFLite's order from the start, so no transposition
is left in the graph. Operators that are not in ``HANDLERS`` are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from pico_image.base.errors import UserError
from pico_image.models.worker.networks import Array
from pico_image.models.worker.onnx_graph import attributes, constants, shapes
from pico_image.models.worker.tflite_writer import Writer

Activation = schema.ActivationFunctionType
#: NCHW axis -> NHWC axis.
AXES = (0, 3, 1, 2)
SUPPORTED_HINT = "convertible: {}"


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
            hint=SUPPORTED_HINT.format(", ".join(sorted(HANDLERS))),
        )
    return _Translation(model, what).run()


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
        auto = options.get("auto_pad", b"NOTSET").decode()
        pads = list(options.get("pads", [0, 0, 0, 0]))
        if auto == "VALID":
            pads = [0, 0, 0, 0]
        same = []
        for size, k, stride, dilation in zip(
            (height, width), kernel, strides, dilations, strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            same.append((total // 2, total - total // 2))
        if auto == "SAME_UPPER" or pads == [same[0][0], same[1][0], same[0][1], same[1][1]]:
            if any(total for pair in same for total in pair):
                return self.tensors[name], schema.Padding.SAME
            return self.tensors[name], schema.Padding.VALID
        if auto == "SAME_LOWER":
            pads = [same[0][1], same[1][1], same[0][0], same[1][0]]
        if not any(pads):
            return self.tensors[name], schema.Padding.VALID
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


Handler = Callable[[_Translation, onnx.NodeProto, dict[str, Any]], None]
HANDLERS: dict[str, Handler] = {}


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a translation for ONNX operators; it gets (translation, node, attributes)."""

    def register(function: Handler) -> Handler:
        for kind in kinds:
            HANDLERS[kind] = function
        return function

    return register


# The handlers register themselves on import.
from pico_image.models.worker import tflite_operators  # noqa: E402, F401
