"""Prefix models on Rockchip's own runtime: it loads them, and their answers are read as they lie.

The answers of a prefix are pictures of many channels, in the layout NC1HWC2; what the stub of the
driver writes in place of the NPU is a golden answer in that layout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.models import environment
from pico_image.models.prefixes import Prefixes
from tests.app import build, genuine
from tests.support import small_network
from tests.support.converters import borrowing_cache, caller

pytestmark = [pytest.mark.external, pytest.mark.qemu, pytest.mark.slow]
GROUP = 16


@pytest.fixture(scope="module")
def runner() -> Path:
    build.vendor_runtime()  # before the conversion
    return genuine.programs() / "npu/npu-runner"


@pytest.fixture(scope="module")
def prefixes(runner: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefixes]:
    folder, console = tmp_path_factory.mktemp("prefixes"), Console()
    inside = caller(environment.environment(console, "models"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_CACHE_DIR", str(borrowing_cache(console, folder / "cache")))
        config = small_network.configured(folder / "project", inside)
        yield Prefixes.of(console, config, small_network.NAME)


def grouped(answer: bytes, shape: list[int]) -> bytes:
    """int8 values in NCHW order as the NPU lays them: channels in groups of 16."""
    _, channels, height, width = shape
    values = np.frombuffer(answer, np.int8).reshape(channels, height * width)
    lanes = np.full((-(-channels // GROUP), height * width, GROUP), 0x55, np.int8)
    for channel in range(channels):
        lanes[channel // GROUP, :, channel % GROUP] = values[channel]
    return lanes.tobytes()


@pytest.mark.parametrize("number", [0, 2, 5])
def test_the_genuine_runtime_runs_a_prefix(
    runner: Path, prefixes: Prefixes, tmp_path: Path, number: int
) -> None:
    prefixes.write(number, tmp_path, simulated=False)
    listed = json.loads((tmp_path / "golden/golden.json").read_text(encoding="utf-8"))
    shape = listed["output_shape"]
    assert len(shape) == 4 and math.prod(shape) > 8
    lies = tmp_path / "answer"
    vector = listed["vectors"][0]
    lies.write_bytes(grouped((tmp_path / "golden" / vector["output"]).read_bytes(), shape))
    words: list[str | Path] = ["--root", ROOT / "tests/boards/pico-mini-5.10.160"]
    words += ["--model", tmp_path / "model.rknn", "--verify", tmp_path / "golden"]
    words += ["--vectors", "1", "--json", "-"]
    for answer, verdict in (({"answer": str(lies)}, "exact"), ({}, "wrong")):
        done = genuine.run(runner, *words, log=tmp_path / "requests.log", **answer)
        assert done.status == (verdict != "exact"), done.stderr
        assert json.loads(done.stdout)["verification"]["verdict"] == verdict
        assert done.left() == []
        (tmp_path / "requests.log").unlink()
