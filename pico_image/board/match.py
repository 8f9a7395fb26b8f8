"""Which of our programs and model files a board takes: what it has is asked over SSH."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.board import fitness
from pico_image.board.ssh import Connection
from pico_image.emulator.rootfs import HOST_ONLY, NPU_ONLY
from pico_image.models.worker import rknn_file

MODELS = "/usr/share/npu-models"
PROGRAMS = "/usr/bin"
NPU_RUNNER = f"{PROGRAMS}/npu-runner"
#: In every npu-runner that is linked with the simulator (app/rknn-sim/api.c), and in no other.
SIMULATOR = "(rknn-sim)"


def programs(console: Console, connection: Connection, folder: Path) -> dict[str, Path]:
    """Programs of a ``bin`` folder that the board has, too, by their paths there.

    A simulator never replaces a vendor's runtime: an npu-runner that was compiled here has no
    NPU behind it, so a board's own is kept, with a warning.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    paths = {f"{PROGRAMS}/{name}": folder / name for name in names}
    tests = "; ".join(f"[ -x {shlex.quote(p)} ] && echo {shlex.quote(p)}" for p in paths)
    there = connection.run(f"{tests}; true", what="look for programs").decode().split()
    machine = connection.run("uname -m", what="tell its processor").decode().strip()
    for path in there:
        fitness.check_program(paths[path], machine)
    if not there:
        raise UserError(
            f"{connection.host} has none of {', '.join(names)}",
            hint="its variant leaves these packages out",
        )
    if NPU_RUNNER in there and SIMULATOR.encode() in paths[NPU_RUNNER].read_bytes():
        status, _, _ = connection.attempt(
            f"strings {NPU_RUNNER} | grep -qF {shlex.quote(SIMULATOR)}",
            what="tell what its npu-runner is linked with",
        )
        if status != 0:
            there.remove(NPU_RUNNER)
            console.warn(
                "npu-runner stays as it is there: the one compiled here is linked with the NPU "
                "simulator; one for an NPU comes with an image (invoke build-image)"
            )
    return {path: paths[path] for path in there}


def model_files(connection: Connection, name: str, folder: Path) -> dict[str, Path]:
    """The files of a converted model that the board can use, by their paths there."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UserError(f"{name!r} cannot be the name of a model")
    left_out = HOST_ONLY if _has_npu_runner(connection) else HOST_ONLY + NPU_ONLY
    inner = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    return {
        f"{MODELS}/{name}/{short.as_posix()}": path
        for short, path in inner.items()
        if path.is_file()
        and not any(part in left_out or part.startswith(".") for part in short.parts)
    }


def gate(connection: Connection, folder: Path) -> None:
    """A .rknn must not be newer than the runtime on the board that reads it."""
    models = sorted(folder.glob("*.rknn"))
    if not models or not _has_npu_runner(connection):
        return
    runtime = _runtime(connection)
    for model in models:
        if runtime is None:
            raise UserError(
                f"{connection.host} has no NPU runtime that tells its version; {model.name} "
                "needs one",
                hint="deploy to a board whose variant has the package rknn-runtime",
            )
        rknn_file.refuse_unfit(rknn_file.read(model), runtime=runtime)


def _has_npu_runner(connection: Connection) -> bool:
    return connection.attempt("command -v npu-runner", what="look for npu-runner")[0] == 0


def _runtime(connection: Connection) -> str | None:
    """The version of the vendor's library, or that which the emulator's simulator imitates."""
    places = f"/usr/lib/librknnmrt.so /oem/usr/lib/librknnmrt.so {NPU_RUNNER}"
    says = f"-e 'librknnmrt version:' -e '^SIMULATED .*{SIMULATOR}'"
    output = connection.run(
        f"for f in {places}; do [ -e $f ] && strings $f | grep {says}; done; true",
        what="tell the version of the NPU runtime",
    )
    match = re.search(rb"(?:librknnmrt version:|SIMULATED) (\d[\d.]*\d)", output)
    return match[1].decode("ascii") if match else None
