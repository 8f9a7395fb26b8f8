"""Runs inside the models environment: checkpoints, pictures, quantisation."""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from graph_cases import RNG, Net, head  # type: ignore[import-not-found]
from onnx import numpy_helper
from PIL import Image

from pico_image.base.errors import UserError
from pico_image.models.worker import (
    make_tflite,
    networks,
    onnx_graph,
    onnx_to_tflite,
    pictures,
    prepare,
    rounding,
    tflite_file,
)
from pico_image.models.worker.jobs import Input, Resize, rebuild

CARD = Input(
    width=16,
    height=16,
    color="RGB",
    mean=[127.0] * 3,
    std=[128.0] * 3,
    resize=Resize("center-crop", 0.875),
)


class Bomb:
    """Unpickled by anything but a restricted unpickler, it leaves a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


def _message(function: Any, *arguments: Any) -> str:
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return "was taken"


def malicious_pickle(position: str) -> dict[str, Any]:
    """A checkpoint that tries to open a file when it is loaded."""
    folder = Path(tempfile.mkdtemp())
    bomb = Bomb(str(folder / "exploded"))
    stages: list[Any] = [prepare.PTH_MAGIC, prepare.PTH_PROTOCOL, {}, {"w": 1}, []]
    stages[{"header": 2, "state": 3, "keys": 4}[position]] = bomb
    path = folder / "evil.pth"
    path.write_bytes(b"".join(pickle.dumps(stage, protocol=2) for stage in stages))
    message = _message(prepare.read_pth, path)
    return {"message": message, "exploded": (folder / "exploded").exists()}


def checkpoint(original: str, cut: int | None) -> str:
    """The message for a checkpoint cut after ``cut`` bytes, or with its first bytes changed."""
    data = Path(original).read_bytes()
    path = Path(tempfile.mkdtemp()) / "weights.pth"
    path.write_bytes(b"PK\x03\x04" + data[4:] if cut is None else data[:cut])
    return _message(prepare.read_pth, path)


def tensors(original: str) -> dict[str, Any]:
    found = prepare.read_pth(Path(original))
    stem = found["_conv_stem.weight"]
    return {
        "count": len(found),
        "stem": list(stem.shape),
        "finite": all(bool(np.isfinite(tensor).all()) for tensor in found.values()),
        "spread": float(stem.std()),
    }


def foreign_weights() -> str:
    return _message(
        networks.efficientnet_lite0, {"layer.weight": np.zeros((1, 1, 1, 1), np.float32)}
    )


def broken_sets(folder: str) -> dict[str, str]:
    """The refusal of each kind of calibration folder that is no good."""
    root = Path(folder)

    def fill(name: str, count: int, alike: bool = False) -> Path:
        place = root / name
        place.mkdir()
        for number in range(count):
            pixels = RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8)
            if alike:
                pixels = np.full((40, 50, 3), 90, np.uint8)
            Image.fromarray(pixels).save(place / f"{number:02d}.png")
        return place

    few, alike, broken, alpha, cmyk, good = (
        fill("few", 9),
        fill("alike", 12, True),
        fill("broken", 12),
        fill("alpha", 12),
        fill("cmyk", 12),
        fill("good", 12),
    )
    (broken / "cut.png").write_bytes((broken / "00.png").read_bytes()[:300])
    (broken / "text.jpg").write_text("not a picture")
    Image.new("RGBA", (20, 20)).save(alpha / "alpha.png")
    Image.new("CMYK", (20, 20)).save(cmyk / "cmyk.jpg")
    places = {
        "few": few,
        "alike": alike,
        "broken": broken,
        "alpha": alpha,
        "cmyk": cmyk,
        "good": good,
        "absent": root / "absent",
        "empty": root / "empty",
    }
    (root / "empty").mkdir()

    def take(place: Path) -> None:
        kept, held = pictures.user_folder(place, CARD)
        assert not {name for name, _ in kept} & {name for name, _ in held}

    return {name: _message(take, place) for name, place in places.items()}


def crops() -> dict[str, Any]:
    """That calibration and held-out crops share no pixel, and come out the same every time."""
    width = 101
    ramp = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None] * 2, (60, width, 3))
    photographs = [("ramp.png", Image.fromarray(np.ascontiguousarray(ramp)))]
    kept = pictures.crops(photographs, 20, 5, CARD, held_out=False)
    again = pictures.crops(photographs, 20, 5, CARD, held_out=False)
    other = pictures.crops(photographs, 20, 6, CARD, held_out=False)
    held = pictures.crops(photographs, 20, 5, CARD, held_out=True)
    return {
        "brightest kept": int(max(pixels.max() for _, pixels in kept)),
        "darkest held": int(min(pixels.min() for _, pixels in held)),
        "same": all((a[1] == b[1]).all() for a, b in zip(kept, again, strict=True)),
        "other seed same": all((a[1] == b[1]).all() for a, b in zip(kept, other, strict=True)),
    }


def preprocessing() -> dict[str, Any]:
    """The crop rule on a picture whose columns and rows carry their numbers."""
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :, 0] = np.arange(80)
    picture[:, :, 1] = np.arange(40)[:, None]
    image = Image.fromarray(picture)
    card = replace(CARD, width=35, height=35)
    pixels = pictures.prepare(image, card)
    reversed_card = pictures.prepare(image, replace(card, color="BGR"))
    stretch = pictures.prepare(image, replace(card, resize=Resize("stretch", 1.0)))
    return {
        "corner": pixels[0, 0].tolist(),
        "end": pixels[-1, -1].tolist(),
        "bgr": reversed_card[0, 0].tolist(),
        "stretch": [int(stretch[0, 0, 0]), int(stretch[0, -1, 0])],
        "normalised": networks.normalise(np.full((1, 1, 1, 3), 255, np.uint8), CARD).tolist(),
    }


def rounding_gain() -> dict[str, Any]:
    """Noise of a small convolution's output: to the nearest, and as ``rounding.fit`` has it."""
    net = Net(24)
    x = net.op("Relu", net.conv("input", 8, 3, 3))
    model = onnx_graph.normalise(net.model(head(net, x, 8)), "gain")
    # Colours of a picture go together, which is what rounding to the nearest does badly on.
    grey = RNG.standard_normal((40, 24, 24, 1)) + 3 * RNG.standard_normal((40, 1, 1, 1))
    images = (grey + 0.1 * RNG.standard_normal((40, 24, 24, 3))).astype(np.float32)
    float_model = onnx_to_tflite.convert(model, "gain")
    reference = make_tflite.Runner(float_model).run(images)
    result: dict[str, Any] = {}
    for scheme in ("symmetric", "asymmetric"):
        nearest = onnx.ModelProto.FromString(model.SerializeToString())
        for tensor in nearest.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.ndim > 1:
                rows = value.reshape(len(value), -1).astype(np.float64)
                grid = rounding.Grid.of(rows, scheme)
                rounded = grid.values(grid.nearest(rows)).reshape(value.shape)
                tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
        fitted = rounding.fit(model, images, scheme)
        for name, graph in (("nearest", nearest), ("fitted", fitted)):
            logits = make_tflite.Runner(onnx_to_tflite.convert(graph, name)).run(images)
            result[f"{scheme} {name}"] = float(((logits - reference) ** 2).mean())
        weight = onnx_graph.constants(fitted.graph)["c0"].reshape(8, -1).astype(np.float64)
        grid = rounding.Grid.of(weight, scheme)
        on_grid = np.abs(grid.values(grid.nearest(weight)) - weight).max()
        result[f"{scheme} off grid"] = float(on_grid / np.abs(weight).max())
    return result


