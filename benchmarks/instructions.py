"""Executed instructions per inference: ours against the tflite-runtime wheel and ncnn.

    python -m benchmarks.instructions [--network NAME] [--without-ncnn]

All sides are counted in one run, under user-mode QEMU with a Cortex-A7's ``/proc/cpuinfo``; the
result goes to ``out/benchmarks/instructions.json`` and ``.md``. Exit 1 when a ratio to the wheel
misses its target. A count is not a time: see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import datetime
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import counting, models, sides
from benchmarks.counting import Counted
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir, sha256_file, write_text
from pico_image.compile.toolchain import Toolchain
from pico_image.config.configuration import Config, load

NETWORKS = ("mobilenet-v2", "efficientnet-lite0")
#: Largest allowed share of the wheel's instructions.
TARGETS = {"fp32": 0.65, "int8": 0.55}
#: How many functions are listed for each engine.
HOTTEST = 6
NOTE = (
    "Instructions executed per inference, one thread. A count is not a time: a NEON float32 "
    "multiply-add takes 4 cycles on a Cortex-A7, other instructions 1 to 2, a cache miss 100."
)


@dataclass(frozen=True)
class Row:
    """One engine on one network: instructions of one inference in steady state."""

    network: str
    numbers: str
    engine: str
    instructions: float
    macs: int
    hottest: list[tuple[str, float]]


def hottest(console: Console, program: Path, long: Counted, short: Counted) -> list[Any]:
    """(function, share of the instructions) of a static program, the largest first."""
    listing = console.run(
        [Toolchain().tool("nm"), "--demangle=auto", program], what="list the functions"
    )
    symbols = []
    for line in listing.splitlines():
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[0] and parts[1] in "tTwW" and not parts[2].startswith("$"):
            symbols.append((int(parts[0], 16) & ~1, parts[2].partition("(")[0]))
    symbols.sort()
    starts = [address for address, _ in symbols]
    counts: collections.Counter[str] = collections.Counter()
    for sign, counted in ((1, long), (-1, short)):
        for start, instructions in counted.blocks:
            place = bisect.bisect_right(starts, start) - 1
            counts[symbols[place][1] if place >= 0 else "?"] += sign * instructions
    total = sum(counts.values())
    return [(name, round(count / total, 4)) for name, count in counts.most_common(HOTTEST)]


class Comparison:
    """Builds every side, then counts; rows are in the order of counting."""

    def __init__(self, console: Console, config: Config, *, with_ncnn: bool) -> None:
        self.console = console
        self.rows: list[Row] = []
        self.plugin = counting.plugin(console)
        self.ours = sides.our_runner(console, config)
        self.wheel = sides.wheel_root(console, config)
        self.ncnn = sides.ncnn_runner(console, config) if with_ncnn else None
        self.files: dict[str, str] = {}

    def count(
        self,
        network: str,
        numbers: str,
        engine: str,
        run: Callable[[int], Counted],
        program: Path | None = None,
    ) -> None:
        long, short = run(3), run(1)
        top = hottest(self.console, program, long, short) if program else []
        value = (long.total - short.total) / 2
        self.rows.append(Row(network, numbers, engine, value, sides.MACS[network], top))
        self.console.info(f"{network} {numbers}, {engine}: {value / 1e6:.1f} M")

    def network(self, name: str, folder: Path) -> None:
        for numbers in ("fp32", "int8"):
            model = folder / f"{numbers}.tflite"
            self.files[f"{name} {numbers}"] = sha256_file(model)
            runner = self.ours / "tflite_runner"
            self.count(
                name,
                numbers,
                "ours (XNNPACK)",
                lambda n, m=model: sides.ours(self.plugin, self.ours, m, "xnnpack", n),  # type: ignore[misc]
                runner,
            )
            self.count(
                name,
                numbers,
                "ours, delegate off",
                lambda n, m=model: sides.ours(self.plugin, self.ours, m, "no-delegate", n),  # type: ignore[misc]
            )
            self.count(
                name,
                numbers,
                "tflite-runtime 2.14.0 wheel",
                lambda n, m=model: sides.wheel(self.plugin, self.wheel, m, n),  # type: ignore[misc]
            )
        if self.ncnn is None:
            return
        for numbers, engine in (("fp32", "ncnn, all float32"), ("default", "ncnn as it comes")):
            self.count(
                name,
                numbers,
                engine,
                lambda n, s=numbers: sides.ncnn(self.plugin, self.ncnn, name, s, n),  # type: ignore[misc]
                self.ncnn / "ncnn_runner",
            )

    def ratio(self, row: Row) -> float:
        """Instructions as a share of the wheel's on the same network and number format."""
        numbers = row.numbers if row.numbers in TARGETS else "fp32"
        wheel = next(
            other
            for other in self.rows
            if other.engine.startswith("tflite-runtime")
            and (other.network, other.numbers) == (row.network, numbers)
        )
        return row.instructions / wheel.instructions


