"""Network architectures as ONNX graphs, batch norm folded, ending in logits.

Shapes are NCHW. ``efficientnet_lite0`` takes published weights. The others have seeded random
weights, for work that depends on shape alone: instruction counts, plumbing and the share of the
NPU's peak do not depend on what a network has learned. All that is made from them carries the words
RANDOM WEIGHTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pico_image.base.errors import UserError
from pico_image.models.worker.jobs import Input

#: Fixed so that both converters read the same graph: rknn-toolkit2 2.3.2 knows 12 to 19.
OPSET = 13
#: The version that went with opset 13; onnx 1.18 and older ONNX Runtimes read it.
IR_VERSION = 8

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


@dataclass(frozen=True)
class Convolution:
    """A layer's numbers; ``tensorflow_padding`` puts the odd pixel of padding at the end."""

    weight: Array
    bias: Array | None
    stride: int = 1
    group: int = 1
    tensorflow_padding: bool = True


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

    def conv(self, x: str, name: str, layer: Convolution) -> str:
        """2-D convolution."""
        weight, stride = layer.weight, layer.stride
        _, height, width = self.sizes[x]
        kernel = weight.shape[2]
        if layer.tensorflow_padding:
            pads = same_pads((height, width), [kernel] * 2, [stride] * 2)
        else:  # as PyTorch does: the same on both sides
            pads = [kernel // 2] * 4
        inputs = [x, self._tensor(f"{name}.weight", weight)]
        if layer.bias is not None:
            inputs.append(self._tensor(f"{name}.bias", layer.bias))
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
            group=layer.group,
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


def normalise(pixels: Array, card: Input) -> Array:
    """(N, H, W, 3) uint8 -> float32, (pixel - mean) / std per channel."""
    mean = np.asarray(card.mean, np.float32)
    std = np.asarray(card.std, np.float32)
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def same_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> list[int]:
    """Top, left, bottom, right of TensorFlow's SAME padding: output = ceil(size / stride)."""
    totals = [
        max((-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [*(total // 2 for total in totals), *(total - total // 2 for total in totals)]


def _folded(weights: Weights, conv: str, norm: str, stride: int = 1) -> Convolution:
    """A convolution with the batch norm after it folded in (epsilon 1e-3)."""
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
    return Convolution(weight.astype(np.float32), bias.astype(np.float32), stride)


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
    x = net.clip6(net.conv("input", "stem", _folded(weights, "_conv_stem", "_bn0", stride=2)))
    block = 0
    for repeats, _kernel, first_stride, expansion, _channels in LITE0_STAGES:
        for repeat in range(repeats):
            prefix, name = f"_blocks.{block}", f"block{block}"
            stride = first_stride if repeat == 0 else 1
            entry = x
            if expansion != 1:
                expand = _folded(weights, f"{prefix}._expand_conv", f"{prefix}._bn0")
                x = net.clip6(net.conv(x, f"{name}.expand", expand))
            depthwise = _folded(weights, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride)
            depthwise = replace(depthwise, group=len(depthwise.weight))
            x = net.clip6(net.conv(x, f"{name}.depthwise", depthwise))
            project = _folded(weights, f"{prefix}._project_conv", f"{prefix}._bn2")
            x = net.conv(x, f"{name}.project", project)
            if stride == 1 and net.sizes[entry] == net.sizes[x]:
                x = net.add(x, entry, f"{name}.add")
            block += 1
    x = net.clip6(net.conv(x, "head", _folded(weights, "_conv_head", "_bn1")))
    net.classifier(x, weights["_fc.weight"], weights["_fc.bias"])
    return net.model(1000)


#: MobileNetV2 1.0 (Sandler et al. 2018, table 2): expansion, channels, repeats, stride.
MOBILENET_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
RANDOM_NOTE = "RANDOM WEIGHTS: same shapes and cost as the named network, no knowledge"


def mobilenet_v2(sample: Array, seed: int) -> onnx.ModelProto:
    """MobileNetV2 1.0 224 with seeded random weights: its shapes and cost, none of its knowledge.

    ``sample`` (N, 3, 224, 224) float32 is normalised input that the layers are scaled on.
    """
    rng = np.random.default_rng(seed)
    net = Builder("mobilenet-v2-random", (1, 3, 224, 224), sample)
    x = net.clip6(_random_conv(net, rng, "input", "stem", RandomLayer(32, 3, stride=2)))
    block = 0
    for expansion, channels, repeats, first_stride in MOBILENET_V2_STAGES:
        for repeat in range(repeats):
            name, entry = f"block{block}", x
            stride = first_stride if repeat == 0 else 1
            hidden = net.sizes[x][0] * expansion
            if expansion != 1:
                x = net.clip6(_random_conv(net, rng, x, f"{name}.expand", RandomLayer(hidden, 1)))
            depthwise = RandomLayer(hidden, 3, stride, depthwise=True)
            x = net.clip6(_random_conv(net, rng, x, f"{name}.depthwise", depthwise))
            x = _random_conv(net, rng, x, f"{name}.project", RandomLayer(channels, 1))
            if stride == 1 and net.sizes[entry] == net.sizes[x]:
                x = net.add(x, entry, f"{name}.add")
            # Later blocks read this one's output only; all kept, the sample took 2.1 GB.
            net.values = {x: net.values[x]}
            block += 1
    x = net.clip6(_random_conv(net, rng, x, "head", RandomLayer(1280, 1)))
    return _random_end(net, x, rng)


def dense_control(sample: Array, seed: int) -> onnx.ModelProto:
    """A plain stack of 3x3 convolutions, no depthwise layer: what the NPU is built for.

    Widths are multiples of 32, so that no channel lane of the NPU idles.
    """
    rng = np.random.default_rng(seed)
    net = Builder("dense-control", (1, 3, 224, 224), sample)
    x = net.relu(_random_conv(net, rng, "input", "conv0", RandomLayer(32, 3, stride=2)))
    layers = ((64, 2), (64, 1), (96, 2), (96, 1), (128, 2), (128, 1), (192, 2), (192, 1))
    for number, (channels, stride) in enumerate(layers, start=1):
        x = net.relu(_random_conv(net, rng, x, f"conv{number}", RandomLayer(channels, 3, stride)))
    return _random_end(net, x, rng)


def _random_end(net: Builder, x: str, rng: np.random.Generator) -> onnx.ModelProto:
    inputs = net.sizes[x][0]
    weight = (rng.standard_normal((1000, inputs)) * 4 / np.sqrt(inputs)).astype(np.float32)
    net.classifier(x, weight, np.zeros(1000, np.float32))
    return net.model(1000, RANDOM_NOTE)


@dataclass(frozen=True)
class RandomLayer:
    """The shape of a convolution with random weights."""

    channels: int
    kernel: int
    stride: int = 1
    depthwise: bool = False


def _random_conv(
    net: Builder, rng: np.random.Generator, x: str, name: str, layer: RandomLayer
) -> str:
    """A convolution with He-initialised weights, normalised on the sample per channel.

    Without the normalisation 50 random layers saturate or die and every quantiser's
    figures become meaningless.
    """
    inputs = net.sizes[x][0]
    group = inputs if layer.depthwise else 1
    shape = (layer.channels, inputs // group, layer.kernel, layer.kernel)
    weight = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    weight = weight.astype(np.float32)
    place = len(net.nodes), len(net.tensors)
    trial = Convolution(weight, None, layer.stride, group, tensorflow_padding=False)
    net.conv(x, name, trial)
    response = net.values.pop(name).astype(np.float64)
    mean, std = response.mean((0, 2, 3)), response.std((0, 2, 3)) + 1e-3
    del net.nodes[place[0] :], net.tensors[place[1] :]
    gain, shift = rng.uniform(0.8, 1.2, layer.channels), rng.normal(0.0, 0.3, layer.channels)
    weight = (weight * (gain / std)[:, None, None, None]).astype(np.float32)
    bias = (shift - mean * gain / std).astype(np.float32)
    return net.conv(x, name, replace(trial, weight=weight, bias=bias))
