"""Run npu-doctor on a board and keep what it found in one file that can be posted."""

from __future__ import annotations

import getpass
import re
import socket
import time
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.board.privacy import Masker
from pico_image.board.ssh import Connection
from pico_image.results import collected
from pico_image.results.collected import Collected

PROGRAM = "npu-doctor"


def collect(connection: Connection, output: Path | None = None) -> tuple[Path, Collected]:
    """What npu-doctor finds on a board, masked again here, and the file that holds it.

    The file comes over the connection alone, so a full or read-only card is no obstacle. Raises
    Unreachable (a UserError) when the board cannot be reached or is lost meanwhile, UserError when
    it has no npu-doctor or answers with something else; nothing is kept then.
    """
    if not connection.has_program(PROGRAM):
        raise UserError(
            f"{connection.host} has no {PROGRAM}: its image is an older one, or has no npu-bench",
            hint=f"invoke deploy {connection.flags} --programs sends it to an image with npu-bench",
        )
    # A minute in an emulator that others keep busy; two facts that never answer take 20 s.
    status, content, errors = connection.attempt(
        f"{PROGRAM} --output -; exit $?",  # a shell of its own tells of a signal, too
        what="examine itself",
        timeout=300,
    )
    if status not in (0, 1):
        raise UserError(
            f"{PROGRAM} on {connection.host} failed ({status}): {errors or 'no reason'}"
        )
    found = collected.parse(content, f"{connection.host}: the answer of {PROGRAM}")
    masker = Masker(_names(connection))
    data = masker.document({**found.raw, "desk": _desk(found)})
    path = collected.keep(data, _variant(found), output)
    return path, collected.load(path)


def _names(connection: Connection) -> list[tuple[str, str]]:
    """What this desk and its way to the board are called."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = ""
    hosts = [connection.host, socket.gethostname(), socket.gethostname().partition(".")[0]]
    return [*(("host", host) for host in hosts), ("user", user), ("user", connection.user)]


def _image(found: Collected) -> dict[str, Any]:
    system = found.raw["facts"].get("system")
    image = system.get("image") if isinstance(system, dict) else None
    return image if isinstance(image, dict) else {}


def _variant(found: Collected) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", str(_image(found).get("VARIANT", ""))).strip(".-") or (
        "board"
    )


def _desk(found: Collected) -> dict[str, Any]:
    """What this machine knows about it."""
    ours, commit = project.version(ROOT), project.revision(ROOT)
    theirs = found.doctor.program.version
    image = str(_image(found).get("COMMIT", "")).removesuffix("-dirty")
    wrong = []
    if theirs != ours:
        wrong.append(
            f"The board's programs are {theirs}, this project is at {ours}: what was mended since "
            "is wrong there (invoke deploy --programs)."
        )
    if image and image != commit.commit:
        wrong.append(
            f"The image was built from commit {image}, not from this one: CHANGELOG.md says what "
            "was mended."
        )
    return {
        "collected": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": ours,
        "commit": str(commit),
        "known_wrong": wrong,
    }
