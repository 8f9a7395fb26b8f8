"""Make benchmark results for tests. SYNTHETIC: no board, no emulator and no NPU was involved.

The fields are those of app/bench/result.c. Times are random numbers around a centre that each test
chooses; such a page shows what a page looks like, its figures are meaningless.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What the fixture ``keep`` gives.
Keep = Callable[..., Path]
STAGES = ("decode", "prepare", "inference", "post")
PICTURES = ("images/chelsea.png", "images/coffee.png", "images/rocket.jpg")
#: Microseconds: decode, prepare, inference, post.
CENTRES = {
    ("cpu", "float32"): (31_000.0, 21_000.0, 640_000.0, 900.0),
    ("cpu", "int8"): (31_000.0, 17_000.0, 262_000.0, 700.0),
    ("npu", "int8"): (31_000.0, 4_200.0, 16_400.0, 800.0),
}
TITLES = {
    ("cpu", "float32"): "CPU float32",
    ("cpu", "int8"): "CPU int8",
    ("npu", "int8"): "NPU int8",
}
BYTES = {"float32": 18_600_000, "int8": 5_200_000}


def figures(samples: list[float | None]) -> dict[str, Any]:
    """What the board writes about samples."""
    good = sorted(s for s in samples if s is not None)
    some = {"n": len(good), "failed": len(samples) - len(good), "samples": samples}
    names = ("min", "median", "p90", "p99", "max", "mean", "stddev", "cv")
    values: list[float | None] = [None] * len(names)
    if good:
        mean = statistics.fmean(good)
        spread = statistics.stdev(good) if len(good) > 1 else None

        def at(percent: float) -> float:
            rank = percent / 100 * (len(good) - 1)
            below = int(rank)
            above = min(below + 1, len(good) - 1)
            return good[below] + (good[above] - good[below]) * (rank - below)

        cv = spread / mean if spread is not None and mean else None
        values = [good[0], at(50), at(90), at(99), good[-1], mean, spread, cv]
    return {**some, **dict(zip(names, values, strict=True))}


def picture(
    path: str, centres: tuple[float, ...], runs: int, generator: random.Random, number: int
) -> dict[str, Any]:
    """One picture: a floor with a tail, and now and then a run that something disturbed."""
    samples: dict[str, list[float | None]] = {name: [] for name in (*STAGES, "total")}
    for _ in range(runs):
        whole = 0.0
        for name, centre in zip(STAGES, centres, strict=True):
            factor = 1 + 0.25 * number if name == "decode" else 1.0
            time = centre * factor * (1 + 0.002 * generator.lognormvariate(0.0, 0.7))
            if generator.random() < 0.01:
                time *= 1.05
            samples[name].append(round(time, 3))
            whole += time
        samples["total"].append(round(whole + 40, 3))
    label = ("tabby", "espresso", "missile")[number % 3]
    return {
        "path": path,
        "title": path.rpartition("/")[2],
        "expected": [281 + number],
        "correct": True,
        "failed": 0,
        "stages": {name: figures(values) for name, values in samples.items()},
        "first": {name: figures(values[:1]) for name, values in samples.items()},
        "giga_operations_per_second": None,
        "top": [
            {"class": 281 + number, "label": label, "score": 9.5, "probability": 0.71},
            {"class": 285, "label": "Egyptian cat", "score": 8.1, "probability": 0.17},
        ],
    }


def verification(verdict: str = "exact", *, simulated: bool = False) -> dict[str, Any]:
    """Of two golden vectors with 1000 classes."""
    exact = 2000 if verdict == "exact" else 1990
    step = {"exact": 0, "within-tolerance": 3, "wrong": 90}[verdict]
    line = {
        "exact": "exact, 2 of 6 vectors",
        "within-tolerance": "within tolerance, largest step 3 of 8 allowed, 99.50% of the bytes "
        "exact, 2 of 6 vectors",
        "wrong": "WRONG, largest step 90 of 8 allowed, 99.50% of the bytes exact, 2 of 6 vectors",
    }[verdict]
    return {
        "verdict": verdict,
        "line": line,
        "simulated": simulated,
        "model_sha256": "ab" * 32,
        "runtime": "2.3.2",
        "toolkit": "2.3.2",
        "tolerance_steps": 8,
        "run": 2,
        "listed": 6,
        "exact_bytes": exact,
        "bytes": 2000,
        "largest_step": step,
        "least_cosine": 0.9991,
        "top1_equal": 2,
        "vectors": [
            {
                "name": f"00{number}-x",
                "exact_bytes": exact // 2,
                "bytes": 1000,
                "largest_step": step,
                "cosine": 0.9991,
                "top1_equal": True,
            }
            for number in range(2)
        ],
    }


def configuration(
    engine: str,
    precision: str,
    *,
    runs: int = 40,
    factor: float = 1.0,
    simulated: bool = False,
    seed: int = 1,
) -> dict[str, Any]:
    """One configuration; ``factor`` scales its inference times."""
    generator = random.Random(f"{engine}{precision}{seed}")
    decode, prepare, inference, post = CENTRES[engine, precision]
    centres = (decode, prepare, inference * factor, post)
    runtime = "librknnmrt 2.3.2" if engine == "npu" else "TensorFlow Lite 2.14.1"
    if simulated:
        runtime = "rknn-sim 1.0"
    return {
        "title": TITLES[engine, precision],
        "engine": engine,
        "precision": precision,
        "simulated": simulated,
        "file": {
            "path": {"float32": "fp32.tflite", "int8": "int8.tflite"}[precision],
            "sha256": f"{engine}{precision}".encode().hex().ljust(64, "0"),
            "bytes": BYTES[precision],
            "verified": "yes",
        },
        "failure": None,
        "rounds": 3,
        "facts": {
            "name": engine,
            "runtime": runtime,
            "precision": precision,
            "line": "XNNPACK takes 64 of 64 operators" if engine == "cpu" else "zero-copy",
        },
        "load": figures([81_000.0, 80_500.0, 80_700.0]),
        "memory": {"peak_kib": 26_400, "available_kib": 21_000},
        "verification": verification(simulated=simulated) if engine == "npu" else None,
        "verification_failure": None,
        "pictures": [
            picture(path, centres, runs, generator, number) for number, path in enumerate(PICTURES)
        ],
    }


def comparison(of: str, against: str, path: str, real: bool) -> dict[str, Any]:
    return {
        "of": of,
        "against": against,
        "picture": path,
        "speedup_inference": 2.0 if real else None,
        "speedup_total": 2.0 if real else None,
        "top1_equal": True,
        "top5_shared": 4,
        "cosine": 0.9931,
    }


def model(name: str = "mobilenet-v2", *, real: bool = True, **options: Any) -> dict[str, Any]:
    """A model in all three configurations."""
    simulated = options.pop("simulated", False)
    title = {"mobilenet-v2": "MobileNetV2", "efficientnet-lite0": "EfficientNet-Lite0"}[name]
    return {
        "name": name,
        "title": title,
        "input": {"width": 224, "height": 224, "channels": 3},
        "classes": 1000,
        "macs": {"mobilenet-v2": 300_774_272, "efficientnet-lite0": 385_187_552}[name],
        "macs_source": "counted on the ONNX graph",
        "configurations": [
            configuration(*kind, simulated=simulated and kind[0] == "npu", **options)
            for kind in CENTRES
        ],
        "comparisons": [
            comparison(TITLES[of], TITLES[against], path, real)
            for of, against in (
                (("cpu", "int8"), ("cpu", "float32")),
                (("npu", "int8"), ("cpu", "float32")),
                (("npu", "int8"), ("cpu", "int8")),
            )
            for path in PICTURES
        ],
    }


def result(
    *,
    emulated: bool = False,
    simulated: bool = False,
    names: tuple[str, ...] = ("mobilenet-v2",),
    **options: Any,
) -> dict[str, Any]:
    """A whole result: of a board that does not exist, or as the emulator would write it."""
    state = {
        "governor": "performance",
        "cpu_mhz_sysfs": 1104.0,
        "cpu_mhz_measured": 1103.4,
        "npu_frequency": None if emulated else "420000000",
        "npu_load": None,
        "temperature_celsius": None if emulated else 41.2,
        "available_kib": 30_100,
        "cma_free_kib": 9_000,
        "swap_used_kib": 0,
        "load_1min": 0.31,
        "uptime_s": 33.0,
        "rkipc_runs": False,
    }
    return {
        "schema": "1.0",
        "kind": "bench",
        "program": {"name": "npu-bench", "version": "0.1.0"},
        "started": "2026-11-23T14:02:11Z",
        "ended": "2026-11-23T14:06:21Z",
        "clock_set": True,
        "emulated": emulated,
        "simulated_npu": simulated,
        "outcome": "ok",
        "options": {
            "quick": False,
            "rounds": 3,
            "warmup_runs": 1,
            "min_runs": 10,
            "min_secs": 1,
            "max_secs": 60,
            "threads": 1,
            "unit": "us",
            "percentiles": "linear interpolation between order statistics (Hyndman-Fan type 7)",
            "order": "every round runs each configuration once, in a process of its own",
        },
        "system": {
            "kernel": {"release": "5.10.160", "version": "#1", "machine": "armv7l"},
            "command_line": "synthetic",
            "board": None if emulated else "SYNTHETIC, made by tests/support/synthetic_results.py",
            "cpu": {
                "model": "ARMv7 Processor rev 5 (v7l)",
                "implementer": "0x41",
                "part": "0xc07",
                "revision": "5",
                "features": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt",
                "hardware": "synthetic",
            },
            "image": {
                "VARIANT": "emulator" if emulated else "luckfox-pico-mini",
                "VERSION": "0.1.0",
                "COMMIT": "0123abc",
                "BACKEND": "emulator" if emulated else "luckfox-sdk",
                "BUILD_DATE": "2026-11-23",
            },
            "memory_kib": 58_000,
            "cma_kib": 16_384,
            "npu_driver": None if emulated else "RKNPU driver: v0.9.2",
            "emulated": emulated,
            "emulated_because": "the kernel command line says pico.emulated=1" if emulated else "",
        },
        "before": state,
        "after": {**state, "temperature_celsius": None if emulated else 46.8},
        "governor": {"found": "ondemand", "used": "performance"},
        "models": [
            model(name, real=not emulated and not simulated, simulated=simulated, **options)
            for name in names
        ],
        "warnings": ["SYNTHETIC result of a test: no figure here was measured"],
        "failures": [],
    }
