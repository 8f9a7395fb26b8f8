"""Network architectures as ONNX graphs, batch norm folded, ending in logits. (Worker code.)

Shapes are NCHW. ``efficientnet_lite0`` takes published weights; see ``random_networks`` for those
whose shape alone matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pico_image.base.errors import UserError

#: Fixed so that both converters read the same graph: rknn-toolkit2 2.3.2 knows 12 to 19.
OPSET = 13
#: The version that went with opset 13; onnx 1.18 and older ONNX Runtimes read it.
IR_VERSION = 8

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


class Builder:
    """Append layers one after the other; every value is float32 NCHW.

    With ``sample`` (N, C, H, W) each layer is also computed as it is added, so that random
    layers can be normalised by what really flows through them.
    """

    def __init__(self, name: str, shape: tuple[int, int, int, int], sample: Array | None = None):
        self.name = name
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.values: dict[str, Array] = {} if sample is None else {"input": sample}
        self.sizes = {"input": shape[1:]}

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        node = helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        if self.values:
            self.values[output] = _evaluate(node, self.values, self.tensors)
        return output

    def _tensor(self, name: str, value: Array) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def conv(
        self,
        x: str,
        name: str,
        weight: Array,
        bias: Array | None,
        *,
        stride: int = 1,
        group: int = 1,
        same: bool = True,
    ) -> str:
        """2-D convolution; ``same`` pads as TensorFlow does (the odd pixel at the end)."""
        _, height, width = self.sizes[x]
        kernel = weight.shape[2]
        if same:
            rows, columns = _same(height, kernel, stride), _same(width, kernel, stride)
            pads = [rows[0], columns[0], rows[1], columns[1]]
        else:  # as PyTorch does: the same on both sides
            pads = [kernel // 2] * 4
        inputs = [x, self._tensor(f"{name}.weight", weight)]
        if bias is not None:
            inputs.append(self._tensor(f"{name}.bias", bias))
        self.sizes[name] = (
            weight.shape[0],
            (height + pads[0] + pads[2] - kernel) // stride + 1,
            (width + pads[1] + pads[3] - kernel) // stride + 1,
        )
        return self._add(
            "Conv",
            inputs,
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=pads,
            group=group,
            dilations=[1, 1],
        )

    def clip6(self, x: str) -> str:
        """ReLU6."""
        if not any(tensor.name == "zero" for tensor in self.tensors):
            self._tensor("zero", np.float32(0.0))
            self._tensor("six", np.float32(6.0))
        self.sizes[f"{x}.relu6"] = self.sizes[x]
        return self._add("Clip", [x, "zero", "six"], f"{x}.relu6")

    def relu(self, x: str) -> str:
        self.sizes[f"{x}.relu"] = self.sizes[x]
        return self._add("Relu", [x], f"{x}.relu")

    def add(self, left: str, right: str, name: str) -> str:
        self.sizes[name] = self.sizes[left]
        return self._add("Add", [left, right], name)

    def classifier(self, x: str, weight: Array, bias: Array) -> str:
        """Global average, then one fully connected layer to the logits, called ``output``."""
        pooled = self._add("GlobalAveragePool", [x], "pooled")
        flat = self._add("Flatten", [pooled], "flat", axis=1)
        names = [self._tensor("output.weight", weight), self._tensor("output.bias", bias)]
        return self._add("Gemm", [flat, *names], "output", transB=1)

    def model(self, classes: int, note: str = "") -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, classes))],
            self.tensors,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="luckfox-pico-npu",
            doc_string=note,
        )
        onnx.checker.check_model(model)
        return model


def _evaluate(
    node: onnx.NodeProto, values: dict[str, Array], tensors: list[onnx.TensorProto]
) -> Array:
    """One node's output on the sample, computed by ONNX Runtime."""
    known = {tensor.name: tensor for tensor in tensors}
    live = [name for name in node.input if name in values]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in live],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
        [known[name] for name in node.input if name in known],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {name: values[name] for name in live})[0]
    return result


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, TensorFlow's SAME: output = ceil(size / stride)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _fold(weights: Weights, conv: str, norm: str) -> tuple[Array, Array]:
    """A convolution's weight and bias with the batch norm after it folded in (epsilon 1e-3)."""
    try:
        scale = weights[f"{norm}.weight"].astype(np.float64) / np.sqrt(
            weights[f"{norm}.running_var"].astype(np.float64) + 1e-3
        )
        weight = weights[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None]
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    except KeyError as error:
        raise UserError(
            f"the weights have no tensor {error}, which EfficientNet-Lite0 needs",
            hint="the file holds another network's weights",
        ) from error
    return weight.astype(np.float32), bias.astype(np.float32)


#: EfficientNet-Lite0's stages: repeats, kernel, stride, expansion, output channels. The same
#: table is in efficientnet_lite_pytorch 0.1.0 (Apache-2.0), taken there from the TPU repository's
#: efficientnet_lite_builder.py; no squeeze-and-excitation, ReLU6, stem and head not scaled.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(weights: Weights) -> onnx.ModelProto:
    """EfficientNet-Lite0, 224x224 RGB to 1000 logits, from the published checkpoint's tensors.

    Raises UserError when the tensors are another network's.
    """
    net = Builder("efficientnet-lite0", (1, 3, 224, 224))
    x = net.clip6(net.conv("input", "stem", *_fold(weights, "_conv_stem", "_bn0"), stride=2))
    block = 0
    for repeats, _kernel, first_stride, expansion, _channels in LITE0_STAGES:
        for repeat in range(repeats):
            prefix, name = f"_blocks.{block}", f"block{block}"
            stride = first_stride if repeat == 0 else 1
            entry = x
            if expansion != 1:
                expand = _fold(weights, f"{prefix}._expand_conv", f"{prefix}._bn0")
                x = net.clip6(net.conv(x, f"{name}.expand", *expand))
            depthwise = _fold(weights, f"{prefix}._depthwise_conv", f"{prefix}._bn1")
            group = depthwise[0].shape[0]
            x = net.clip6(net.conv(x, f"{name}.depthwise", *depthwise, stride=stride, group=group))
            project = _fold(weights, f"{prefix}._project_conv", f"{prefix}._bn2")
            x = net.conv(x, f"{name}.project", *project)
            if stride == 1 and net.sizes[entry] == net.sizes[x]:
                x = net.add(x, entry, f"{name}.add")
            block += 1
    x = net.clip6(net.conv(x, "head", *_fold(weights, "_conv_head", "_bn1")))
    net.classifier(x, weights["_fc.weight"], weights["_fc.bias"])
    return net.model(1000)
