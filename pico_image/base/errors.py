"""Errors that the user can mend, and what they mean at the shell.

Exit codes: 0 done, 1 a bug or a failed comparison, 2 the user can mend it, 130 Ctrl-C, 141 nobody
reads the output any more (``| head``), as for every program that SIGPIPE ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USER = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141


class UserError(Exception):
    """Something outside the program is wrong and the user can mend it.

    ``message`` tells what failed and what it was needed for; ``hint`` what to do next, preferably
    a command to type.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(UserError):
    """A value in a configuration file is wrong; the message starts with FILE:LINE."""

    def __init__(
        self, path: Path, line: int | None, message: str, *, hint: str | None = None
    ) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {message}", hint=hint)
        self.path = path
        self.line = line


class CommandError(UserError):
    """A program that we started failed; carries the end of its output and its log."""

    def __init__(
        self, what: str, status: int, tail: str, log: Path | None, *, hint: str | None = None
    ) -> None:
        text = f"{what} failed with status {status}"
        if tail:
            text += ":\n" + "\n".join(f"    {line}" for line in tail.splitlines())
        if log:
            text += f"\n  full log: {log}"
        super().__init__(text, hint=hint)
        self.status = status


@dataclass(frozen=True)
class Finding:
    """One thing that was examined, and its remedy unless it is ``ok``.

    ``needed`` False: only some tasks need it.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True


class CheckFailed(Exception):
    """The work was done and its result is bad (wrong class, regression): exit 1, no traceback."""

    exit_code = EXIT_FAILED
