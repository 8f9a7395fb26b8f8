"""Does a variant fit its board: packages, memory and partitions, before anything is built."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from pico_image.config.schema import Variant
from pico_image.config.target import Target

MIB = 1024 * 1024

#: What a package needs beside itself: of each group any one.
NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "npu-bench": (("npu-runner", "neon-runner"),),
    # Its header, and the program that runs where nobody chose: both are the newer one's.
    "rknn-runtime-legacy": (("rknn-runtime",),),
}
#: What it needs on a board with an NPU; elsewhere npu-runner is linked with the simulator.
NEEDS_WITH_NPU = {"npu-runner": (("rknn-runtime",),)}
#: Packages that need the NPU.
NEEDS_NPU = ("npu-module", "rknn-runtime", "rknn-runtime-legacy")

#: RAM kept for init, sshd, a login shell and a little file cache, MiB. An allowance, not a
#: measurement on a board.
SYSTEM_MIB = 10.0
#: What the NPU needs in CMA beside the model file: activations, command list and page-rounded
#: input and output buffers. MobileNetV2 1.0 224: 5.8 MB in all for 3.8 MB of weights.
NPU_EXTRA_MIB = 2.0
#: Heap of the CPU runner, MiB, beside a packed copy of the weights: measured 21.5 MiB for a
#: 13.3 MiB and 25.7 MiB for a 17.7 MiB float32 file; 6.4 MiB for 3.8 and 6.6 for 5.0 in int8.
HEAP_FACTOR = 1.1
HEAP_EXTRA_MIB = {"fp32": 7.0, "int8": 2.3}

#: Size of our rootfs without models, MiB: an allowance for Buildroot's part (busybox,
#: openssh, openssl, e2fsprogs, the runners) and the vendor's libraries and tools.
ROOTFS_MIB = 64.0
#: ext4 with 5 % reserved, journal and inode tables.
FILESYSTEM_FACTOR = 1.15
#: The vendor's own parts as a stock Mini build makes them, MiB (userdata shrinks with our build).
VENDOR_PARTS_MIB = {"idblock": 0.2, "uboot": 0.25, "boot": 3.5, "oem": 43.0, "userdata": 10.0}


@dataclass(frozen=True)
class Demand:
    """The memory that one model needs on one engine, MiB."""

    model: str
    engine: str
    mib: float


def check_packages(target: Target) -> None:
    """Raise ConfigError when a variant's packages do not fit together or not the board."""
    board, packages, models = target.board, target.packages, target.models
    folder = target.config.root / "package"
    known = sorted(path.parent.name for path in folder.glob("*/Config.in"))
    for name in packages:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise target.error(
                "packages",
                f"packages: there is no package {name!r} in this tree{guess}",
                f"known: {', '.join(known)}; a package of Buildroot's own goes into "
                "extra_symbols, as BR2_PACKAGE_NAME: y",
            )
        if name in NEEDS_NPU and board.soc is None:
            raise target.error(
                "packages",
                f"packages: {name} needs an NPU, which the board {board.name} does not have",
                "leave it out, or choose another board",
            )
        groups = NEEDS.get(name, ()) + (NEEDS_WITH_NPU.get(name, ()) if board.soc else ())
        for group in groups:
            if not set(group) & set(packages):
                raise target.error(
                    "packages",
                    f"packages: {name} needs {' or '.join(group)}",
                    f"add {group[0]} to packages",
                )
    for key, wrong, message, hint in (
        (
            "packages",
            "npu-models" in packages and not models,
            "npu-models is selected but models is empty",
            "name a model in models, or leave npu-models out",
        ),
        (
            "models",
            bool(models) and "npu-models" not in packages,
            "models are named, but the package npu-models, which installs them, is not selected",
            "add npu-models to packages, or empty models",
        ),
        (
            "bench_at_boot",
            target.variant.bench_at_boot and "npu-bench" not in packages,
            "bench_at_boot needs the package npu-bench",
            "add npu-bench to packages",
        ),
    ):
        if wrong:
            raise target.error(key, f"{key}: {message}", hint)


