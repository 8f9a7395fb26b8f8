"""Check an ONNX classifier and bring it into the one form that both converters read.

After ``normalise`` a graph has one float32 NCHW input with a fixed shape and batch 1, one output
of logits, constants as initialisers, explicit pads, no BatchNormalization after a convolution, no
Softmax at the end, and no output channel whose int8 bias would overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper, shape_inference, version_converter
from onnx.reference import ReferenceEvaluator

from pico_image.base.errors import UserError
from pico_image.models.worker.networks import IR_VERSION, OPSET, Array, same_pads

OPSETS = range(7, 20)
#: |weight| is raised to this share of |bias| in channels that training left for dead (103 of
#: EfficientNet-Lite0's 22,008 have weights of 1e-10). A quantiser's int32 bias is
#: bias / (input scale * max|weight| / 127) and overflowed to INT_MIN there. At an input scale of
#: 6/255 the limit is 2.5e-6; this leaves a factor 40 and changes no logit noticeably.
DEAD_SHARE = 1e-4


def load(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file. Raises UserError for a file that is missing, cut short, or not ONNX, and
    for an opset that rknn-toolkit2 cannot read.
    """
    try:
        model = onnx.load(str(path))
        if not model.graph.node:
            raise UserError(f"{path} is not an ONNX model, or an empty one")
        # The checker would find fault with the operators of a foreign opset first.
        opset_of(model, path.name)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise UserError(
            f"could not find the ONNX model {path} or the data that it names"
        ) from error
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        if "No Op registered for" in str(error):
            raise UserError(
                f"{path} uses an operator that ONNX does not have: {str(error).splitlines()[0]}",
                hint="export it with standard operators alone",
            ) from error
        raise UserError(
            f"could not read {path} as an ONNX model: {str(error).splitlines()[0]}",
            hint="is the file whole? compare its size and hash with the original",
        ) from error
    return model


def normalise(model: onnx.ModelProto, what: str) -> onnx.ModelProto:
    """A new model in the form that the module docstring describes.

    Raises UserError for several inputs or outputs, dynamic axes other than the batch, another
    element type, another rank, or an opset that rknn-toolkit2 cannot read.
    """
    opset = opset_of(model, what)
    foreign = sorted({o.domain for o in model.opset_import if o.domain not in ("", "ai.onnx")})
    used = sorted(
        {node.domain for node in model.graph.node if node.domain in foreign and node.domain}
    )
    if used:
        raise UserError(f"{what} uses operators of its own domain {used[0]!r}")
    model = onnx.ModelProto.FromString(model.SerializeToString())
    if opset < OPSET:
        model = _upgrade(model, opset, what)
    del model.metadata_props[:]
    model.ir_version = min(model.ir_version, IR_VERSION)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UserError(
            f"{what} has {len(inputs)} inputs ({', '.join(v.name for v in inputs) or 'none'}) and "
            f"{len(graph.output)} outputs; a classifier has one of each"
        )
    _fix_shape(inputs[0], what)
    del graph.input[:]
    graph.input.append(inputs[0])
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    _fold_constants(model, what)
    _drop_ends(graph)
    _fold_batch_norms(graph)
    _revive_dead_channels(graph)
    _drop_unused(graph)
    model = _infer(model, what)
    _make_pads_explicit(model)
    shape = output_shape(model)
    if len([size for size in shape if size > 1]) > 1:
        raise UserError(
            f"{what} ends in a tensor of shape {shape}; a classifier ends in one score per class"
        )
    return model


