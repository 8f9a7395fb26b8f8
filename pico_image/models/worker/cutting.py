"""A network cut after each of its layers: prefix models, which tell the first layer that is wrong.

A prefix ends where the NPU has an int8 tensor of the whole model, too: at the end of what its
compiler fuses (Conv + Clip, Conv + Add). It holds everything that its last tensor depends on, and
the ends are chosen so that this is each layer before it: a wrong layer is in every prefix from its
own on. A tensor beside which another branch is still under way is no end, the one that joins
them is.

A prefix has the weights of the whole model (``fitted.onnx``) and is calibrated on the same
pictures, which gives its tensors the same scales (tests/models/test_cutting.py).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from pico_image.models.worker import toolkit
from pico_image.models.worker.jobs import Cut, Golden, RknnOptions, Step, tell, write_json
from pico_image.models.worker.make_rknn import vector
from pico_image.models.worker.onnx_graph import constants, shapes

#: Part of the layer before, when nothing else reads that one.
ACTIVATIONS = {"Clip", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"}
#: Moves bytes at most: part of the layer after.
MOVES = {"Flatten", "Pad", "Reshape", "Squeeze", "Unsqueeze"}
#: Pictures for each prefix: the answers of early layers have a megabyte each.
VECTORS = 2


def cuts(prepared: Path, out: Path) -> None:
    """Write ``cuts.json``: the prefixes of ``model.onnx`` in ``prepared``, the whole one last."""
    write_json(out / "cuts.json", find(onnx.load(str(prepared / "model.onnx"))))


def find(model: onnx.ModelProto) -> list[Cut]:
    """The ends of the prefixes, in order; the last one is the model's own output."""
    graph, sizes = model.graph, shapes(model)
    nodes, known = list(graph.node), constants(graph)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before: dict[str, set[int]] = {}
    found: list[Cut] = []
    steps: list[Step] = []
    for number, node in enumerate(nodes):
        own = {number}.union(*(before.get(name, set()) for name in node.input))
        before[node.output[0]] = own
        steps.append(
            Step(
                name=node.output[0],
                operator=node.op_type,
                inputs=[list(sizes[name]) for name in node.input if name and name not in known],
                output=list(sizes[node.output[0]]),
            )
        )
        last = node.output[0] == graph.output[0].name
        if last or (len(own) == number + 1 and not _goes_on(node, readers[node.output[0]])):
            found.append(Cut(tensor=node.output[0], steps=steps))
            steps = []
    return found


def _goes_on(node: onnx.NodeProto, readers: list[onnx.NodeProto]) -> bool:
    """Whether the layer of a node ends after it."""
    if node.op_type in MOVES:
        return True
    fused = ACTIVATIONS | ({"Add"} if node.op_type == "Conv" else set())
    return len(readers) == 1 and readers[0].op_type in fused


def prefix(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The part of a model that computes one of its tensors."""
    needed, nodes = {tensor}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    cut = onnx.ModelProto.FromString(model.SerializeToString())
    kept = [each for each in cut.graph.initializer if each.name in needed]
    del cut.graph.node[:], cut.graph.initializer[:], cut.graph.value_info[:], cut.graph.output[:]
    cut.graph.node.extend(reversed(nodes))
    cut.graph.initializer.extend(kept)
    size = shapes(model)[tensor]
    cut.graph.output.append(
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, size)
    )
    onnx.checker.check_model(cut)
    return cut


def make_prefix(options: RknnOptions, prepared: Path, rknn: Path, tensor: str, out: Path) -> None:
    """Convert and simulate the prefix that ends in ``tensor``; ``rknn``: folder of ``make_rknn``.

    Writes ``model.rknn``, ``quantities.json``, ``golden/`` and ``golden.json``. With mmse the
    ranges are those of normal: what mmse tries for minutes is not tried for each prefix.
    """
    if options.algorithm == "mmse":
        options = replace(options, algorithm="normal")
    onnx.save(prefix(onnx.load(str(rknn / "fitted.onnx")), tensor), "model.onnx")
    tell("quantising")
    toolkit.quantise(options, sorted((prepared / "calibration").glob("*.png")))
    tell("compiling")
    converted = toolkit.quantised(Path.cwd())
    toolkit.checked(converted.export_rknn(str(out / "model.rknn")), "export_rknn")
    tell("simulating")
    toolkit.checked(converted.init_runtime(), "init_runtime")
    held = dict(list(toolkit.pictures(prepared / "held-out").items())[:VECTORS])
    answers = toolkit.simulate(converted, list(held.values()))
    converted.release()
    quantities = toolkit.quantities(Path(toolkit.RANGES), Path("model.onnx"))
    write_json(out / "quantities.json", quantities)
    (out / "golden").mkdir()
    vectors = [
        vector(out, Path(name).stem, pixels, answer, quantities.output)
        for (name, pixels), answer in zip(held.items(), answers, strict=True)
    ]
    write_json(out / "golden.json", Golden(golden=vectors, photographs=[]))


def cut_tflite(tflite: Path, tensor: str, out: Path) -> None:
    """The same prefix of ``int8.tflite``, which a simulated NPU computes with.

    ``tflite``: folder of ``make_tflite``. Tensors of a ``.tflite`` have the ONNX graph's names.
    """
    from pico_image.models.worker import tflite_file

    model = tflite_file.unpack((tflite / "int8.tflite").read_bytes(), "int8.tflite")
    graph = model.subgraphs[0]
    names = [each.name.decode() for each in graph.tensors]
    graph.outputs = [names.index(tensor)]
    needed, kept = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(operator.inputs)
    graph.operators = kept[::-1]
    used = {graph.tensors[number].buffer for number in needed}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
    model.signatureDefs = None  # names the whole model's output
    (out / "int8.tflite").write_bytes(tflite_file.pack(model))
