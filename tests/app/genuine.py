"""Rockchip's own RKNN runtime without a board: on a stand-in for the kernel's driver.

``npu-runner`` and ``attributes-tool`` are linked with the vendor's ``librknnmrt.a`` and with
``rknpu_stub.c``, and run under user-mode QEMU. The runtime may not be passed on, so its owner
names its folder in RKNN_RUNTIME_DIR; nothing of it is kept in this repository but facts:
``python -m tests.app.genuine`` writes what it answers about the shipped models to RECORD, and
the simulator is held against that where nobody has the runtime.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pico_image.base.cache import build_once
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file, sha256_tree
from pico_image.config import configuration
from pico_image.models import convert, environment, rknn_file
from tests.app.build import build_inputs, cmake, vendor_options, vendor_runtime
from tests.support.arm import run_arm

HERE = Path(__file__).resolve().parent
STUB = HERE / "rknpu_stub.c"
NETWORKS = HERE / "layout_networks.py"
RECORD = HERE / "runtime_answers.json"
COMPILER = "arm-linux-gnueabihf-gcc"
STUB_FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror")
#: What the stub takes from whom it is linked with.
WRAP = "-Wl," + ",".join(
    f"--wrap={name}"
    for name in (
        *("close", "fopen", "fopen64", "ioctl", "mmap", "mmap64", "munmap"),
        *("open", "open64"),
    )
)
#: The models with a ``.rknn``.
SHIPPED = sorted(n for n, spec in configuration.load().models.items() if "npu" in spec.sets)

Answers = dict[str, dict[str, Any]]


def programs() -> Path:
    """The folder of a build with the vendor's runtime; skips where there is none."""
    runtime = vendor_runtime()
    options = [*vendor_options(runtime), "-DPICO_TOOLS=ON"]
    files = [runtime / "librknnmrt.a", runtime / "rknn_api.h", STUB, Path(__file__)]
    inputs = {**build_inputs(options, COMPILER), "files": sha256_tree(files)}

    def build(folder: Path) -> None:
        stub = folder / "rknpu_stub.o"
        subprocess.run([COMPILER, *STUB_FLAGS, "-c", STUB, "-o", stub], check=True)
        cmake(folder, *options, f"-DCMAKE_EXE_LINKER_FLAGS={stub} {WRAP}")

    return build_once("test-rknpu-stub", inputs, build)


@dataclass(frozen=True)
class Run:
    """What a program on the stub did, and what its runtime asked of the driver."""

    status: int
    stdout: str
    stderr: str
    requests: list[dict[str, Any]]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The requests of one kind that the driver granted."""
        return [each for each in self.requests if each["request"] == name and not each["errno"]]

    def left(self) -> list[str]:
        """What is not given back: objects, their mappings and descriptors, the device."""
        pairs = (("MEM_CREATE", "MEM_DESTROY"), ("mmap", "munmap"), ("MEM_CREATE", "close"))
        left = []
        for begin, end in pairs:
            ended = [each.get("object") for each in self.of(end)]
            for each in self.of(begin):
                if ended.count(each["object"]) != 1:
                    left.append(f"{begin} of {each['object']:#x}, {each.get('size')} bytes")
        if self.requests and self.requests[-1] != {"request": "close", "errno": 0}:
            left.append("the device")
        return left


def run(program: Path, *words: str | Path, log: Path, **stub: str) -> Run:
    """Run a program of ``programs()``; ``log`` must not exist.

    ``stub`` is what rknpu_stub.c reads in its environment: ``driver``, ``fail``, ``answer``.
    """
    env = {f"RKNPU_STUB_{name.upper()}": value for name, value in stub.items()}
    done = run_arm([program, *words], env={**env, "RKNPU_STUB_LOG": str(log)}, timeout=300)
    lines = log.read_text().splitlines() if log.exists() else []
    requests = [json.loads(line) for line in lines]
    return Run(done.returncode, done.stdout, done.stderr, requests)


def answers(model: Path, log: Path) -> Answers:
    """What the vendor's runtime answers to every query about a model, by the query's name."""
    done = run(programs() / "tests/attributes-tool", model, log=log)
    assert done.status == 0, done.stderr
    found: Answers = json.loads(done.stdout)
    return found


def shipped(name: str) -> Path:
    """``model.rknn`` of a shipped model. Raises UserError where its weights cannot be had."""
    return convert.convert(Console(), configuration.load(), name, npu=True) / "model.rknn"


def layouts() -> dict[str, Path]:
    """The small networks of layout_networks.py, converted, by name."""
    python = environment.environment(Console(), "rknn")
    inputs = {"python": str(python), "networks": sha256_file(NETWORKS)}

    def build(folder: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [python, NETWORKS, folder], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    folder = build_once("test-layout-networks", inputs, build)
    return {path.stem: path for path in sorted(folder.glob("*.rknn"))}


def record(folder: Path) -> dict[str, Any]:
    """The vendor's answers about the shipped models and the small networks."""
    found: dict[str, Any] = {"models": {}, "layouts": {}}
    for name in SHIPPED:
        try:
            model = shipped(name)
        except UserError as error:
            print(f"{name} is left out: {error.message}")
            continue
        found["models"][name] = {
            "payload_sha256": rknn_file.read(model).payload_sha256,
            "answers": answers(model, folder / f"{name}.log"),
        }
    for name, model in layouts().items():
        found["layouts"][name] = {
            "tensors": tensors(model),
            "answers": answers(model, folder / f"{name}.log"),
        }
    return found


def tensors(model: Path) -> list[dict[str, Any]]:
    """Shape and type of input and output, from the public part of the file."""
    data = model.read_bytes()
    end = 64 + struct.unpack_from("<Q", data, 16)[0]
    size = struct.unpack_from("<Q", data, end)[0]
    trailer = json.loads(data[end + 8 : end + 8 + size].rstrip(b"\0"))
    return [
        {"shape": each["size"], "type": each["dtype"]["vx_type"]} for each in trailer["norm_tensor"]
    ]


def written(value: Any, levels: int, indent: str = "") -> str:
    """JSON whose outer levels have a line for each key: an answer is one line."""
    if not levels or not isinstance(value, dict):
        return json.dumps(value)
    inner = ",\n".join(
        f"{indent} {json.dumps(key)}: {written(each, levels - 1, f'{indent} ')}"
        for key, each in value.items()
    )
    return f"{{\n{inner}\n{indent}}}"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        RECORD.write_text(written(record(Path(folder)), 4) + "\n", encoding="utf-8")
