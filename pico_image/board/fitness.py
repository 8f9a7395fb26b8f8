"""Would a board start this program, and can its programs read this model? Looked at from here."""

from __future__ import annotations

from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.models.card import read_card

#: e_machine of ARM, and the program header that asks for a loader (ELF specification).
ELF_ARM, PT_INTERP = 40, 3


def check_program(program: Path, machine: str) -> None:
    """A program that the board cannot start must not replace one that it can."""
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


def check_card(folder: Path) -> None:
    """The card must be one that the programs read, and name the very files beside it."""
    for file in read_card(folder).files.values():
        model = folder / file.path
        if not model.is_file():
            raise UserError(f"{folder / 'model.json'} names {file.path}, which is not beside it")
        if sha256_file(model) != file.sha256:
            raise UserError(
                f"{model} is not the file that model.json names (SHA-256 differs)",
                hint="convert it again: invoke convert-models",
            )
