"""Results of npu-bench as files: read and check, find, keep one folder a run under out/results."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, scratch_folder, write_text
from pico_image.results.result import MAJOR, Result

RESULT_FILE = "result.json"
#: The last line that npu-bench prints, also after a failure.
RESULT_LINE = r"npu-bench: (result (?P<path>/\S+)|FAILED: (?P<reason>.*?))\r?$"
#: The first line of a run; a shell's prompt may stand before it on the console.
_FIRST_LINE = re.compile(r"npu-bench \d+\.\d+\S*: ")
#: What npu-bench prints while it works.
_PROGRESS = re.compile(r"(round \d+/\d+ |verify  |INFO: )")


@dataclass(frozen=True)
class Run:
    """A result that is kept: its folder under out/results, its content, what was printed."""

    folder: Path
    result: Result
    table: str


def parse(content: bytes, where: str, name: str = "") -> Result:
    """A result from the text of its file. Raises UserError naming ``where``, field or version."""
    try:
        text = content.decode("utf-8")
        # NaN is no JSON, but some writers write it: no figure, as null.
        data = json.loads(text, parse_constant=lambda _: None, parse_int=_integer)
        if "\\ud" in text.lower():
            # Half a character ("\ud800") is valid JSON, but no file can be written with it.
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where} is not a whole benchmark result: {error}",
            hint="it was cut off or edited; fetch it again with `invoke bench`, or run it again",
        ) from error
    _check_kind(data, where, text)
    try:
        return Result.model_validate({**data, "name": name, "raw": data})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = "/".join(map(str, first["loc"]))
        raise UserError(
            f"{where} is not a valid result: {field}: {first['msg']}",
            hint="it was edited or damaged; fetch it again with `invoke bench`",
        ) from error


def _integer(text: str) -> int:
    """An integer as the board's programs write them; a longer one no float can take."""
    if len(text) > 19:
        raise ValueError(f"the number {text:.19}... has more than 19 digits")
    return int(text)


def _check_kind(data: Any, where: str, text: str) -> None:
    if not isinstance(data, dict):
        raise UserError(f"{where} is not a benchmark result: expected an object")
    version = data.get("schema", "none")
    line = line_of(text, "schema")
    if not re.fullmatch(rf"{MAJOR}\.[0-9]+", str(version)):
        raise UserError(
            f"{where}:{line} has result schema {version}; this program reads {MAJOR}.x",
            hint="use the version of this project that belongs to the image",
        )
    if data.get("kind") != "bench":
        raise UserError(
            f"{where}:{line_of(text, 'kind')} is the output of {data.get('kind')!r}, "
            "not of npu-bench or npu-doctor",
            hint="reports and comparisons need what npu-bench keeps in /userdata/bench",
        )


def line_of(text: str, member: str) -> int:
    """The line of the first member of that name in a JSON text, 1 if there is none."""
    match = re.search(rf'"{re.escape(member)}"\s*:', text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def load(path: Path) -> Result:
    """Read and check one result file. Raises UserError naming the file and what is wrong in it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"could not read the benchmark result {path}: {error}") from error
    name = path.parent.name if path.name == RESULT_FILE else path.stem
    return parse(content, str(path), name)


def results_folder() -> Path:
    return output_dir() / "results"


def kept() -> list[Path]:
    """All kept result files, oldest first (folders are named by their time)."""
    return sorted(results_folder().glob(f"*/{RESULT_FILE}"))


def locate(name: str | Path) -> Path:
    """The result file that a user means: a file, a folder, a name under out/results, "latest".

    Raises UserError when there is none.
    """
    for candidate in (Path(name), results_folder() / name):
        with contextlib.suppress(OSError):  # a name that is too long, a folder of somebody else's
            if (candidate / RESULT_FILE).is_file():
                return candidate / RESULT_FILE
            if candidate.is_file():
                return candidate
    if str(name) != "latest":
        raise UserError(
            f"could not find the benchmark result {name}",
            hint="give a result file, its folder, or a name from `invoke history`",
        )
    if newest := kept()[-1:]:
        return newest[0]
    raise UserError(
        f"there is no benchmark result under {results_folder()} yet",
        hint="invoke bench makes one",
    )


def keep(
    console: Console, result: Result, printed: str, variant: str, build_info: Path | None
) -> Run:
    """Put a result under out/results, one folder a run, with the ``build_info`` of its image."""
    base = results_folder()
    base.mkdir(parents=True, exist_ok=True)
    folder = _new_folder(base, variant)
    table = table_of(printed)
    with scratch_folder(".part-", base) as working:
        write_text(working / RESULT_FILE, json.dumps(result.raw, indent=1) + "\n")
        write_text(working / "table.txt", table)
        write_text(working / "console.log", printed)
        if build_info is not None and build_info.exists():
            shutil.copy(build_info, working / "build-info.json")
        working.chmod(0o755)
        working.rename(folder)
    console.log(f"result kept in {folder}")
    return Run(folder, result.model_copy(update={"name": folder.name}), table)


def _new_folder(base: Path, variant: str) -> Path:
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{variant}"
    folder, number = base / name, 0
    while folder.exists():
        number += 1
        folder = base / f"{name}.{number}"
    return folder


def find_run(result: Result) -> Run | None:
    """The kept run with this very result, if there is one: fetched twice it is kept once."""
    for path in kept():
        with contextlib.suppress(UserError, OSError):
            kept_result = load(path)
            if kept_result.raw == result.raw:
                table = path.with_name("table.txt").read_text(encoding="utf-8", errors="replace")
                return Run(path.parent, kept_result, table)
    return None


def table_of(printed: str) -> str:
    """The table that npu-bench printed: from its first line to its last, progress left out."""
    lines = [line.rstrip("\r") for line in printed.splitlines()]
    ends = [
        n for n, line in enumerate(lines) if line.startswith(("npu-bench: result", "npu-bench: F"))
    ]
    if not ends:
        return ""
    starts = [n for n, line in enumerate(lines[: ends[-1]]) if _FIRST_LINE.search(line)]
    rest = lines[(starts or [-1])[-1] + 1 : ends[-1] + 1]
    return "\n".join(line for line in rest if not _PROGRESS.match(line)) + "\n"
