"""MobileNetV2 and EfficientNet-Lite0 as ncnn network files.

ncnn does not read ``.tflite``; its converters are not packaged for Python either. Instruction
counts need the shapes only, so the two networks are written down here once more, as ncnn's text
format (https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure). The count of
multiply-accumulates, which is returned, tells whether they are the same networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: Expansion, channels, repeats, stride, kernel. Sandler et al. 2018, table 2.
MOBILENET_V2 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
#: As above; from the EfficientNet-Lite builder of the TPU repository.
EFFICIENTNET_LITE0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
NETWORKS = {"mobilenet-v2": MOBILENET_V2, "efficientnet-lite0": EFFICIENTNET_LITE0}
HEAD = 1280
CLASSES = 1000
SIZE = 224
CLIP6 = "9=3 -23310=2,0.0,6.0"


@dataclass
class _Writer:
    lines: list[str] = field(default_factory=list)
    blobs: int = 0
    macs: int = 0

    def layer(self, kind: str, name: str, inputs: list[str], outputs: list[str], rest: str) -> None:
        self.lines.append(
            f"{kind} {name} {len(inputs)} {len(outputs)} {' '.join(inputs + outputs)} {rest}"
        )
        self.blobs += len(outputs)

    def conv(
        self,
        x: str,
        name: str,
        shape: tuple[int, int, int],
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        clip: bool = True,
    ) -> tuple[str, tuple[int, int, int]]:
        """Convolution with TensorFlow's SAME padding; ``shape`` is (channels, height, width)."""
        inputs, height, width = shape
        out = -(-height // stride)
        pad = max((out - 1) * stride + kernel - height, 0)
        weights = channels * kernel * kernel * (1 if depthwise else inputs)
        self.macs += weights * out * -(-width // stride)
        before, after = pad // 2, pad - pad // 2
        self.layer(
            "ConvolutionDepthWise" if depthwise else "Convolution",
            name,
            [x],
            [name],
            f"0={channels} 1={kernel} 3={stride} 4={before} 14={before} 15={after} 16={after} "
            f"5=1 6={weights}" + (f" 7={inputs}" if depthwise else "") + (f" {CLIP6}" * clip),
        )
        return name, (channels, out, -(-width // stride))


def write_param(network: str, path: Path) -> int:
    """Write ``network`` to ``path`` and return its multiply-accumulates per inference."""
    net = _Writer()
    net.layer("Input", "input", [], ["input"], f"0={SIZE} 1={SIZE} 2=3")
    x, shape = net.conv("input", "stem", (3, SIZE, SIZE), 32, 3, 2)
    for stage, (expansion, channels, repeats, first, kernel) in enumerate(NETWORKS[network]):
        for repeat in range(repeats):
            name, stride = f"s{stage}b{repeat}", first if repeat == 0 else 1
            residual = stride == 1 and shape[0] == channels
            if residual:
                net.layer("Split", f"{name}split", [x], [f"{name}in", f"{name}skip"], "")
                x = f"{name}in"
            if expansion != 1:
                x, shape = net.conv(x, f"{name}expand", shape, shape[0] * expansion)
            x, shape = net.conv(x, f"{name}dw", shape, shape[0], kernel, stride, depthwise=True)
            x, shape = net.conv(x, f"{name}project", shape, channels, clip=False)
            if residual:
                net.layer("BinaryOp", f"{name}add", [x, f"{name}skip"], [f"{name}add"], "0=0")
                x = f"{name}add"
    x, shape = net.conv(x, "head", shape, HEAD)
    net.layer("Pooling", "pool", [x], ["pool"], "0=1 4=1")
    net.layer("InnerProduct", "fc", ["pool"], ["output"], f"0={CLASSES} 1=1 2={CLASSES * HEAD}")
    net.macs += CLASSES * HEAD
    text = "\n".join(["7767517", f"{len(net.lines)} {net.blobs}", *net.lines]) + "\n"
    path.write_text(text, encoding="ascii")
    return net.macs
