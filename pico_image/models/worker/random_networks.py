"""Networks with seeded random weights, for work that depends on shape alone. (Worker code.)

Instruction counts, plumbing and the share of the NPU's peak do not depend on what a network has
learned. Whatever is made from these says RANDOM WEIGHTS.
"""

from __future__ import annotations

import numpy as np
import onnx

from pico_image.models.worker.networks import Array, Builder

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
    x = net.clip6(random_conv(net, "input", "stem", rng, 32, 3, stride=2))
    block = 0
    for expansion, channels, repeats, first_stride in MOBILENET_V2_STAGES:
        for repeat in range(repeats):
            name, entry = f"block{block}", x
            stride = first_stride if repeat == 0 else 1
            hidden = net.sizes[x][0] * expansion
            if expansion != 1:
                x = net.clip6(random_conv(net, x, f"{name}.expand", rng, hidden, 1))
            x = net.clip6(
                random_conv(
                    net, x, f"{name}.depthwise", rng, hidden, 3, stride=stride, depthwise=True
                )
            )
            x = random_conv(net, x, f"{name}.project", rng, channels, 1)
            if stride == 1 and net.sizes[entry] == net.sizes[x]:
                x = net.add(x, entry, f"{name}.add")
            # Later blocks read this one's output only; all kept, the sample took 2.1 GB.
            net.values = {x: net.values[x]}
            block += 1
    x = net.clip6(random_conv(net, x, "head", rng, 1280, 1))
    return _random_end(net, x, rng)


def dense_control(sample: Array, seed: int) -> onnx.ModelProto:
    """A plain stack of 3x3 convolutions, no depthwise layer: what the NPU is built for.

    Widths are multiples of 32, so that no channel lane of the NPU idles.
    """
    rng = np.random.default_rng(seed)
    net = Builder("dense-control", (1, 3, 224, 224), sample)
    x = net.relu(random_conv(net, "input", "conv0", rng, 32, 3, stride=2))
    layers = ((64, 2), (64, 1), (96, 2), (96, 1), (128, 2), (128, 1), (192, 2), (192, 1))
    for number, (channels, stride) in enumerate(layers, start=1):
        x = net.relu(random_conv(net, x, f"conv{number}", rng, channels, 3, stride=stride))
    return _random_end(net, x, rng)


def _random_end(net: Builder, x: str, rng: np.random.Generator) -> onnx.ModelProto:
    inputs = net.sizes[x][0]
    weight = (rng.standard_normal((1000, inputs)) * 4 / np.sqrt(inputs)).astype(np.float32)
    net.classifier(x, weight, np.zeros(1000, np.float32))
    return net.model(1000, RANDOM_NOTE)


def random_conv(
    net: Builder,
    x: str,
    name: str,
    rng: np.random.Generator,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    depthwise: bool = False,
) -> str:
    """A convolution with He-initialised weights, normalised on the sample per channel.

    Without the normalisation 50 random layers saturate or die and every quantiser's
    figures become meaningless.
    """
    inputs = net.sizes[x][0]
    group = inputs if depthwise else 1
    shape = (channels, inputs // group, kernel, kernel)
    weight = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    weight = weight.astype(np.float32)
    place = len(net.nodes), len(net.tensors)
    net.conv(x, name, weight, None, stride=stride, group=group, same=False)
    if not net.values:
        raise ValueError("a random layer needs a sample to be normalised on")
    response = net.values.pop(name).astype(np.float64)
    mean, std = response.mean((0, 2, 3)), response.std((0, 2, 3)) + 1e-3
    del net.nodes[place[0] :], net.tensors[place[1] :]
    gain, shift = rng.uniform(0.8, 1.2, channels), rng.normal(0.0, 0.3, channels)
    weight = (weight * (gain / std)[:, None, None, None]).astype(np.float32)
    bias = (shift - mean * gain / std).astype(np.float32)
    return net.conv(x, name, weight, bias, stride=stride, group=group, same=False)
