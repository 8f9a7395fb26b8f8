"""What the tasks share: exit codes, the words of common flags, reading lists."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

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
#: Where the SDK's build happens and from what: the same for every task that enters it.
SITE = {
    "sdk-path": "a checkout of the Luckfox SDK that you have",
    "sdk-url": "a mirror of the Luckfox SDK's git repository",
    "base-image": "container image to use instead of the vendor's",
    "ubuntu": "make the build container from Ubuntu instead of the vendor's image",
    "context": "docker context of the engine",
}
#: What those flags are when they are not given.
SITE_DEFAULTS: dict[str, str | bool] = {
    "sdk_path": "",
    "sdk_url": "",
    "base_image": "",
    "ubuntu": False,
    "context": "",
}
BOARD = {
    "host": "board to reach over SSH: pico.local, or 172.32.0.93 on its USB cable",
    "identity": "private key file",
    "port": "SSH port",
}

if TYPE_CHECKING:
    from pico_image.sdk.workspace import Options


def guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into the exit codes of base/errors.py; the reader of a pipe may end early."""

    @functools.wraps(body)
    def run(*arguments: Any, **options: Any) -> Any:
        # A plain kill must unwind like Ctrl-C: child programs end, half-made folders go.
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
                    "  hint: run it again; what is missing is made anew",
                    code=EXIT_USER,
                ) from None
            told = unwritable_output(error) if isinstance(error, OSError) else error
            if told is None:
                raise
            raise Exit(f"error: {told}", code=EXIT_USER) from None
        except CheckFailed as error:
            raise Exit(f"failed: {error}", code=EXIT_FAILED) from None
        except KeyboardInterrupt:
            raise Exit("interrupted; what was finished is kept", code=EXIT_INTERRUPTED) from None

    return run


def _reader_is_gone() -> bool:
    """Did the program that reads our output end (``| head``)? Nothing is printed from then on."""
    output = select.poll()
    output.register(sys.stdout, 0)  # errors and hang-ups are reported unasked
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def optional_path(text: str) -> Path | None:
    return Path(text) if text else None


class Site:
    """What a task with the flags of SITE and --verbose gets in place of them."""

    def __init__(self, flags: Mapping[str, Any], *, verbose: bool) -> None:
        self._flags = flags
        self.console = Console(verbose=verbose)

    def options(self, **more: Any) -> Options:
        """The flags, and ``more`` options of the SDK's backend."""
        from pico_image.sdk.workspace import Options

        flags = self._flags
        return Options(
            context=flags["context"] or None,
            base_image=flags["base_image"] or None,
            ubuntu=flags["ubuntu"],
            sdk_path=optional_path(flags["sdk_path"]),
            sdk_url=flags["sdk_url"] or None,
            **more,
        )


def at_site(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a task the flags of SITE but ``without``, and --verbose; its body gets a ``Site``.

    Invoke reads the flags of a task from its signature: this one has the body's after the
    ``Site``, then those. Errors become exit codes, as ``guarded`` does it.
    """
    defaults = {name: value for name, value in SITE_DEFAULTS.items() if name not in without}

    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        first, _, *own = inspect.signature(body).parameters.values()
        added = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for name, default in {**defaults, "verbose": False}.items()
        ]
        signature = inspect.Signature([first, *own, *added])

        @guarded
        @functools.wraps(body)
        def run(*arguments: Any, **options: Any) -> Any:
            bound = signature.bind(*arguments, **options)
            bound.apply_defaults()
            given = dict(bound.arguments)
            context = given.pop(first.name)
            flags = {name: given.pop(name) for name in defaults}
            site = Site({**SITE_DEFAULTS, **flags}, verbose=given.pop("verbose"))
            return body(context, site, **given)

        run.__dict__["__signature__"] = signature
        return run

    return decorate


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
    """The whole number that a flag was given.

    Flags are text for Invoke: an `int` flag with anything else is a traceback there.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"--{flag} takes a whole number, not {text!r}")
    return int(text)


def decimal(flag: str, text: str) -> float:
    """The number that a flag was given; "nan" and "inf" are for the caller to judge."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--{flag} takes a number, not {text!r}") from None


def show(data: Any) -> None:
    """Print JSON to stdout."""
    print(json.dumps(data, indent=2, sort_keys=True, default=str))
