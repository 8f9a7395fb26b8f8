"""Runs inside the models environment: small random networks through our converter and back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pico_image.base.errors import UserError
from pico_image.models.worker import onnx_graph, onnx_to_tflite, tflite_file
from pico_image.models.worker.make_tflite import Runner

RNG = np.random.default_rng(7)


class Net:
    def __init__(self, size: int = 9) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.size = size

    def const(self, *shape: int, value: Any = None) -> str:
        data = RNG.standard_normal(shape).astype(np.float32) * 0.5 if value is None else value
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, outputs: int, inputs: int, kernel: int, **attributes: Any) -> str:
        attributes.setdefault("kernel_shape", [kernel, kernel])
        weight = self.const(outputs, inputs, kernel, kernel)
        return self.op("Conv", x, weight, self.const(outputs), **attributes)

    def model(
        self, output: str, *, opset: int = 13, shape: Any = None, extra: Any = (), outs: Any = ()
    ) -> onnx.ModelProto:
        shape = shape or (1, 3, self.size, self.size)
        source = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        results = [helper.make_empty_tensor_value_info(name) for name in (output, *outs)]
        for value in results:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "case", [source, *extra], results, self.tensors)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )


def head(net: Net, x: str, channels: int, classes: int = 5) -> str:
    flat = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.op("Gemm", flat, net.const(classes, channels), net.const(classes), transB=1)


def _pooled(build: Callable[[Net], tuple[str, int]], size: int = 9, **keywords: Any) -> Any:
    net = Net(size)
    x, channels = build(net)
    return net.model(head(net, x, channels), **keywords)


def _conv(size: int = 9, **attributes: Any) -> Any:
    kernel = attributes.pop("kernel", 3)
    return _pooled(lambda net: (net.conv("input", 4, 3, kernel, **attributes), 4), size)


def _after_conv(build: Callable[[Net, str], str], channels: int = 4, size: int = 9) -> Any:
    return _pooled(lambda n: (build(n, n.conv("input", 4, 3, 3, pads=[1] * 4)), channels), size)


def _squeeze_excite(net: Net, x: str) -> str:
    narrow = net.op("Relu", net.conv(net.op("GlobalAveragePool", x), 2, 4, 1))
    return net.op("Mul", x, net.op("Sigmoid", net.conv(narrow, 4, 2, 1)))


def _batch_norm(net: Net, x: str) -> str:
    variance = net.const(value=np.array([0.5, 1.0, 2.0, 0.1], np.float32))
    return net.op(
        "BatchNormalization", x, net.const(4), net.const(4), net.const(4), variance, epsilon=1e-3
    )


def _clip(net: Net, x: str, low: float | None, high: float | None) -> str:
    names = ["" if v is None else net.const(value=np.float32(v)) for v in (low, high)]
    return net.op("Clip", x, *names)


def _flattened(net: Net) -> Any:
    x = net.op("Flatten", net.conv("input", 4, 3, 3))
    return net.model(net.op("Gemm", x, net.const(5, 4 * 49), net.const(5), transB=1))


def _matmul(net: Net) -> Any:
    x = net.op("Flatten", net.op("GlobalAveragePool", "input"))
    return net.model(net.op("Add", net.op("MatMul", x, net.const(3, 5)), net.const(5)))


def _exporters_flatten(net: Net) -> Any:
    """Shape arithmetic as PyTorch and the ONNX zoo's MobileNetV2 leave it."""
    x = net.op("GlobalAveragePool", net.conv("input", 4, 3, 3))
    batch = net.op("Gather", net.op("Shape", x), net.const(value=np.int64(0)), axis=0)
    first = net.op("Unsqueeze", batch, net.const(value=np.array([0], np.int64)))
    shape = net.op("Concat", first, net.const(value=np.array([-1], np.int64)), axis=0)
    flat = net.op("Reshape", x, shape)
    y = net.op("Gemm", flat, net.const(5, 4), net.const(5), transB=1)
    return net.model(net.op("Softmax", y), shape=("batch", 3, 9, 9))


def _mean(net: Net) -> Any:
    x = net.op("ReduceMean", net.conv("input", 4, 3, 3), axes=[2, 3], keepdims=0)
    return net.model(net.op("Gemm", x, net.const(4, 5), net.const(5)))


