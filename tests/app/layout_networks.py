"""Runs inside rknn-toolkit2's environment: a small network for each layout of inputs and outputs.

``python layout_networks.py FOLDER`` writes ``NAME.rknn`` there. The weights are random, and the
ranges measured on noise: only what the NPU's runtime says about such a network is looked at.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

#: Input (channels, height, width), output channels and stride of one convolution, what follows it.
NETWORKS: dict[str, tuple[tuple[int, int, int], int, int, str]] = {
    "padded rows": ((3, 20, 28), 24, 1, ""),
    "odd plane": ((3, 34, 34), 5, 2, ""),
    "one channel": ((1, 33, 50), 16, 1, ""),
    "two channels": ((2, 16, 16), 20, 1, ""),
    "four channels": ((4, 16, 17), 20, 1, ""),
    "eight channels": ((8, 16, 16), 16, 1, ""),
    "twenty channels": ((20, 15, 17), 20, 1, ""),
    "pool": ((3, 32, 32), 40, 1, "pool"),
    "one pixel": ((3, 32, 32), 1000, 1, "pool conv"),
    "row": ((3, 20, 20), 16, 1, "pool flatten"),
    "softmax": ((3, 32, 32), 16, 1, "pool flatten softmax"),
}
CLASSES = 10
CUSTOM = '{"pico_image": "made by a test"}'


def write_network(
    path: Path, shape: tuple[int, int, int], out: int, stride: int, then: str
) -> None:
    """One convolution, and what ``then`` names."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)
    nodes: list[Any] = []
    weights: list[Any] = []

    def add(kind: str, *shapes: tuple[int, ...], **attributes: Any) -> None:
        names = [f"w{len(weights) + number}" for number in range(len(shapes))]
        for name, each in zip(names, shapes, strict=True):
            values = rng.normal(size=each).astype(np.float32) * 0.2
            weights.append(numpy_helper.from_array(values, name))
        before = nodes[-1].output[0] if nodes else "input"
        after = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, [before, *names], [after], **attributes))

    channels, height, width = shape
    add("Conv", (out, channels, 3, 3), (out,), strides=[stride] * 2, pads=[1] * 4)
    result = [1, out, -(-height // stride), -(-width // stride)]
    for word in then.split():
        if word == "pool":
            add("GlobalAveragePool")
            result = [1, out, 1, 1]
        elif word == "conv":
            add("Conv", (out, out, 1, 1))
        elif word == "flatten":
            add("Flatten")
            add("Gemm", (CLASSES, out), transB=1)
            result = [1, CLASSES]
        else:
            add("Softmax", axis=1)
    nodes[-1].output[0] = "output"

    def tensor(name: str, size: list[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, size)

    graph = helper.make_graph(
        nodes, "network", [tensor("input", [1, *shape])], [tensor("output", result)], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)])
    model.ir_version = 8
    onnx.save(model, str(path))


def convert(name: str, folder: Path) -> None:
    """Write ``NAME.rknn``; the converter leaves its own files in the present folder."""
    from rknn.api import RKNN

    from pico_image.models.worker import toolkit

    shape, out, stride, then = NETWORKS[name]
    write_network(Path("model.onnx"), shape, out, stride, then)
    rng = np.random.default_rng(4)
    lines = []
    for number in range(3):
        path = Path(f"{number}.npy").resolve()
        np.save(path, rng.integers(0, 255, (1, *shape)).astype(np.float32))
        lines.append(f"{path}\n")
    Path("calibration.txt").write_text("".join(lines), encoding="utf-8")
    rknn = RKNN(verbose=False)
    rknn.config(
        mean_values=[[127.0] * shape[0]],
        std_values=[[128.0] * shape[0]],
        target_platform="rv1103",
        custom_string=CUSTOM,
    )
    toolkit.checked(rknn.load_onnx(model="model.onnx"), "load_onnx")
    toolkit.checked(rknn.build(do_quantization=True, dataset="calibration.txt"), "build")
    toolkit.checked(rknn.export_rknn(str(folder / f"{name}.rknn")), "export_rknn")
    rknn.release()


def main() -> None:
    from pico_image.models.worker import toolkit

    target = Path(sys.argv[1]).resolve()
    toolkit.install_torch()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for name in NETWORKS:
            convert(name, target)
        os.chdir(target)


if __name__ == "__main__":
    main()