def document(comparison: Comparison, console: Console) -> dict[str, Any]:
    """The result as plain data."""
    emulator = console.run(["qemu-arm", "--version"], what="ask QEMU for its version")
    return {
        "schema": 1,
        "what": NOTE,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": platform.machine(),
        "emulator": emulator.splitlines()[0],
        "emulated": True,
        "compiler": Toolchain().check(console, "count instructions"),
        "weights": {"mobilenet-v2": "random", "efficientnet-lite0": "ImageNet"},
        "models": comparison.files,
        "targets": TARGETS,
        "rows": [
            {**asdict(row), "ratio_to_wheel": round(comparison.ratio(row), 4)}
            for row in comparison.rows
        ],
    }


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [
        "# Executed instructions per inference",
        "",
        result["what"],
        "",
        f"{result['emulator']}, counted by benchmarks/instruction_counts; {result['compiler']}; "
        f"{result['date']}. MobileNetV2 has RANDOM weights.",
        "",
        "| network | numbers | engine | Minstr | instr/MAC | ratio to the wheel |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        count = row["instructions"]
        lines.append(
            f"| {row['network']} | {row['numbers']} | {row['engine']} | {count / 1e6:.1f} | "
            f"{count / row['macs']:.2f} | {row['ratio_to_wheel']:.3f} |"
        )
    lines += ["", "## Where they go", ""]
    for row in result["rows"]:
        if row["hottest"]:
            lines += [f"{row['network']} {row['numbers']}, {row['engine']}:", ""]
            lines += [f"- {share:.1%} `{name}`" for name, share in row["hottest"]]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def misses(result: dict[str, Any]) -> list[str]:
    """The ratios of ours that are above their target."""
    return [
        f"{row['network']} {row['numbers']}: {row['ratio_to_wheel']:.3f} of the wheel's "
        f"instructions, at most {result['targets'][row['numbers']]} is asked"
        for row in result["rows"]
        if row["engine"].startswith("ours (")
        and row["ratio_to_wheel"] > result["targets"][row["numbers"]]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Count, write both files, print where they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: both")
    parser.add_argument("--without-ncnn", action="store_true", help="skip the 2 minute compile")
    options = parser.parse_args(arguments)
    console = Console()
    folder = output_dir() / "benchmarks"
    try:
        with console.logging_to(folder, "instructions"):
            config = load()
            comparison = Comparison(console, config, with_ncnn=not options.without_ncnn)
            for name in options.network or NETWORKS:
                comparison.network(name, models.folder(console, config, name))
            result = document(comparison, console)
            write_text(folder / "instructions.json", json.dumps(result, indent=1) + "\n")
            write_text(folder / "instructions.md", markdown(result))
            print(folder / "instructions.md")
            if missed := misses(result):
                raise CheckFailed("\n".join(missed))
    except (UserError, CheckFailed) as error:
        console.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
