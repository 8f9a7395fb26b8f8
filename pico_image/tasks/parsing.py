"""What Invoke's command line lacks: any number of words for a list, exit code 2 for mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser, ParseResult
from invoke.parser.parser import ParseMachine

from pico_image.base.errors import EXIT_USER


class Mistake(ParseError, Exit):
    """A command line that Invoke cannot read: still its ParseError, but with our exit code."""

    def __init__(self, error: ParseError) -> None:
        super().__init__(str(error), error.context)
        hint = "`invoke --list` shows the tasks, `invoke --help TASK` the flags of one"
        self.args = (f"error: {error}\n  hint: {hint}",)  # what Invoke prints
        self.message, self._code = None, EXIT_USER


def mistakes_exit_2() -> None:
    """Let an unknown task or flag end with 2, as every other mistake does; Invoke's code is 1."""
    plain = Parser.parse_argv

    def parse_argv(parser: Parser, argv: Sequence[str]) -> ParseResult:
        try:
            return plain(parser, list(argv))
        except ParseError as error:
            raise Mistake(error) from None

    Parser.parse_argv = parse_argv  # type: ignore[method-assign, assignment]


def takes_words(name: str, argument: str) -> None:
    """Let the task ``name`` take any number of words for its list ``argument``.

    Invoke's positional arguments are one word each and must be given: `invoke report A B` was
    "No idea what 'A' is!" (Invoke 2 and 3). A word that is no flag and no flag's value goes to
    the list; another task cannot follow in the same call.
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
