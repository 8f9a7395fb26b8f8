"""What the user sees while something runs, and the log file that keeps all of it.

Steps nest and show their elapsed time; progress shows n/total and the time left. On a
terminal the current line is redrawn; elsewhere (CI, a pipe, ``NO_COLOR``) each message is
one plain line. Everything, the output of child programs included, goes to the log file.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console as RichConsole
from rich.markup import escape

from pico_image.base.errors import CommandError, UserError

#: Lines of a failed program's output that are repeated on the terminal.
TAIL_LINES = 20
#: A child that ignores SIGTERM is killed after this time.
TERMINATE_SECONDS = 5.0
#: Progress is redrawn at most this often on a terminal, and this often as plain lines.
REDRAW_SECONDS = 0.2
PLAIN_SECONDS = 10.0


class Console:
    """Steps, progress and messages to stderr; the results of a task go to stdout.

    Each run of a task has its own and passes it to every function that does work, so it also
    carries ``offline``: with it, this run downloads nothing (``--offline``). ``cancelled``, set
    from any thread, ends what this run does in a container.
    """

    def __init__(
        self, *, verbose: bool = False, offline: bool = False, stream: IO[str] | None = None
    ) -> None:
        self.verbose = verbose
        self.offline = offline
        self.cancelled = threading.Event()
        self._rich = RichConsole(
            file=stream or sys.stderr, highlight=False, soft_wrap=True, stderr=stream is None
        )
        self._log: IO[str] | None = None
        self.log_path: Path | None = None
        self._depth = 0
        self._lock = threading.RLock()

    def fork(self, stream: IO[str]) -> Console:
        """A console for work in another thread of this run: its own log file and steps."""
        console = Console(offline=self.offline, stream=stream)
        console.cancelled = self.cancelled
        return console

    # -- the log file ---------------------------------------------------------------

    @contextlib.contextmanager
    def logging_to(self, folder: Path, name: str) -> Iterator[Path]:
        """Keep everything in ``folder/NAME-TIME.log``; the path is printed first and on failure.

        Nested calls keep the outer file: one log per run of a task.
        """
        if self._log is not None:
            assert self.log_path is not None
            yield self.log_path
            return
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = folder / f"{name}-{stamp}-{os.getpid()}.log"
        with path.open("w", encoding="utf-8", errors="replace", buffering=1) as log:
            self._log, self.log_path = log, path
            self.info(f"log: {path}")
            try:
                yield path
            except BaseException as error:
                log.write(f"ended by {type(error).__name__}: {error}\n")
                raise
            finally:
                self._log, self.log_path = None, None

    def log(self, text: str) -> None:
        """Write to the log file only (and to the terminal with ``-v``)."""
        with self._lock:
            if self._log is not None:
                self._log.write(text.rstrip("\n") + "\n")
            if self.verbose:
                self._rich.print(f"[dim]{escape(text.rstrip())}[/dim]")

    # -- messages -------------------------------------------------------------------

    def info(self, text: str) -> None:
        self._say(text, "")

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}", "yellow")

    def error(self, text: str) -> None:
        self._say(f"error: {text}", "bold red")

    def _say(self, text: str, style: str) -> None:
        with self._lock:
            if self._log is not None:
                self._log.write(text + "\n")
            self._clear_line()
            indent = "  " * self._depth
            self._rich.print(indent + escape(text), style=style)

    def _clear_line(self) -> None:
        if self._rich.is_terminal:
            self._rich.file.write("\r\x1b[K")

    # -- steps ----------------------------------------------------------------------

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce ``title``, indent what happens inside, then tell how long it took."""
        self._say(f"- {title}", "")
        self._depth += 1
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._depth -= 1
            self.log(f"{title}: not finished after {time.monotonic() - began:.1f} s")
            raise
        self._depth -= 1
        took = time.monotonic() - began
        if took >= 1.0:
            self._say(f"  {title}: {took:.1f} s", "dim")
        else:
            self.log(f"{title}: {took:.2f} s")

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "") -> Iterator[Progress]:
        """Show ``title n/total`` and the time left; ``total`` 0 means not known."""
        bar = Progress(self, title, total, unit)
        try:
            yield bar
        finally:
            with self._lock:
                self._clear_line()

    # -- programs -------------------------------------------------------------------

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        what: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        progress: str | None = None,
        hint: str | None = None,
    ) -> str:
        """Run a program to its end and return what it printed (stdout and stderr together).

        ``what`` names the job in errors ("compile TensorFlow Lite"). ``env`` is added to
        the environment. With ``progress`` the last line is shown while it works. The child
        gets its own process group, so that Ctrl-C ends all its descendants.

        Raises CommandError when it exits non-zero, UserError when it cannot be started.
        """
        words = [os.fspath(word) for word in command]
        self.log("+ " + shlex.join(words) + (f"   (in {cwd})" if cwd else ""))
        full_env = {**os.environ, **(env or {})}
        try:
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env=full_env,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(words[0], what, cwd, hint, error) from error
        lines: list[str] = []
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        bar = Progress(self, progress, 0, "") if progress else None
        try:
            if stdin is not None:
                assert child.stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(stdin)
                    child.stdin.close()
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line)
                tail.append(line.rstrip("\n"))
                self.log(line)
                if bar:
                    bar.note(line.strip())
            status = child.wait()
        except BaseException:
            terminate_group(child)
            raise
        finally:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            if bar:
                with self._lock:
                    self._clear_line()
        if status != 0:
            raise CommandError(what, status, "\n".join(tail), self.log_path, hint=hint)
        return "".join(lines)


