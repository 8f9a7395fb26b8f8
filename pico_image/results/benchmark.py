"""Run the preinstalled benchmark, fetch its result whole or not at all, and keep it."""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema.exceptions
import jsonschema.validators

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import ROOT, output_dir, scratch_folder, write_text
from pico_image.emulator.bootloader import read_partition_file, working_copy
from pico_image.emulator.qemu import boot

SCHEMA_FILE = ROOT / "app" / "bench" / "result.schema.json"
#: The last line that npu-bench prints, whatever happened.
RESULT_LINE = r"npu-bench: (result (?P<path>/\S+)|FAILED: (?P<reason>.*?))\r?$"
#: The float32 model takes seconds per inference under emulation.
BENCH_SECONDS = 900.0


@dataclass(frozen=True)
class Run:
    """One fetched result: its folder under out/results, the parsed JSON, what was printed."""

    folder: Path
    result: dict[str, Any]
    table: str


@functools.cache
def _validator() -> Any:
    """Made once: checking the schema itself took longer than checking a result by it."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


def check_result(result: Any, where: str) -> dict[str, Any]:
    """Validate a result against the schema. Raises UserError naming the field or the version."""
    if not isinstance(result, dict):
        raise UserError(f"{where} is not a benchmark result: expected an object")
    ours = str(_validator().schema["properties"]["schema"].get("examples", ["1.0"])[0])
    theirs = str(result.get("schema", "none"))
    if theirs.partition(".")[0] != ours.partition(".")[0]:
        raise UserError(
            f"{where} has result schema {theirs}; this program reads {ours.partition('.')[0]}.x",
            hint="use the version of this project that belongs to the image",
        )
    error = jsonschema.exceptions.best_match(_validator().iter_errors(result))
    if error is not None:
        path = "/".join(map(str, error.absolute_path)) or "(top)"
        raise UserError(f"{where} is not a valid result: {path}: {error.message}")
    return result


def in_emulator(
    console: Console, images: Path, *, keep_running: bool = False, seconds: float = BENCH_SECONDS
) -> Run:
    """Boot the image in ``images`` (its parts' folder), wait for its benchmark, fetch the JSON.

    The result is read from the card's userdata partition after a clean power-off. Raises
    CheckFailed when the benchmark itself says that it failed.
    """
    with scratch_folder("pico-bench-") as place:
        card = working_copy(images / "sdcard.img", place)
        with boot(console, card) as machine:
            match = machine.wait_for(RESULT_LINE, seconds, what="the benchmark's end")
            if keep_running:
                machine.interact()
            machine.poweroff()
            printed = machine.transcript()
        table = _table(printed)
        if match["reason"]:
            raise CheckFailed(f"the benchmark failed: {match['reason'].strip()}\n{table}")
        name = match["path"]
        raw = read_partition_file(card, "userdata", name.removeprefix("/userdata"))
    try:
        result = json.loads(raw)
    except ValueError as error:
        raise CheckFailed(f"the result {name} on the card is not whole: {error}") from error
    return keep(console, check_result(result, name), table, printed, images)


def keep(console: Console, result: dict[str, Any], table: str, printed: str, images: Path) -> Run:
    """Put a result under out/results, one folder a run, with the image's build-info."""
    base = output_dir() / "results"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    variant = images.parent.name
    number, folder = 0, base / f"{stamp}-{variant}"
    while folder.exists():
        number += 1
        folder = base / f"{stamp}-{variant}.{number}"
    base.mkdir(parents=True, exist_ok=True)
    with scratch_folder(".part-", base) as working:
        write_text(working / "result.json", json.dumps(result, indent=1) + "\n")
        write_text(working / "table.txt", table)
        write_text(working / "console.log", printed)
        info = images / "build-info.json"
        if info.exists():
            shutil.copy(info, working / "build-info.json")
        working.chmod(0o755)
        working.rename(folder)
    console.log(f"result kept in {folder}")
    return Run(folder, result, table)


def kept_already(result: dict[str, Any]) -> Run | None:
    """The kept run that has this very result, if there is one: fetched twice it is kept once."""
    for file in sorted((output_dir() / "results").glob("*/result.json"), reverse=True):
        try:
            if json.loads(file.read_text(encoding="utf-8")) != result:
                continue
            return Run(file.parent, result, (file.parent / "table.txt").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
    return None


#: The first line of a run; a shell's prompt may stand before it on the console.
_START = re.compile(r"npu-bench \d+\.\d+\S*: ")
#: What the benchmark says while it works.
_WORKING = re.compile(r"(round \d+/\d+ |INFO: )")


def _table(printed: str) -> str:
    """What npu-bench printed in the end: from its first line to its last, progress left out."""
    lines = [line.rstrip("\r") for line in printed.splitlines()]
    ends = [
        n for n, line in enumerate(lines) if line.startswith(("npu-bench: result", "npu-bench: F"))
    ]
    if not ends:
        return ""
    starts = [n for n, line in enumerate(lines[: ends[-1]]) if _START.search(line)]
    kept = lines[(starts or [-1])[-1] + 1 : ends[-1] + 1]
    return "\n".join(line for line in kept if not _WORKING.match(line)) + "\n"
