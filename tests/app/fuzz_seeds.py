"""The seeds of the fuzz targets in app/fuzz: small valid files of every kind.

Files that once broke something are kept in ``tests/app/fuzz/TARGET`` and are run with them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.app.pictures import encoded, scene
from tests.support import rknn_writer, tflite_writer
from tests.support.model_cards import CLASSES, add_golden, model_folder

FOUND = Path(__file__).parent / "fuzz"
#: The first four bytes of a picture's input: flags, crop, width, height.
CHOICES = (b"\0\x57\x0f\x0f", b"\x05\0\x07\x20", b"\x2b\x20\x1f\x07")


def options() -> dict[str, bytes]:
    runner = "--model\nm.tflite\n--image\na.png\n"
    lines = {
        "runner": runner + "--min-runs=7\n--min-secs\n0.5\n--top-k\n3\n--json\n-\n--logits",
        "raw": runner + "--raw-size\n20x10\n--exact-decode\n--labels=l\n--card=c\n--threads\n2",
        "bench": "--quick\n--rounds=2\n--engine\nnpu\n--models\nm\n--max-secs=9\n--keep-governor",
        "style": "--mlperf-style\n--min-secs=1\n--warmup-runs\n2\n--output=o\n--programs\np",
    }
    return {
        f"{name}-{who}": bytes([who]) + text.encode()
        for name, text in lines.items()
        for who in range(3)
    }


def pictures() -> dict[str, bytes]:
    rgb = scene(24, 18)
    files = {
        "baseline": encoded(rgb, "JPEG", quality=60),
        "progressive": encoded(rgb, "JPEG", progressive=True, quality=60),
        "full-chroma": encoded(rgb, "JPEG", subsampling=0, quality=60),
        "restart": encoded(rgb, "JPEG", restart_marker_blocks=1, quality=60),
        "grey": encoded(rgb.convert("L"), "JPEG"),
        "cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "rgb": encoded(rgb, "PNG"),
        "palette": encoded(rgb.quantize(16), "PNG"),
        "alpha": encoded(rgb.convert("RGBA"), "PNG"),
        "bits": encoded(rgb.convert("1"), "PNG"),
        "grey16": encoded(Image.new("I;16", (9, 7), 40000), "PNG"),
        "raw": bytes(range(192)),
    }
    return {
        f"{name}-{i}": choice + content
        for name, content in files.items()
        for i, choice in enumerate(CHOICES)
    }


def models() -> dict[str, bytes]:
    return {
        "float32": tflite_writer.classifier("float32", 4, 3),
        "int8": tflite_writer.classifier("int8", 4, 3),
        "two-inputs": tflite_writer.two_inputs(),
        "outside": tflite_writer.weights_outside()[:4096],
    }


def rknn() -> dict[str, bytes]:
    return {
        "good": rknn_writer.rknn(20, CLASSES),
        "four": rknn_writer.rknn(20, CLASSES, output=[1, CLASSES, 1, 1]),
        "two": rknn_writer.rknn(20, CLASSES, inputs=2),
        "other": rknn_writer.rknn(20, CLASSES, platform="rk3588"),
    }


SEEDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "options": options,
    "picture": pictures,
    "rknn": rknn,
    "tflite": models,
}


#: Texts with something that npu-doctor masks.
PRIVATE = (
    "eth0: 02:11:22:33:44:55 021122334455 02-11-22-33-44-55 0211.2233.4455",
    "inet 192.168.1.10/24 inet6 fe80::1/64 ::ffff:10.0.0.1 2001:db8:0:1:2:3:4:5",
    "Linux version 5.10 (me@build) mail a@b.org mmc@ffa90000 http://x.org/ /home/me/x",
    'ip=10.0.0.2:::255.0.0.0:kitchen:eth0 wifi_psk=abc ssid="a b" SSID: c d, Serial\t: 12ab34cd',
    "root=UUID=1b4e28ba-2fa1-11d2-883f-0016d3cca427 root:$6$salt$0123456789ab: <mac-1> kitchen.lan",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\nrest",
    '{"password": "x", "a": ["10.0.0.1", {"b": "AAAAC3NzaC1lZDI1NTE5AAAAIJ0abcdefghijklmnopqrs"}]}',
)


def write_corpus(target: str, folder: Path) -> None:
    """Valid inputs of ``target`` and what was found before, as one folder."""
    folder.mkdir(parents=True)
    if target == "card":
        made = model_folder(folder.parent / "card-model", npu=True)
        shutil.copy(made / "model.json", folder / "card")
    elif target == "golden":
        made = model_folder(folder.parent / "golden-model", npu=True)
        answers = {"000-cat": (b"pixels", b"\0\1\2"), "held-out-1": (b"pixels", b"\3\1\2")}
        shutil.copy(add_golden(made, answers) / "golden.json", folder / "list")
    elif target == "mask":
        for number, line in enumerate(PRIVATE):
            (folder / str(number)).write_text(line)
    elif target == "labels":
        (folder / "unix").write_bytes(b"tench\ngoldfish\ngreat white shark\n")
        (folder / "dos").write_bytes("tench\r\nK\u00e4tzchen\r\n\r\n".encode())
    else:
        for name, content in SEEDS[target]().items():
            (folder / name).write_bytes(content)
    for path in sorted((FOUND / target).glob("*")):
        shutil.copy(path, folder / f"found-{path.name}")
