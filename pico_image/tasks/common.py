"""What the tasks share: exit codes, the words of common flags, reading lists."""

from __future__ import annotations

import functools
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from pico_image.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER, CheckFailed, UserError
from pico_image.files import cache_removed

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
BOARD = {
    "host": "board to reach over SSH: pico.local, or 172.32.0.93 on its USB cable",
    "identity": "private key file",
    "port": "SSH port",
}

if TYPE_CHECKING:
    from pico_image.sdk import Options


def guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into exit codes: 2 the user can mend it, 1 a bad result, 130 Ctrl-C."""

    @functools.wraps(body)
    def run(*arguments: Any, **options: Any) -> Any:
        # A plain kill must unwind like Ctrl-C: child programs end, half-made folders go.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return body(*arguments, **options)
        except (UserError, OSError) as error:
            if (cache := cache_removed()) is not None:
                raise Exit(
                    f"error: the cache {cache} was removed while it was in use: {error}\n"
                    "  hint: run it again; what is missing is made anew",
                    code=EXIT_USER,
                ) from None
            if not isinstance(error, UserError):
                raise
            raise Exit(f"error: {error}", code=EXIT_USER) from None
        except CheckFailed as error:
            raise Exit(f"failed: {error}", code=EXIT_FAILED) from None
        except KeyboardInterrupt:
            raise Exit("interrupted; what was finished is kept", code=EXIT_INTERRUPTED) from None

    return run


def optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def site(
    context: str = "",
    base_image: str = "",
    ubuntu: bool = False,
    sdk_path: str = "",
    sdk_url: str = "",
    **more: Any,
) -> Options:
    """The flags of SITE, and ``more`` of them, as options of the SDK's backend."""
    from pico_image.sdk import Options

    return Options(
        context=context or None,
        base_image=base_image or None,
        ubuntu=ubuntu,
        sdk_path=optional_path(sdk_path),
        sdk_url=sdk_url or None,
        **more,
    )


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
