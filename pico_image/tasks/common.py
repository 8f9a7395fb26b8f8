"""What the tasks share: exit codes, common flags, and what Invoke's command line lacks.

It lacks any number of words for a list, and exit code 2 for mistakes.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser, ParseResult
from invoke.parser.parser import ParseMachine
from invoke.tasks import Task

from pico_image.base.cache import cache_removed
from pico_image.base.console import Console
from pico_image.base.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PIPE,
    EXIT_USER,
    CheckFailed,
    UserError,
)
from pico_image.base.files import unwritable_output

VERBOSE = {"verbose": "show every command and its output"}
VARIANT = {"variant": "which image, see `invoke variants`"}
JSON = {"json": "print JSON for programs"}
if TYPE_CHECKING:
    from pico_image.board.ssh import Connection
    from pico_image.image.build import Login
    from pico_image.sdk.workspace import Options


def guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into the exit codes of base/errors.py."""

    @functools.wraps(body)
    def run(*arguments: Any, **options: Any) -> Any:
        # A plain kill unwinds like Ctrl-C: child programs end, half-made folders are removed.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            try:
                return body(*arguments, **options)
            finally:
                sys.stdout.flush()  # Python's own flush at exit would print a traceback
        except (UserError, OSError) as error:
            if isinstance(error, BrokenPipeError) and _reader_is_gone():
                raise Exit(code=EXIT_PIPE) from None
            if (cache := cache_removed()) is not None:
                raise Exit(
                    f"error: the cache {cache} was removed while it was in use: {error}\n"
                    "  hint: run it again; it makes what is missing",
                    code=EXIT_USER,
                ) from None
            told = unwritable_output(error) if isinstance(error, OSError) else error
            if told is None:
                raise
            raise Exit(f"error: {told}", code=EXIT_USER) from None
        except CheckFailed as error:
            raise Exit(f"failed: {error}", code=EXIT_FAILED) from None
        except KeyboardInterrupt:
            raise Exit("interrupted; finished work is kept", code=EXIT_INTERRUPTED) from None

    return run


def _reader_is_gone() -> bool:
    """Whether the program that reads our output ended (``| head``); then output goes nowhere."""
    output = select.poll()
    output.register(sys.stdout, 0)  # poll always reports errors and hang-ups
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def flag(text: str, default: Any = "") -> Any:
    """A field that is a flag: ``text`` is its help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Site:
    """Where the SDK's build happens and from what. Each field is a flag of every ``SiteTask``."""

    sdk_path: str = flag("a checkout of the Luckfox SDK that you have")
    sdk_url: str = flag("a mirror of the Luckfox SDK's git repository")
    base_image: str = flag("container image to use instead of the vendor's")
    ubuntu: bool = flag("make the build container from Ubuntu instead of the vendor's image", False)
    context: str = flag("docker context of the engine")
    verbose: bool = flag(VERBOSE["verbose"], False)

    def console(self, *, offline: bool = False) -> Console:
        return Console(verbose=self.verbose, offline=offline)

    def options(self, **more: Any) -> Options:
        """The flags, and ``more`` options of the SDK's backend."""
        from pico_image.sdk.workspace import Options

        return Options(
            context=self.context or None,
            base_image=self.base_image or None,
            ubuntu=self.ubuntu,
            sdk_path=optional_path(self.sdk_path),
            sdk_url=self.sdk_url or None,
            **more,
        )


@dataclass(frozen=True)
class BoardFlags:
    """A board over SSH. Each field is a flag of every ``BoardTask``."""

    host: str = flag("board to reach over SSH: pico.local, or 172.32.0.93 on its USB cable")
    identity: str = flag("private key file")
    port: str = flag("SSH port", "22")

    @property
    def is_given(self) -> bool:
        return self != BoardFlags()

    def connection(self, console: Console) -> Connection:
        from pico_image.board.ssh import Connection

        port = whole("port", self.port)
        return Connection(console, self.host, port=port, identity=optional_path(self.identity))


@dataclass(frozen=True)
class LoginFlags:
    """How the user logs in to a board."""

    ssh_key: str = flag("public key file that may log in as root on each")
    password_file: str = flag("file whose first line becomes root's password on each")

    def login(self) -> Login:
        from pico_image.image.build import Login

        return Login(optional_path(self.ssh_key), optional_path(self.password_file))