def opset_of(model: onnx.ModelProto, what: str) -> int:
    """The version of the standard operators. Raises UserError for one that cannot be converted."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise UserError(
            f"{what} is of opset {opset}; {OPSETS.start} to {OPSETS.stop - 1} can be converted",
            hint="export it again with opset 13",
        )
    return int(opset)


def _upgrade(model: onnx.ModelProto, opset: int, what: str) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the C++ converter raises RuntimeError and its own types
        raise UserError(
            f"could not bring {what} from opset {opset} to {OPSET}: {str(error).splitlines()[0]}",
            hint=f"export it again with opset {OPSET}",
        ) from error


def _fix_shape(value: onnx.ValueInfoProto, what: str) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise UserError(f"the input of {what} is not float32")
    dims = tensor.shape.dim
    shown = [d.dim_value or d.dim_param or "?" for d in dims]
    if len(dims) != 4:
        raise UserError(f"the input of {what} has shape {shown}; N, C, H, W is needed")
    if not dims[0].HasField("dim_value") or dims[0].dim_value < 1:
        dims[0].dim_value = 1  # exporters leave the batch open as a habit; a board runs one
    dynamic = [str(s) for s, d in zip(shown[1:], list(dims)[1:], strict=True) if d.dim_value < 1]
    if dynamic:
        raise UserError(
            f"the input of {what} has dynamic axes: {shown}",
            hint="export it with a fixed height and width; the NPU has no dynamic shapes",
        )
    if dims[0].dim_value != 1 or dims[1].dim_value != 3:
        raise UserError(
            f"the input of {what} has shape {shown}; a batch of 1 and 3 channels (NCHW) are needed",
            hint="a graph exported from TensorFlow is NHWC: export it with inputs as NCHW"
            if dims[3].dim_value == 3
            else "export it with a batch of 1 and a three-channel input",
        )


def _infer(model: onnx.ModelProto, what: str) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # the C++ checker raises several types
        raise UserError(
            f"the shapes of {what} do not fit together: {str(error).splitlines()[0]}"
        ) from error


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of every value that is known, initialisers included."""
    graph = model.graph
    known = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            if all(d.HasField("dim_value") for d in dims):
                known[value.name] = tuple(d.dim_value for d in dims)
    return known


def output_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    return shapes(model).get(model.graph.output[0].name, ())