def _avg(include: int) -> Any:
    return _after_conv(
        lambda n, x: n.op(
            "AveragePool",
            x,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1] * 4,
            count_include_pad=include,
        )
    )


def _eye_pad(net: Net, x: str) -> str:
    return net.op("Pad", x, net.const(value=np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64)))


def good() -> dict[str, Callable[[], Any]]:
    return {
        "conv valid": lambda: _conv(),
        "conv same": lambda: _conv(pads=[1, 1, 1, 1]),
        "conv same stride 2 odd": lambda: _conv(pads=[1, 1, 1, 1], strides=[2, 2]),
        "conv same stride 2 even": lambda: _conv(8, pads=[0, 0, 1, 1], strides=[2, 2]),
        "conv explicit stride 2 even": lambda: _conv(8, pads=[1, 1, 1, 1], strides=[2, 2]),
        "conv lopsided": lambda: _conv(pads=[2, 0, 1, 3]),
        "conv auto same upper": lambda: _conv(8, auto_pad="SAME_UPPER", strides=[2, 2]),
        "conv auto same lower": lambda: _conv(8, auto_pad="SAME_LOWER", strides=[2, 2]),
        "conv dilated": lambda: _conv(pads=[2] * 4, dilations=[2, 2]),
        "conv 1x1 stride 2": lambda: _conv(kernel=1, strides=[2, 2]),
        "conv one output pixel": lambda: _conv(3),
        "conv without bias": lambda: _pooled(
            lambda n: (n.op("Conv", "input", n.const(4, 3, 3, 3), kernel_shape=[3, 3]), 4)
        ),
        "depthwise": lambda: _after_conv(lambda n, x: n.conv(x, 4, 1, 3, group=4, pads=[1] * 4)),
        "depthwise stride 2": lambda: _after_conv(
            lambda n, x: n.conv(x, 4, 1, 5, group=4, pads=[2] * 4, strides=[2, 2]), size=10
        ),
        "depthwise times 2": lambda: _after_conv(lambda n, x: n.conv(x, 8, 1, 3, group=4), 8),
        "relu": lambda: _after_conv(lambda n, x: n.op("Relu", x)),
        "relu6": lambda: _after_conv(lambda n, x: _clip(n, x, 0, 6)),
        "clip at zero": lambda: _after_conv(lambda n, x: _clip(n, x, 0, None)),
        "relu of a shared value": lambda: _after_conv(lambda n, x: n.op("Add", n.op("Relu", x), x)),
        "leaky relu": lambda: _after_conv(lambda n, x: n.op("LeakyRelu", x, alpha=0.2)),
        "tanh": lambda: _after_conv(lambda n, x: n.op("Tanh", x)),
        "hard swish": _hard_swish,
        "squeeze and excite": lambda: _after_conv(_squeeze_excite),
        "residual": lambda: _after_conv(lambda n, x: n.op("Add", n.conv(x, 4, 4, 1), x)),
        "subtract constant": lambda: _after_conv(lambda n, x: n.op("Sub", x, n.const(4, 1, 1))),
        "times scalar": lambda: _after_conv(lambda n, x: n.op("Mul", x, n.const())),
        "batch norm folded": lambda: _after_conv(_batch_norm),
        "batch norm alone": lambda: _after_conv(lambda n, x: _batch_norm(n, n.op("Relu", x))),
        "max pool": lambda: _after_conv(
            lambda n, x: n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        ),
        "max pool padded after relu": lambda: _after_conv(
            lambda n, x: n.op(
                "MaxPool", n.op("Relu", x), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
            ),
            size=8,
        ),
        "average pool, padding counted": lambda: _avg(1),
        "average pool, padding not counted": lambda: _avg(0),
        "concat": lambda: _after_conv(lambda n, x: n.op("Concat", x, n.op("Relu", x), axis=1), 8),
        "pad": lambda: _after_conv(_eye_pad),
        "flatten a picture": lambda: _flattened(Net()),
        "matmul and add": lambda: _matmul(Net()),
        "reduce mean": lambda: _mean(Net()),
        "exporter's flatten, open batch, softmax": lambda: _exporters_flatten(Net()),
        "softmax, identity": lambda: _softmax_then("Identity"),
        "softmax, dropout": lambda: _softmax_then("Dropout"),
        "depthwise auto same upper of 2x2": lambda: _after_conv(
            lambda n, x: n.conv(x, 4, 1, 3, group=4, auto_pad="SAME_UPPER"), size=2
        ),
        "average pool auto same, padding counted": lambda: _after_conv(
            lambda n, x: n.op(
                "AveragePool",
                x,
                kernel_shape=[3, 3],
                auto_pad="SAME_UPPER",
                count_include_pad=1,
            )
        ),
        "identity and dropout": lambda: _after_conv(
            lambda n, x: n.op("Dropout", n.op("Identity", x))
        ),
        "old opset": _old,
    }


