"""Which of our programs and model files a board can use."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.board.ssh import Connection
from pico_image.emulator.rootfs import HOST_ONLY, NPU_ONLY
from pico_image.models import rknn_file
from pico_image.models.papers import read_card

MODELS = "/usr/share/npu-models"
PROGRAMS = "/usr/bin"
#: Programs that came into the package of another: an older image has that one alone.
CAME_WITH = {"npu-doctor": "npu-bench"}
NPU_RUNNER = f"{PROGRAMS}/npu-runner"
#: In every npu-runner that is linked with the simulator (app/rknn-sim/api.c), and in no other.
SIMULATOR = "(rknn-sim)"
#: e_machine of ARM, and the program header that asks for a loader (ELF specification).
ELF_ARM, PT_INTERP = 40, 3


def programs(connection: Connection, folder: Path) -> dict[str, Path]:
    """Programs of a ``bin`` folder that belong to the board's packages, by their paths there.

    A simulator never replaces a vendor's runtime: an npu-runner that was compiled here is linked
    with the NPU simulator, so a board's own is kept, with a warning.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    paths = {f"{PROGRAMS}/{name}": folder / name for name in names}
    known_by = {f"{PROGRAMS}/{n}": f"{PROGRAMS}/{CAME_WITH.get(n, n)}" for n in names}
    tests = "; ".join(
        f"[ -x {shlex.quote(known_by[path])} ] && echo {shlex.quote(path)}" for path in paths
    )
    installed = connection.run(f"{tests}; true", what="look for programs").decode().split()
    machine = connection.run("uname -m", what="ask for its processor").decode().strip()
    for path in installed:
        check_program(paths[path], machine)
    if not installed:
        raise UserError(
            f"{connection.host} has none of {', '.join(names)}",
            hint="its variant leaves these packages out",
        )
    if NPU_RUNNER in installed and SIMULATOR.encode() in paths[NPU_RUNNER].read_bytes():
        status, _, _ = connection.attempt(
            f"strings {NPU_RUNNER} | grep -qF {shlex.quote(SIMULATOR)}",
            what="look for the simulator in its npu-runner",
        )
        if status != 0:
            installed.remove(NPU_RUNNER)
            connection.console.warn(
                f"npu-runner on {connection.host} is kept: the one compiled here is linked with "
                "the NPU simulator; one for an NPU comes with an image (invoke build-image)"
            )
    return {path: paths[path] for path in installed}


def check_program(program: Path, machine: str) -> None:
    """Raise UserError for a program that a board (``machine`` by uname) cannot start."""
    with program.open("rb") as stream:
        head = stream.read(4096)
    if head[:4] != b"\x7fELF" or head[4] != 1 or int.from_bytes(head[18:20], "little") != ELF_ARM:
        raise UserError(f"{program} is no 32-bit ARM program", hint="invoke build-image makes them")
    if not machine.startswith("armv7"):
        raise UserError(f"the board's processor is {machine}; {program.name} is for armv7l")
    offset, size, count = (
        int.from_bytes(head[28:32], "little"),
        int.from_bytes(head[42:44], "little"),
        int.from_bytes(head[44:46], "little"),
    )
    kinds = [
        int.from_bytes(head[offset + i * size : offset + i * size + 4], "little")
        for i in range(count)
    ]
    if PT_INTERP in kinds:  # it wants the loader and C library of another system
        raise UserError(
            f"{program} is not static: it needs a C library that the board may not have"
        )


def model_files(connection: Connection, name: str, folder: Path) -> dict[str, Path]:
    """The files of a converted model that the board can use, by their paths there.

    Raises UserError for a folder that its model card does not describe, and for a .rknn that is
    newer than the runtime on the board.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UserError(f"{name!r} cannot be the name of a model")
    check_card(folder)
    has_npu = connection.has_program("npu-runner")
    if has_npu:
        _check_runtime(connection, folder)
    left_out = HOST_ONLY if has_npu else HOST_ONLY + NPU_ONLY
    inner = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    return {
        f"{MODELS}/{name}/{short.as_posix()}": path
        for short, path in inner.items()
        if path.is_file()
        and not any(part in left_out or part.startswith(".") for part in short.parts)
    }


def check_card(folder: Path) -> None:
    """Raise UserError unless the card can be read and names exactly the files beside it."""
    for file in read_card(folder).files.values():
        model = folder / file.path
        if not model.is_file():
            raise UserError(f"{folder / 'model.json'} names {file.path}, which is not beside it")
        if sha256_file(model) != file.sha256:
            raise UserError(
                f"{model} is not the file that model.json names (SHA-256 differs)",
                hint="convert it again: invoke convert-models",
            )


def _check_runtime(connection: Connection, folder: Path) -> None:
    models = sorted(folder.glob("*.rknn"))
    runtime = _runtime(connection) if models else None
    for model in models:
        if runtime is None:
            raise UserError(
                f"{connection.host} has no NPU runtime with a version; {model.name} needs one",
                hint="deploy to a board whose variant has the package rknn-runtime",
            )
        rknn_file.refuse_unfit(rknn_file.read(model), runtime=runtime)


def _runtime(connection: Connection) -> str | None:
    """The newest version that the board's npu-runner is linked with, or the one that the simulator
    imitates.

    Not the vendor's shared library in /oem, which is 1.4.1b9 and which npu-runner never loads. That
    the board may have chosen an older runtime (npu-runner --probe) is no reason to refuse a model:
    it was found right for models of this toolkit.
    """
    says = f"-e 'librknnmrt version:' -e '^SIMULATED .*{SIMULATOR}'"
    output = connection.run(
        f"strings {NPU_RUNNER} | grep {says}; true",
        what="ask for the version of the NPU runtime",
    )
    match = re.search(rb"(?:librknnmrt version:|SIMULATED) (\d[\d.]*\d)", output)
    return match[1].decode("ascii") if match else None
