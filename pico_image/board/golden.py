"""Does the NPU of a board answer as the PC did? `npu-runner --verify` over SSH.

The image carries the golden vectors of each model (docs/models.md). Nothing on the board changes,
so a lost connection loses nothing: run it again.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir, write_text
from pico_image.board.compatibility import MODELS
from pico_image.board.ssh import Connection, Unreachable
from pico_image.models.papers import FILES, GOLDEN, GOLDEN_LIST

#: An emulated board takes seconds for a picture.
SECONDS = 900
#: Prints each installed model for the NPU, and "-" when it has no golden vectors.
LIST = r"""
for file in {models}/*/{rknn}; do
    [ -e "$file" ] || continue
    folder="${{file%/*}}"
    golden="$folder/{golden}"
    [ -e "$golden" ] && echo "+ ${{folder##*/}}" || echo "- ${{folder##*/}}"
done
"""
WRONG = "wrong"


@dataclass(frozen=True)
class Verification:
    """What `npu-runner --verify` found for one model: all of its JSON."""

    model: str
    raw: Mapping[str, Any]

    @property
    def facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self.raw["verification"]
        return facts

    @property
    def verdict(self) -> str:
        """``exact``, ``within-tolerance`` or ``wrong``."""
        return str(self.facts["verdict"])

    @property
    def right(self) -> bool:
        return self.verdict != WRONG

    @property
    def simulated(self) -> bool:
        """Whether the NPU is the functional simulator."""
        return bool(self.facts["simulated"])

    @property
    def summary(self) -> str:
        """The verdict in one line, as npu-runner says it."""
        return str(self.facts["line"])


@dataclass(frozen=True)
class Outcome:
    """The verdicts of a board's models, the models that have none (and why), the folder kept."""

    verifications: Sequence[Verification]
    problems: Mapping[str, UserError | CheckFailed]
    folder: Path | None

    def table(self) -> str:
        rows = [("model", "verdict", "exact bytes", "largest step", "least cosine", "same first")]
        for each in self.verifications:
            facts = each.facts
            cosine = facts["least_cosine"]
            rows.append(
                (
                    each.model,
                    each.verdict.upper() if not each.right else each.verdict,
                    f"{100 * facts['exact_bytes'] / max(facts['bytes'], 1):.2f} %",
                    f"{facts['largest_step']} of {facts['tolerance_steps']}",
                    "-" if cosine is None else f"{cosine:.5f}",
                    f"{facts['top1_equal']} of {facts['run']}",
                )
            )
        note = []
        if any(each.simulated for each in self.verifications):
            note = ["SIMULATED NPU: this verifies the model and the programs, and no board"]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join([*note, *lines])

    def check(self) -> None:
        """Raise CheckFailed for a wrong answer; else the error of the first without a verdict."""
        wrong = [each.model for each in self.verifications if not each.right]
        if wrong:
            raise CheckFailed(
                f"the NPU answers otherwise than rknn-toolkit2's simulator: {', '.join(wrong)}"
            )
        for error in self.problems.values():
            raise error


def verify(connection: Connection, names: Sequence[str] = ()) -> Outcome:
    """Verify the NPU models of a board (``names``: these alone), and keep the results here.

    A model that cannot be verified does not stop the others. Raises Unreachable when the
    connection fails, UserError when the board has no NPU program or no such model.
    """
    console = connection.console
    connection.warn_about_twins()
    release = connection.release()
    variant = re.sub(r"[^A-Za-z0-9._-]", "-", release.get("VARIANT", "")).strip(".-") or "board"
    installed = _installed(connection)
    for name in names:
        if name not in installed:
            raise UserError(
                f"{connection.host} has no model {name} for the NPU",
                hint=f"it has: {', '.join(installed) or 'none'}; "
                f"invoke deploy {connection.flags} --model {name} sends it",
            )
    done: list[Verification] = []
    problems: dict[str, UserError | CheckFailed] = {}
    for name in names or installed:
        if not installed[name]:
            problems[name] = UserError(
                f"{connection.host} has no golden vectors of {name}: its image has none yet",
                hint=f"invoke deploy {connection.flags} --model {name}, or build the image again",
            )
            continue
        folder = f"{MODELS}/{name}"
        try:
            with console.step(f"verify {name} on {connection.host}"):
                done.append(run(connection, name, _command(folder)))
        except Unreachable:
            raise
        except (UserError, CheckFailed) as error:
            problems[name] = error
    return Outcome(done, problems, _keep(done, variant))


def _installed(connection: Connection) -> dict[str, bool]:
    """The models that the board has for its NPU, and whether they have golden vectors."""
    if not connection.has_program("npu-runner"):
        raise UserError(
            f"{connection.host} has no npu-runner",
            hint="its variant leaves the package out; one for the NPU comes with an image",
        )
    script = LIST.format(models=MODELS, rknn=FILES["npu"], golden=f"{GOLDEN}/{GOLDEN_LIST}")
    lines = connection.run(script, what="list its models").decode("utf-8", "replace").splitlines()
    models = {line[2:]: line.startswith("+") for line in lines}
    if not models:
        raise UserError(
            f"{connection.host} has no model for the NPU in {MODELS}",
            hint=f"invoke deploy {connection.flags} --model NAME sends one",
        )
    return models


def _command(folder: str) -> str:
    words = ["npu-runner", "--model", f"{folder}/{FILES['npu']}", "--verify", f"{folder}/{GOLDEN}"]
    return shlex.join([*words, "--json", "-"])


def run(connection: Connection, name: str, script: str, stdin: bytes | None = None) -> Verification:
    """Run a script whose output is that of `npu-runner --verify DIR --json -`.

    Raises UserError with what npu-runner said when the user can mend it, CheckFailed when it
    failed otherwise, Unreachable when the board cannot be reached any more.
    """
    try:
        status, output, errors = connection.attempt(
            script, what=f"verify {name}", stdin=stdin, timeout=SECONDS
        )
    except Unreachable as error:
        if not error.lost:
            raise
        raise Unreachable(
            f"{error.message}\nwhile {name} was verified: did the board restart?",
            hint="nothing there was changed; run it again when the board is back",
            lost=True,
        ) from error
    if status in (0, 1):
        result = _parse(name, output)
        if result is not None:
            return result
    said = "\n".join(f"    {line}" for line in errors.splitlines()[-8:]) or "    no message"
    if status == 2:
        hint = None
        if "--verify" in errors and "--help lists" in errors:
            hint = f"its programs are older: invoke deploy {connection.flags} --programs"
        raise UserError(f"{connection.host} cannot verify {name}:\n{said}", hint=hint)
    raise CheckFailed(
        f"npu-runner on {connection.host} failed on {name} (status {status}):\n{said}"
    )


def _parse(name: str, output: bytes) -> Verification | None:
    """The result in an output; None when it holds none that is whole."""
    try:
        found = Verification(name, json.loads(output))
        known = found.raw["kind"], found.verdict, found.summary, found.simulated
        return found if known[0] == "verification" else None
    except (ValueError, KeyError, TypeError):
        return None


def _keep(verifications: Sequence[Verification], variant: str) -> Path | None:
    """A folder of this run under out/verifications, a JSON file for each model."""
    if not verifications:
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    base, number = output_dir() / "verifications", 0
    folder = base / f"{stamp}-{variant}"
    while folder.exists():
        number += 1
        folder = base / f"{stamp}-{variant}.{number}"
    folder.mkdir(parents=True)
    for each in verifications:
        write_text(folder / f"{each.model}.json", json.dumps(each.raw, indent=1) + "\n")
    return folder