class Progress:
    """One line that says how far a job is; calm on terminals, sparse elsewhere."""

    def __init__(self, console: Console, title: str, total: int, unit: str) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._unit = unit
        self._done = 0
        self._began = time.monotonic()
        self._drawn = self._began

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._draw(note)

    def note(self, text: str) -> None:
        self._draw(text)

    def _draw(self, note: str) -> None:
        now = time.monotonic()
        rich = self._console._rich
        wait = REDRAW_SECONDS if rich.is_terminal else PLAIN_SECONDS
        if now - self._drawn < wait:
            return
        self._drawn = now
        parts = [self._title]
        if self._total:
            parts.append(f"{_amount(self._done, self._unit)}/{_amount(self._total, self._unit)}")
            if self._done:
                left = (now - self._began) * (self._total - self._done) / self._done
                parts.append(f"{left:.0f} s left")
        elif self._done:
            parts.append(_amount(self._done, self._unit))
        else:
            parts.append(f"{now - self._began:.0f} s")
        if note:
            parts.append(note)
        text = "  " * self._console._depth + "  ".join(parts)
        with self._console._lock:
            if rich.is_terminal:
                rich.file.write("\r\x1b[K" + text[: max(20, rich.width - 1)])
                rich.file.flush()
            else:
                rich.print(escape(text))


def _not_started(
    program: str, what: str, cwd: Path | None, hint: str | None, error: OSError
) -> UserError:
    """Popen reports a missing program, its missing interpreter and a missing folder alike."""
    if cwd is not None and not cwd.is_dir():
        return UserError(f"there is no folder {cwd}, in which to {what}")
    place = cwd / program if cwd is not None and os.sep in program else program
    path = shutil.which(place, mode=os.F_OK)
    if path is None:
        return UserError(
            f"could not find the program {program!r}, which is needed to {what}",
            hint=hint or "run ./inv doctor, which tells what to install",
        )
    reason = error.strerror
    if isinstance(error, FileNotFoundError):
        reason = "the interpreter that its first line names does not exist"
    return UserError(
        f"could not start the program {path}, which is needed to {what}: {reason}",
        hint=f"see `ls -l {path}` and `file {path}`",
    )


def terminate_group(child: subprocess.Popen[str]) -> None:
    """End a child and all that it started: SIGTERM, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _amount(number: int, unit: str) -> str:
    if unit == "B":
        return f"{number / 1e6:.1f} MB"
    return f"{number}{unit}"
