"""The instruction counts: the counter itself, the networks, and the ratios that we promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import around_inference, counting, instructions, networks, sides
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed
from pico_image.compile.toolchain import Toolchain
from tests.support import arm

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(arm.qemu() is None, reason="qemu-arm is not installed"),
]

#: Adds 4 * N instructions in a loop whose length the compiler cannot change.
LOOP = r"""
#include <stdlib.h>
int main(int argc, char **argv) {
    unsigned n = argc > 1 ? strtoul(argv[1], 0, 10) : 0;
    if (n == 0)
        return 7;
    __asm__ volatile("1: add r3, r3, #1; nop; subs %0, %0, #1; bne 1b"
                     : "+r"(n) : : "r3", "cc");
    return 0;
}
"""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    (folder / "loop.c").write_text(LOOP)
    Console().run(
        [Toolchain().tool("gcc"), "-O1", "-static", "loop.c", "-o", "loop"],
        cwd=folder,
        what="compile the loop",
    )
    return folder / "loop"


def test_counts_are_exact_and_repeatable(loop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = counting.plugin(Console())

    def total(rounds: int) -> int:
        return counting.count(plugin, [loop, str(rounds)]).total

    assert total(2_001_000) - total(1_001_000) == 4 * 1_000_000
    assert total(12_345) == total(12_345)
    counted = counting.count(plugin, [loop, "5000"])
    monkeypatch.setenv("OF_ANOTHER_CALLER", "x" * 999)
    assert counting.count(plugin, [loop, "5000"]) == counted
    assert sum(instructions for _, instructions in counted.blocks) == counted.total
    for _ in range(2):
        assert counting.count_once(plugin, [loop, "5000"]) == counted
    assert counting.count_once(plugin, [loop, "5001"]).total == counted.total + 4


def test_failed_program_is_no_count(loop: Path) -> None:
    with pytest.raises(CheckFailed, match="ended with 7"):
        counting.count(counting.plugin(Console()), [loop])


def test_functions_are_found(loop: Path) -> None:
    plugin, console = counting.plugin(Console()), Console()
    long, short = (counting.count(plugin, [loop, str(n)]) for n in (2_000_000, 1_000))
    (name, share), *_ = instructions.hottest(console, loop, long, short)
    assert (name, share > 0.99) == ("main", True)


@pytest.mark.parametrize("network", networks.NETWORKS)
def test_ncnn_networks_are_the_named_ones(network: str, tmp_path: Path) -> None:
    path = tmp_path / "network.param"
    assert networks.write_param(network, path) == sides.MACS[network]
    magic, counts, *layers = path.read_text(encoding="ascii").splitlines()
    assert magic == "7767517"
    assert int(counts.split()[0]) == len(layers)
    produced: set[str] = set()
    for layer in layers:
        _, _, inputs, outputs, *rest = layer.split()
        used, made = rest[: int(inputs)], rest[int(inputs) : int(inputs) + int(outputs)]
        assert set(used) <= produced, layer
        assert not produced & set(made), layer
        produced |= set(made)
    assert {"input", "output"} <= produced


def test_a_missed_target_is_told() -> None:
    result = {
        "targets": instructions.TARGETS,
        "rows": [
            {
                "network": "n",
                "numbers": "int8",
                "engine": "ours (XNNPACK)",
                "ratio_to_wheel": 0.551,
            },
            {
                "network": "n",
                "numbers": "fp32",
                "engine": "ours (XNNPACK)",
                "ratio_to_wheel": 0.649,
            },
            {"network": "n", "numbers": "fp32", "engine": "ncnn", "ratio_to_wheel": 0.9},
        ],
    }
    assert instructions.misses(result) == [
        "n int8: 0.551 of the wheel's instructions, at most 0.55 is asked"
    ]


@pytest.mark.slow
def test_fewer_instructions_than_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, not times: the same on every machine with the same compiler."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    assert instructions.main(["--without-ncnn"]) == 0
    result = json.loads((tmp_path / "benchmarks/instructions.json").read_text())
    ours = [row for row in result["rows"] if row["engine"] == "ours (XNNPACK)"]
    assert len(ours) == 4
    for row in ours:
        assert row["ratio_to_wheel"] <= instructions.TARGETS[row["numbers"]]
        assert row["instructions"] / row["macs"] > 0.2, "less than NEON can do: nothing was run"
        # The kernels for this core, not the generic ones that any other CPU part gets.
        assert any("cortex_a7" in name for name, _ in row["hottest"][:1])
    page = (tmp_path / "benchmarks/instructions.md").read_text()
    assert "A count is not a time" in page
    assert "RANDOM weights" in page


@pytest.mark.slow
def test_around_an_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the plain way for raw input; for a JPEG all but what no decoder can save."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path))
    assert around_inference.main() == 0
    result = json.loads((tmp_path / "benchmarks/around-inference.json").read_text())
    jpeg, raw = result["rows"]
    assert raw["ratio"] <= around_inference.TARGET
    # Entropy decoding is serial and the same on both sides: 12.8 of our 19.5 M instructions.
    assert jpeg["ratio"] <= 0.65
    entropy = jpeg["entropy_decoding"] * jpeg["ours"]
    assert (jpeg["ours"] - entropy) / (jpeg["plain"] - entropy) <= 0.4
    page = (tmp_path / "benchmarks/around-inference.md").read_text()
    assert "stands above 0.25" in page and "is no measurement" in page


def test_command_line_refuses_an_unknown_network() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.instructions", "--network", "vgg"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert result.returncode == 2
    assert "efficientnet-lite0" in result.stderr
