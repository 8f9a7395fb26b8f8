"""What the figures of a report belong to, and what must be known before they are believed."""

from __future__ import annotations

import math

from pico_image.results.figures import npu_clock
from pico_image.results.result import Result
from pico_image.results.statistics import FEWEST_SAMPLES


def notices(result: Result) -> list[str]:
    """What must be known before any figure is believed; what the board warned of comes first."""
    lines = list(result.warnings)
    if not result.clock_set:
        lines.append("the board's clock was not set: the date is not that of the run")
    for model in result.models:
        for configuration in model.configurations:
            name = f"{model.name} {configuration.title}"
            if configuration.failure:
                continue
            if not configuration.measured:
                lines.append(f"{name}: no sample at all")
            elif configuration.runs < FEWEST_SAMPLES:
                lines.append(f"{name}: {configuration.runs} runs are too few for any statement")
            broken = sum(p.broken for p in configuration.pictures)
            if broken:
                lines.append(f"{name}: {broken} times are no numbers and were left out")
            if configuration.verified == "no":
                lines.append(f"{name}: the model file is not the one that its card names")
            if configuration.engine == "cpu" and "WITHOUT XNNPACK" in configuration.line:
                lines.append(f"{name}: ran {configuration.line}; such a baseline is a slow one")
    return lines


def context(result: Result) -> list[tuple[str, str]]:
    """What the figures belong to; rows whose value is not known are left out."""

    def megahertz(when: str) -> str:
        if result.emulated:  # the loop of instructions tells how fast the host emulates
            return ""
        measured = result.number(f"{when}.cpu_mhz_measured")
        stated = result.number(f"{when}.cpu_mhz_sysfs")
        words = [f"{measured:.0f} MHz measured"] if measured else []
        words += [f"{stated:.0f} MHz by sysfs"] if stated else []
        return ", ".join(words)

    def kib(path: str) -> str:
        value = result.number(path)
        return f"{value / 1024:.1f} MiB" if value is not None else ""

    def joined(*paths: str) -> str:
        return " ".join(str(result.fact(p)) for p in paths if result.fact(p))

    celsius = [result.number(f"{w}.temperature_celsius") for w in ("before", "after")]
    npu_mhz, npu_source = npu_clock(result)
    rows = [
        ("Board", result.board),
        ("Why emulated", joined("system.emulated_because") if result.emulated else ""),
        ("Processor", joined("system.cpu.model", "system.cpu.hardware")),
        ("Kernel", joined("system.kernel.release", "system.kernel.machine")),
        ("Image", joined("system.image.VARIANT", "system.image.COMMIT")),
        ("Built", joined("system.image.BUILD_DATE")),
        ("Deployed since", joined("system.deployed")),
        ("NPU driver", joined("system.npu_driver")),
        ("NPU clock", f"{npu_mhz:.0f} MHz, {npu_source}" if math.isfinite(npu_mhz) else ""),
        ("CPU clock before", megahertz("before")),
        ("CPU clock after", megahertz("after")),
        ("Governor", joined("governor.used") or joined("before.governor")),
        ("Temperature", " → ".join(f"{c:.0f} °C" for c in celsius if c is not None)),
        ("Memory", kib("system.memory_kib")),
        ("CMA", kib("system.cma_kib")),
        ("Free before the run", kib("before.available_kib")),
        ("Load average before", joined("before.load_1min")),
        ("Suite", _suite(result)),
        ("Protocol", _protocol(result)),
        ("Order", joined("options.order")),
        ("Program", joined("program.name", "program.version")),
        ("Schema", joined("schema")),
        ("Ended", result.ended if result.clock_set else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _suite(result: Result) -> str:
    if result.fact("options.mlperf_style"):
        return "in MLPerf's manner (single stream): look at median and p90; not an MLPerf result"
    if result.fact("options.quick"):
        return "quick: every picture once, to see that all is right; too few runs for statistics"
    return ""


def _protocol(result: Result) -> str:
    keys = ("rounds", "warmup_runs", "min_runs", "min_secs", "max_secs", "threads")
    facts = [result.number(f"options.{key}") for key in keys]
    if any(fact is None for fact in facts):
        return ""
    rounds, warm_up, runs, seconds, most, threads = (f"{fact:g}" for fact in facts)

    def counted(number: str, word: str) -> str:
        return f"{number} {word}" if number == "1" else f"{number} {word}s"

    return (
        f"{counted(rounds, 'round')}; in each, for every picture: {warm_up} warm-up, then at "
        f"least {counted(runs, 'run')} and {seconds} s, at most {most} s; "
        f"{counted(threads, 'thread')}"
    )