class FlagsTask(Task[Any]):
    """A task with the flags of dataclasses beside its own: ``@task(klass=SiteTask)``.

    Its body takes one object of each class of ``before`` and ``after``, in this order, between
    Invoke's context and its own flags. The order of the flags decides their letters.
    """

    before: tuple[type[Any], ...] = ()
    after: tuple[type[Any], ...] = ()
    without: frozenset[str] = frozenset()

    def __init__(self, body: Callable[..., Any], *, help: dict[str, str], **options: Any) -> None:
        texts = {
            each.name.replace("_", "-"): each.metadata["help"]
            for group in (*self.before, *self.after)
            for each in self._fields(group)
        }
        super().__init__(body, help={**help, **texts}, **options)

    def _fields(self, group: type[Any]) -> list[Field[Any]]:
        return [each for each in fields(group) if each.name not in self.without]

    def argspec(self, body: Callable[..., Any]) -> inspect.Signature:
        """What Invoke makes flags of: the groups of ``before``, the body's own, ``after``."""
        own = list(super().argspec(body).parameters.values())
        own = own[len(self.before) + len(self.after) :]
        required = [each for each in own if each.default is each.empty]
        before, after = (
            [
                inspect.Parameter(
                    each.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=each.default
                )
                for group in groups
                for each in self._fields(group)
            ]
            for groups in (self.before, self.after)
        )
        own = own[len(required) :]
        return inspect.Signature([*required, *before, *own, *after])

    def __call__(self, context: Context, /, *values: Any, **flags: Any) -> Any:
        bound = self.argspec(self.body).bind(*values, **flags)
        bound.apply_defaults()
        own = dict(bound.arguments)
        groups = [
            group(**{each.name: own.pop(each.name) for each in self._fields(group)})
            for group in (*self.before, *self.after)
        ]
        return super().__call__(context, *groups, **own)


class SiteTask(FlagsTask):
    """A task that enters the SDK."""

    after = (Site,)


class EnginesTask(FlagsTask):
    """A task that builds on several engines, which it names itself."""

    after = (LoginFlags, Site)
    without = frozenset({"context"})


class BoardTask(FlagsTask):
    """A task that reaches a board."""

    before = (BoardFlags,)


def words(text: str) -> list[str]:
    """The words of a comma-separated list."""
    return [word.strip() for word in text.split(",") if word.strip()]


def pairs(entries: list[str]) -> list[tuple[str, str]]:
    """NAME=VALUE entries. Raises UserError for one that is not."""
    for entry in entries:
        if "=" not in entry:
            raise UserError(f"{entry!r} is not NAME=VALUE", hint="for example --size oem=64M")
    return [(entry.partition("=")[0], entry.partition("=")[2]) for entry in entries]


def whole(flag: str, text: str) -> int:
    """The value of a flag as a whole number.

    Flags are text for Invoke: it answers a wrong value of an `int` flag with a traceback.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"--{flag} takes a whole number, not {text!r}")
    return int(text)


def decimal(flag: str, text: str) -> float:
    """The value of a flag as a number; the caller judges "nan" and "inf"."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--{flag} takes a number, not {text!r}") from None


def show(data: Any) -> None:
    """Print JSON to stdout."""
    print(json.dumps(data, indent=2, sort_keys=True, default=str))


class Mistake(ParseError, Exit):
    """A command line that Invoke cannot parse: its ParseError with our exit code."""

    def __init__(self, error: ParseError) -> None:
        super().__init__(str(error), error.context)
        hint = "`invoke --list` shows the tasks, `invoke --help TASK` the flags of one"
        self.args = (f"error: {error}\n  hint: {hint}",)  # what Invoke prints
        self.message, self._code = None, EXIT_USER


def mistakes_exit_2() -> None:
    """End with 2 for an unknown task or flag, as for every other mistake; Invoke ends with 1."""
    plain = Parser.parse_argv

    def parse_argv(parser: Parser, argv: Sequence[str]) -> ParseResult:
        try:
            return plain(parser, list(argv))
        except ParseError as error:
            raise Mistake(error) from None

    Parser.parse_argv = parse_argv  # type: ignore[method-assign, assignment]


def takes_words(name: str, argument: str) -> None:
    """Let the task ``name`` take any number of words for its list ``argument``.

    A positional argument of Invoke is one word and required: `invoke report A B` was
    "No idea what 'A' is!" (Invoke 2 and 3). Here each word that is neither a flag nor the value of
    one goes to the list, so no other task can follow in the same call.
    """
    plain = ParseMachine.handle

    def handle(machine: ParseMachine, token: str) -> None:
        context = machine.context
        if (
            context is not None
            and context.name == name
            and not token.startswith("-")
            and not machine.waiting_for_flag_value
        ):
            context.args[argument].value = token
        else:
            plain(machine, token)

    ParseMachine.handle = handle  # type: ignore[assignment, method-assign]
