"""Files of npu-doctor (``invoke collect``): read and check, keep under out/board/collected."""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, write_text
from pico_image.results import store
from pico_image.results.result import MAJOR, Doctor, Finding, Result

LEVELS = ("problem", "note", "ok")
#: Far more than npu-doctor writes.
LIMIT = 16 << 20


@dataclass(frozen=True)
class Collected:
    """What was found on a board, the name of its file, and the JSON that it was read from."""

    name: str
    doctor: Doctor
    raw: dict[str, Any]

    def findings(self, *levels: str) -> list[Finding]:
        return [finding for finding in self.doctor.findings if finding.level in levels]

    @property
    def board(self) -> str:
        """What the board calls itself."""
        system = self.raw["facts"].get("system")
        model = system.get("board") if isinstance(system, dict) else None
        return model if isinstance(model, str) and model else "unknown board"

    @property
    def known_wrong(self) -> list[str]:
        desk = self.doctor.desk.known_wrong if self.doctor.desk else []
        return [*self.doctor.known_wrong, *desk]

    @property
    def result(self) -> Result | None:
        """The newest result of the board, where it is a whole one."""
        newest = self.doctor.result
        if newest is not None and newest.content is not None:
            with contextlib.suppress(UserError):
                content = json.dumps(newest.content).encode()
                return store.parse(content, self.name, f"{self.name}, {newest.file}")
        return None

    def text(self) -> str:
        """The findings as npu-doctor prints them."""
        lines = []
        for finding in self.doctor.findings:
            lines.append(f"{finding.level:8} {finding.name}: {finding.text}")
            lines += [f"         -> {finding.remedy}"] if finding.remedy else []
        return "\n".join(lines)


def parse(content: bytes, where: str, name: str = "") -> Collected:
    """What npu-doctor wrote. Raises UserError with ``where``, the line and what is wrong there."""
    hint = "invoke collect --host HOST fetches a new one"
    text = content.decode("utf-8", "replace")
    try:
        if len(content) > LIMIT:
            raise ValueError(f"it has {len(content)} bytes; {LIMIT} are the most")
        data = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}:{error.lineno}: this is no whole file of npu-doctor: {error.msg}", hint=hint
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}:1: this is no file of npu-doctor: {error}", hint=hint) from error
    if not isinstance(data, dict) or data.get("kind") != "doctor":
        kind = data.get("kind") if isinstance(data, dict) else None
        raise UserError(
            f"{where}:{store.line_of(text, 'kind')}: this is no file of npu-doctor"
            + (f" but the output of {kind!r}" if isinstance(kind, str) else ""),
            hint=hint,
        )
    version = str(data.get("schema", "none"))
    if not re.fullmatch(rf"{MAJOR}\.[0-9]+", version):
        line = store.line_of(text, "schema")
        raise UserError(
            f"{where}:{line}: schema {version:.20}; this program reads {MAJOR}.x",
            hint="use the version of this project that belongs to the image",
        )
    try:
        return Collected(name, Doctor.model_validate(data), data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = "/".join(map(str, first["loc"]))
        keys = [key for key in first["loc"] if isinstance(key, str)]
        line = store.line_of(text, keys[-1]) if keys else 1
        raise UserError(
            f"{where}:{line}: not a valid file of npu-doctor: {field}: {first['msg']}", hint=hint
        ) from error


def load(path: Path) -> Collected:
    try:
        return parse(path.read_bytes(), str(path), path.stem)
    except OSError as error:
        raise UserError(f"could not read {path}: {error}") from error


def is_collected(path: Path) -> bool:
    """Does the file say that npu-doctor wrote it? Files that are no JSON say nothing."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        data = json.loads(path.read_bytes())
        return isinstance(data, dict) and data.get("kind") == "doctor"
    return False


def folder() -> Path:
    return output_dir() / "board" / "collected"


def find(name: str | Path) -> Path | None:
    """The file of that name that invoke collect has kept, if there is one."""
    with contextlib.suppress(OSError):
        for path in (folder() / name, folder() / f"{name}.json"):
            if path.is_file():
                return path
    return None


def keep(data: dict[str, Any], variant: str, output: Path | None) -> Path:
    """Write a file that can be posted, by default as out/board/collected/TIME-VARIANT.json."""
    if output is None:
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{variant}"
        output, number = folder() / f"{name}.json", 0
        while output.exists():
            number += 1
            output = folder() / f"{name}.{number}.json"
    write_text(output, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return output