def _softmax_then(last: str) -> Any:
    net = Net()
    logits = head(net, net.conv("input", 4, 3, 3), 4)
    return net.model(net.op(last, net.op("Softmax", logits)))


def _hard_swish() -> Any:
    return _pooled(lambda n: (n.op("HardSwish", n.conv("input", 4, 3, 3)), 4), opset=14)


def _old() -> Any:
    net = Net()
    x = net.op("Clip", net.conv("input", 4, 3, 3), min=0.0, max=6.0)
    return net.model(head(net, x, 4), opset=9)


def bad() -> dict[str, Callable[[], Any]]:
    value = helper.make_tensor_value_info
    return {
        "groups": lambda: _after_conv(lambda n, x: n.conv(x, 4, 2, 3, group=2)),
        "dynamic height": lambda: _pooled(
            lambda n: (n.conv("input", 4, 3, 3), 4), shape=(1, 3, "height", 9)
        ),
        "batch of 2": lambda: _pooled(lambda n: (n.conv("input", 4, 3, 3), 4), shape=(2, 3, 9, 9)),
        "four channels": lambda: _pooled(
            lambda n: (n.conv("input", 4, 4, 3), 4), shape=(1, 4, 9, 9)
        ),
        "channels last": lambda: _pooled(lambda n: (n.op("Relu", "input"), 9), shape=(1, 9, 9, 3)),
        "two inputs": lambda: _pooled(
            lambda n: (n.op("Add", "input", "other"), 3),
            extra=[value("other", TensorProto.FLOAT, (1, 3, 9, 9))],
        ),
        "unsupported operator": lambda: _after_conv(lambda n, x: n.op("Erf", x)),
        "several unsupported": lambda: _after_conv(lambda n, x: n.op("Elu", n.op("Softplus", x))),
        "opset 6": lambda: _pooled(lambda n: (n.conv("input", 4, 3, 3), 4), opset=6),
        "opset 99": lambda: _pooled(lambda n: (n.conv("input", 4, 3, 3), 4), opset=99),
        "odd clip": lambda: _after_conv(lambda n, x: _clip(n, x, -1, 1)),
        "padded max pool of negatives": lambda: _after_conv(
            lambda n, x: n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
            size=8,
        ),
        "no classifier": _only_conv,
        "weights from outside": _computed_weight,
    }


def _only_conv() -> Any:
    net = Net()
    return net.model(net.conv("input", 4, 3, 3))


def _computed_weight() -> Any:
    net = Net()
    x = net.op("Flatten", net.op("GlobalAveragePool", "input"))
    return net.model(net.op("MatMul", x, net.op("Transpose", x, perm=[1, 0])))


