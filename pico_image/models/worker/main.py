"""Entry of the subprocess that converts: ``python -m pico_image.models.worker.main JOB.json``.

The job names a function of this package and its arguments; the answer is written beside it as
``answer.json``: ``{"result": ...}`` or ``{"error": message, "hint": ...}``. Bugs leave a traceback
in the output, which the caller keeps in the log. Exit codes as everywhere: 0, 1 a bug, 2 the
user can mend it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from pico_image.base.errors import EXIT_OK, EXIT_USER, UserError

PACKAGE = "pico_image.models.worker."


#: prctl(2): the signal that this process gets when its parent ends.
PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Be killed when the process ``parent`` is, where the system can do that.

    Without it a conversion went on for minutes, on all cores, after its command was killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that
            sys.exit(1)


def main(job_file: str) -> int:
    path = Path(job_file)
    job = json.loads(path.read_text(encoding="utf-8"))
    end_with(job["parent"])
    module, _, function = job["call"].partition(":")
    if not module.startswith(PACKAGE):
        raise ValueError(f"{module} is no module of {PACKAGE}")
    answer: dict[str, Any]
    status = EXIT_OK
    try:
        result = getattr(importlib.import_module(module), function)(**job["arguments"])
        answer = {"result": result, "peak_rss_bytes": peak_memory()}
    except UserError as error:
        answer = {"error": error.message, "hint": error.hint}
        status = EXIT_USER
    part = path.with_name("answer.part")
    part.write_text(json.dumps(answer), encoding="utf-8")
    part.replace(path.with_name("answer.json"))
    return status


def tell(stage: str) -> None:
    """Say what is being done now; the caller shows it to the user."""
    part = Path("progress.part")
    part.write_text(stage, encoding="utf-8")
    part.replace("progress")


def peak_memory() -> int:
    """Largest resident set of this process or of one of its children, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1]))
