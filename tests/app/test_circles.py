"""No circles between the C files of a program: the linker's view of who needs whom."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIBRARIES = ("pico-core", "pico-runner", "pico-rknn", "pico-npu", "rknn-sim")
HOST = (*LIBRARIES, "npu-bench")
ARM = (*HOST, "neon-runner", "npu-runner")


def symbols(nm: str, item: Path) -> tuple[set[str], set[str]]:
    """The global symbols that an object file defines and those that it needs."""
    done = subprocess.run([nm, "-g", item], capture_output=True, text=True, check=True)
    words = [line.split() for line in done.stdout.splitlines()]
    return (
        {word[-1] for word in words if word[-2] not in "Uw"},
        {word[-1] for word in words if word[-2] in "Uw"},
    )


def objects(build: Path, targets: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for target in targets:
        (folder,) = build.glob(f"**/CMakeFiles/{target}.dir")
        for item in folder.rglob("*.o"):
            yield f"{target}/{item.name.removesuffix('.o')}", item


def order(nm: str, build: Path, targets: tuple[str, ...]) -> list[str]:
    """The sources, each after those that it needs; CycleError where there is none."""
    known = {name: symbols(nm, item) for name, item in objects(build, targets)}
    graph = {
        name: {other for other, (defined, _) in known.items() if other != name and defined & needed}
        for name, (_, needed) in known.items()
    }
    return list(TopologicalSorter(graph).static_order())


def test_on_this_machine(host: Path) -> None:
    sources = order("nm", host, HOST)
    assert sources.index("pico-runner/picture.c") < sources.index("pico-runner/picture_jpeg.c")
    assert len(sources) > 40


@pytest.mark.qemu
def test_on_the_board(arm: Path) -> None:
    """With NEON and TensorFlow Lite, which only this build has."""
    sources = order("arm-linux-gnueabihf-nm", arm, ARM)
    assert sources.index("npu-runner/engine_tflite.c") < sources.index("rknn-sim/model.c")
    assert sources.index("pico-runner/resample_loops.c") < sources.index("pico-runner/resample.c")


def test_a_circle_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "CMakeFiles/circle.dir"
    folder.mkdir(parents=True)
    for name, other in (("a", "b"), ("b", "a")):
        source = tmp_path / f"{name}.c"
        source.write_text(f"int {other}(void);\nint {name}(void) {{ return {other}(); }}\n")
        subprocess.run(["gcc", "-c", source, "-o", folder / f"{name}.c.o"], check=True)
    with pytest.raises(CycleError):
        order("nm", tmp_path, ("circle",))