def constants(graph: onnx.GraphProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _fold_constants(model: onnx.ModelProto, what: str) -> None:
    """Compute what depends on no input: Constant nodes and exporters' shape arithmetic."""
    graph = model.graph
    known = constants(graph)
    sizes = shapes(_infer(model, what))
    kept = []
    for node in graph.node:
        size = sizes.get(node.input[0]) if node.op_type == "Shape" else None
        if size is not None and not node.attribute:
            results = [np.asarray(size, np.int64)]
        elif all(name in known or not name for name in node.input) and "If" not in node.op_type:
            feed = {name: known[name] for name in node.input if name}
            results = ReferenceEvaluator(_single(node, model)).run(None, feed)
        else:
            kept.append(node)
            continue
        for name, value in zip(node.output, results, strict=True):
            known[name] = np.asarray(value)
            graph.initializer.append(numpy_helper.from_array(known[name], name))
    del graph.node[:]
    graph.node.extend(kept)


def _single(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_empty_tensor_value_info(name) for name in node.input if name],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    return helper.make_model(graph, opset_imports=model.opset_import)


def _drop_ends(graph: onnx.GraphProto) -> None:
    """Remove Identity and Dropout everywhere, then a Softmax that is the last node.

    A Softmax at the end makes the NPU's output float16 with no scale (rknn.md); the runner
    computes it instead.
    """
    _bypass(graph, lambda node: node.op_type in ("Identity", "Dropout"))
    # Only now is the last node known: some exporters end in Softmax, Identity.
    output = graph.output[0].name
    _bypass(graph, lambda node: "Softmax" in node.op_type and output in node.output)


def _bypass(graph: onnx.GraphProto, dropped: Callable[[onnx.NodeProto], bool]) -> None:
    """Remove nodes; readers of their output get their input."""
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        inputs = [renamed.get(name, name) for name in node.input]
        if dropped(node):
            renamed[node.output[0]] = inputs[0]
            continue
        del node.input[:]
        node.input.extend(inputs)
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    output = graph.output[0].name
    graph.output[0].name = renamed.get(output, output)


def _make_pads_explicit(model: onnx.ModelProto) -> None:
    """Write out the ``pads`` that ``auto_pad`` stands for, so that every reader sees the same.

    A depthwise layer with SAME_UPPER on a map of 2x2 ended in a traceback of ``rounding``, which
    did not know ``auto_pad`` and found no window of 3x3.
    """
    sizes = shapes(model)
    for node in model.graph.node:
        options = attributes(node)
        auto = options.get("auto_pad", b"NOTSET")
        size = sizes.get(node.input[0], ()) if auto != b"NOTSET" else ()
        if len(size) != 4:
            continue
        kernel = options.get("kernel_shape") or sizes[node.input[1]][2:]
        strides, dilations = (options.get(key, [1, 1]) for key in ("strides", "dilations"))
        pads = [0, 0, 0, 0]
        if auto != b"VALID":
            pads = same_pads((size[2], size[3]), kernel, strides, dilations)
        if auto == b"SAME_LOWER":
            pads = [*pads[2:], *pads[:2]]
        kept = [each for each in node.attribute if each.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", pads)])


def _fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Fold every BatchNormalization that follows a convolution of its own into it."""
    known = constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    removed = []
    for node in graph.node:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or users[node.input[0]] != 1:
            continue
        if conv.input[1] not in known or any(name not in known for name in node.input[1:5]):
            continue
        gamma, beta, mean, variance = (known[name].astype(np.float64) for name in node.input[1:5])
        scale = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        weight = known[conv.input[1]] * scale[:, None, None, None]
        old = known[conv.input[2]] if len(conv.input) > 2 else 0.0
        names = [f"{node.name or node.output[0]}.folded.{part}" for part in ("weight", "bias")]
        for name, value in zip(names, (weight, (old - mean) * scale + beta), strict=True):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        first = conv.input[0]
        del conv.input[:], conv.output[:]
        conv.input.extend([first, *names])
        conv.output.append(node.output[0])
        removed.append(node)
    for node in removed:
        graph.node.remove(node)


def _revive_dead_channels(graph: onnx.GraphProto) -> None:
    """Raise the weights of channels whose int8 bias would overflow."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        if node.input[1] not in tensors or node.input[2] not in tensors:
            continue
        tensor = tensors[node.input[1]]
        weight = numpy_helper.to_array(tensor).copy()
        bias = np.abs(numpy_helper.to_array(tensors[node.input[2]]))
        rows = weight if node.op_type == "Conv" or attributes(node).get("transB") else weight.T
        if bias.ndim != 1 or bias.shape[0] != rows.shape[0]:
            continue
        flat = rows.reshape(rows.shape[0], -1) if node.op_type == "Conv" else rows
        peak = np.abs(flat).max(axis=1)
        for channel in np.nonzero(peak < DEAD_SHARE * bias)[0]:
            if peak[channel] > 0:
                flat[channel] *= DEAD_SHARE * bias[channel] / peak[channel]
            else:
                flat[channel, 0] = DEAD_SHARE * bias[channel]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), tensor.name))


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {name for node in graph.node for name in node.input} | {graph.output[0].name}
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    if graph.output[0].name == graph.input[0].name:
        raise UserError("the model computes nothing")
    del graph.value_info[:]


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of one inference: those of Conv, Gemm and MatMul, bias not counted."""
    sizes = shapes(model)
    total = 0
    for node in model.graph.node:
        output = int(np.prod(sizes[node.output[0]], dtype=np.int64))
        if node.op_type == "Conv":
            total += output * int(np.prod(sizes[node.input[1]][1:], dtype=np.int64))
        elif node.op_type in ("Gemm", "MatMul"):
            transposed = node.op_type == "Gemm" and attributes(node).get("transA")
            total += output * sizes[node.input[0]][0 if transposed else -1]
    return total