def rounding_of_small_maps() -> dict[str, bool]:
    """That ``rounding.fit`` takes windows larger than the map, as auto_pad allows."""
    results = {}
    for auto in ("SAME_UPPER", "SAME_LOWER"):
        net = Net(2)
        x = net.conv("input", 4, 3, 1)
        x = net.op("Conv", x, net.const(4, 1, 3, 3), net.const(4), group=4, auto_pad=auto)
        model = onnx_graph.normalise(net.model(head(net, x, 4)), auto)
        images = RNG.standard_normal((12, 2, 2, 3)).astype(np.float32)
        fitted = rounding.fit(model, images, "symmetric")
        before, after = (make_tflite.run_onnx(graph, images) for graph in (model, fitted))
        results[auto] = bool(np.abs(before - after).max() < 0.1 * np.abs(before).max())
    return results


def quantised_twice() -> dict[str, Any]:
    """Two quantisations of one network: the same bytes, int8 from end to end, 16-byte aligned."""
    net = Net(32)
    x = net.op("Relu", net.conv("input", 8, 3, 3, strides=[2, 2]))
    # Above 256 kB the quantiser puts weights outside the flatbuffer.
    x = net.op("Relu", net.conv(x, 256, 8, 7))
    x = net.op("Relu", net.conv(x, 256, 256, 3))
    model = onnx_graph.normalise(net.model(head(net, x, 256)), "twice")
    images = RNG.standard_normal((12, 32, 32, 3)).astype(np.float32)
    results = []
    for _ in range(2):
        fitted = onnx_to_tflite.convert(rounding.fit(model, images, "symmetric"), "twice")
        float_model = onnx_to_tflite.convert(model, "twice")
        results.append(make_tflite.quantize(float_model, fitted, images, Path(tempfile.mkdtemp())))
    data = results[0]
    cut = _message(tflite_file.describe, data[: len(data) // 3], "cut.tflite")
    reference = make_tflite.Runner(float_model).run(images)
    answers = make_tflite.Runner(data).run(images)
    cosine = (reference * answers).sum() / np.linalg.norm(reference) / np.linalg.norm(answers)
    saturated = make_tflite.Runner(data).run(images * 1.0).max() / reference.max()
    return {
        "same": results[0] == results[1],
        "bytes": len(data),
        "faults": tflite_file.buffer_faults(data),
        "facts": asdict(tflite_file.describe(data, "twice")),
        "cut": cut,
        "cosine": float(cosine),
        "peak": float(saturated),
    }


def golden(folder: str) -> list[dict[str, float]]:
    """Golden vectors of a conversion against its int8 TFLite model, per vector."""
    import json

    base = Path(folder)
    sidecar = json.loads((base / "model.rknn.json").read_text(encoding="utf-8"))
    listed = json.loads((base / "golden/golden.json").read_text(encoding="utf-8"))
    card = json.loads((base / "model.json").read_text(encoding="utf-8"))
    runner = make_tflite.Runner((base / "int8.tflite").read_bytes())
    size = (card["input"]["height"], card["input"]["width"], 3)
    rows = []
    for entry in listed["vectors"]:
        pixels = (base / "golden" / entry["input"]).read_bytes()
        image = np.frombuffer(pixels, np.uint8).reshape(size)
        answer = (base / "golden" / entry["output"]).read_bytes()
        steps = np.frombuffer(answer, np.int8).astype(np.float64)
        real = (steps - sidecar["output"]["zero_point"]) * sidecar["output"]["scale"]
        normal = networks.normalise(image[None], rebuild(Input, card["input"]))
        ours = runner.run(normal)[0].astype(np.float64)
        scale, zero = sidecar["output"]["scale"], sidecar["output"]["zero_point"]
        off = np.abs(np.clip(np.rint(ours / scale) + zero, -128, 127) - steps).max()
        rows.append(
            {
                "off": float(off),
                "allowed": listed["tolerance_steps"],
                "lead": entry["lead_steps"],
                "classes": len(steps),
                "top1": int(real.argmax()) == entry["top1"],
                "ours": int(ours.argmax()) == entry["top1"],
                "cosine": float(ours @ real / np.linalg.norm(ours) / np.linalg.norm(real)),
            }
        )
    return rows


def outside_weights(path: str) -> None:
    """A TFLite model whose weights lie behind the flatbuffer, as the quantiser leaves them."""
    from ai_edge_quantizer import quantizer, recipe

    net = Net(32)
    x = net.op("Relu", net.conv("input", 512, 3, 15))
    model = onnx_graph.normalise(net.model(head(net, x, 512)), "outside")
    source = Path(tempfile.mkdtemp()) / "float.tflite"
    source.write_bytes(onnx_to_tflite.convert(model, "outside"))
    worker = quantizer.Quantizer(str(source), recipe.dynamic_wi8_afp32())
    data = bytes(worker.quantize(enable_progress_bar=False).quantized_model)
    Path(path).write_bytes(data)


def tiny_tflite(path: str, classes: int = 5) -> None:
    net = Net(32)
    output = head(net, net.conv("input", 4, 3, 3), 4, classes)
    model = onnx_graph.normalise(net.model(output), "tiny")
    Path(path).write_bytes(onnx_to_tflite.convert(model, "tiny"))