def demands(
    variant: Variant, model_bytes: Mapping[str, Mapping[str, int]], *, npu: bool = True
) -> list[Demand]:
    """The memory that each model takes while it runs: CMA for the NPU, heap for the CPU.

    ``model_bytes`` maps a model's name to the sizes of its files in bytes, by the keys of its
    card: ``fp32``, ``int8``, ``npu``; ``npu`` says whether there is one (a simulated one takes no
    CMA). Estimates, from the measurements named at the constants.
    """
    demanded = []
    for name in variant.models:
        for engine, size in model_bytes.get(name, {}).items():
            mib = size / MIB
            if engine == "npu" and "npu-runner" in variant.packages and npu:
                demanded.append(Demand(name, engine, mib + NPU_EXTRA_MIB))
            elif engine in HEAP_EXTRA_MIB and "neon-runner" in variant.packages:
                demanded.append(Demand(name, engine, mib * HEAP_FACTOR + HEAP_EXTRA_MIB[engine]))
    return demanded


def check_memory(target: Target, model_bytes: Mapping[str, Mapping[str, int]]) -> str:
    """Compare what the models need with what the board leaves; returns the sum as one line.

    One model is in memory at a time (the benchmark runs each in a process of its own), so the
    largest counts. Raises ConfigError with the figures when it cannot fit.
    """
    board, cma = target.board, target.cma_mib
    left = board.usable_mib - cma - SYSTEM_MIB
    demanded = demands(target.variant, model_bytes, npu=board.soc is not None)
    if left <= 0:
        raise target.error(
            "cma_mib",
            f"cma_mib: {cma} MiB for the NPU leave {left:.0f} of {board.usable_mib} MiB to "
            f"programs on {board.title} (the system itself takes {SYSTEM_MIB:.0f} MiB)",
            f"choose at most {board.usable_mib - SYSTEM_MIB - 1:.0f}",
        )
    for demand in demanded:
        if demand.engine == "npu" and demand.mib > cma:
            raise target.error(
                "cma_mib",
                f"cma_mib: {demand.model} needs about {demand.mib:.1f} MiB of CMA on the NPU, "
                f"the image reserves {cma} MiB",
                f"set cma_mib to {int(demand.mib) + 1} or more",
            )
        if demand.engine != "npu" and demand.mib > left:
            raise target.error(
                "models",
                f"models: {demand.model} ({demand.engine}) needs about {demand.mib:.1f} MiB of "
                f"heap; of {board.usable_mib} MiB, CMA takes {cma} and the system "
                f"{SYSTEM_MIB:.0f}, which leaves {left:.1f} MiB",
                "lower cma_mib, leave out the model, or leave out neon-runner",
            )
    heap = max((d.mib for d in demanded if d.engine != "npu"), default=0.0)
    npu = max((d.mib for d in demanded if d.engine == "npu"), default=0.0)
    return (
        f"{board.usable_mib} MiB = {cma} CMA (largest model {npu:.1f}) + {SYSTEM_MIB:.0f} system "
        f"+ {left:.1f} for programs (largest model {heap:.1f})"
    )


def check_partitions(
    target: Target, model_bytes: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[float, float]]:
    """Expected content and size of each partition in MiB: ``{name: (content, size)}``.

    A partition that takes the rest of the card is left out. Raises ConfigError for the first that
    is too small. Estimates from a stock build; the parts are checked again, to the byte, when the
    card image is composed.
    """
    models = sum(size for name in target.models for size in model_bytes.get(name, {}).values())
    expected = dict(VENDOR_PARTS_MIB) if target.board.buildroot else {}
    expected["rootfs"] = (ROOTFS_MIB + models / MIB) * FILESYSTEM_FACTOR
    partitions: dict[str, tuple[float, float]] = {}
    for part in target.layout:
        if part.size is None:
            continue
        content, size = expected.get(part.name, 0.0), part.size / MIB
        partitions[part.name] = (content, size)
        if content > size:
            of_it = f" ({models / MIB:.0f} MiB of it models)" if part.name == "rootfs" else ""
            raise target.error(
                "partitions",
                f"partitions: {part.name} has {size:.1f} MiB, its content takes about "
                f"{content:.1f} MiB{of_it}",
                f"make {part.name} at least {int(content) + 1}M in partitions",
            )
    return partitions