def run_good(name: str) -> dict[str, Any]:
    """Largest difference between ONNX Runtime on the original and TFLite on our translation."""
    model = good()[name]()
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    images = RNG.standard_normal((3, shape[2], shape[3], 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    plain = onnx_graph.normalise(model, name)
    data = onnx_to_tflite.convert(plain, name)
    expected = []
    for image in images:
        row = session.run(None, {"input": image.transpose(2, 0, 1)[None]})[0].reshape(-1)
        expected.append(row)
    reference = np.stack(expected)
    actual = Runner(data).run(images)
    if any(node.op_type == "Softmax" for node in model.graph.node):
        actual = np.exp(actual) / np.exp(actual).sum(1, keepdims=True)
    return {
        "difference": float(np.abs(reference - actual).max()),
        "spread": float(np.abs(reference).max()),
        "faults": tflite_file.buffer_faults(data),
        "same_bytes": data == onnx_to_tflite.convert(plain, name),
        "operators": tflite_file.describe(data, name).operators,
    }


def run_bad(name: str) -> str:
    """The message of the refusal."""
    try:
        onnx_to_tflite.convert(onnx_graph.normalise(bad()[name](), name), name)
    except UserError as error:
        return str(error)
    return "was taken"


def tiny_classifier(path: str, classes: int = 5, size: int = 32) -> None:
    """A small network with every layer kind that both converters know, written as ONNX."""
    net = Net(size)
    x = net.op("Relu", net.conv("input", 8, 3, 3, pads=[1] * 4, strides=[2, 2]))
    x = _clip(net, net.conv(x, 8, 1, 3, group=8, pads=[1] * 4), 0, 6)
    x = net.op("Add", net.conv(x, 8, 8, 1), x)
    # The checker of a whole file wants the output's shape, which the single cases leave open.
    onnx.save(onnx.shape_inference.infer_shapes(net.model(head(net, x, 8, classes))), path)


def read_file(content: str) -> str:
    """The message that a broken ONNX file gives; ``content`` is latin-1."""
    path = Path(tempfile.mkdtemp()) / "broken.onnx"
    if content != "absent":
        path.write_bytes(content.encode("latin-1"))
    try:
        onnx_graph.load(path)
    except UserError as error:
        return str(error)
    return "was taken"


def refused_files() -> dict[str, str]:
    """The message for files whose fault is not where the checker finds one first."""
    messages = {}
    for name in ("opset 6", "opset 23", "no such operator"):
        # Clip has three inputs since opset 11, so the checker objects to it in an older one.
        model = _pooled(lambda n: (_clip(n, n.conv("input", 4, 3, 3), 0, 6), 4))
        model = onnx.shape_inference.infer_shapes(model)  # the checker wants the output's shape
        if name.startswith("opset"):
            model.opset_import[0].version = int(name[6:])
        else:
            model.graph.node[0].op_type = "NoSuchOp"
        path = Path(tempfile.mkdtemp()) / "refused.onnx"
        path.write_bytes(model.SerializeToString())
        try:
            onnx_graph.load(path)
            messages[name] = "was taken"
        except UserError as error:
            messages[name] = str(error)
    return messages


def truncated_onnx() -> str:
    path = Path(tempfile.mkdtemp()) / "cut.onnx"
    data = good()["conv valid"]().SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    try:
        onnx_graph.normalise(onnx_graph.load(path), "cut.onnx")
    except UserError as error:
        return str(error)
    return "was taken"


def names() -> dict[str, list[str]]:
    return {"good": list(good()), "bad": list(bad())}


def dead_channel() -> dict[str, float]:
    """What raising a dead channel's weights changes, and that the int8 bias then fits."""
    net = Net()
    x = net.conv("input", 4, 3, 3)
    model = net.model(head(net, x, 4))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight = numpy_helper.to_array(tensors["c0"]).copy()
    bias = numpy_helper.to_array(tensors["c1"]).copy()
    weight[2], weight[3], bias[2], bias[3] = 1e-12, 0.0, 3.0, -2.0
    tensors["c0"].CopyFrom(numpy_helper.from_array(weight, "c0"))
    tensors["c1"].CopyFrom(numpy_helper.from_array(bias, "c1"))
    fixed = onnx_graph.normalise(model, "dead")
    image = RNG.standard_normal((1, 3, 9, 9)).astype(np.float32)
    runs = [
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"input": image})[0]
        for m in (model, fixed)
    ]
    after = onnx_graph.constants(fixed.graph)["c0"]
    share = np.abs(after[2:]).reshape(2, -1).max(1) / np.abs(bias[2:])
    return {"change": float(np.abs(runs[0] - runs[1]).max()), "share": float(share.min())}


def run_all() -> dict[str, Any]:
    """Every case of both kinds."""
    return {
        "good": {name: run_good(name) for name in good()},
        "bad": {name: run_bad(name) for name in bad()},
    }
