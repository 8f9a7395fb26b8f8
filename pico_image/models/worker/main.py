"""Entry of the subprocess that converts: ``python -m pico_image.models.worker.main JOB.json``.

The job names a function of this package and its arguments, which are rebuilt by the function's
annotations. The answer is written beside it as ``answer.json``: ``{"result": ...}`` or ``{"error":
message, "hint": ...}``. Bugs leave a traceback in the output, which the caller keeps in the log.
Exit codes as everywhere: 0, 1 a bug, 2 the user can mend it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import typing
from pathlib import Path

from pico_image.base.errors import EXIT_OK, EXIT_USER, UserError
from pico_image.models.worker.jobs import rebuild, to_json

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
    module, _, name = job["call"].partition(":")
    answer: dict[str, object]
    status = EXIT_OK
    try:
        function = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        hints = typing.get_type_hints(function)
        arguments = {key: rebuild(hints[key], value) for key, value in job["arguments"].items()}
        answer = {"result": function(**arguments)}
    except UserError as error:
        answer = {"error": error.message, "hint": error.hint}
        status = EXIT_USER
    part = path.with_name("answer.part")
    part.write_text(to_json(answer), encoding="utf-8")
    part.replace(path.with_name("answer.json"))
    return status


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1]))
