"""A neon-runner by the distribution's compiler, where a variant does not want the SDK's.

A static program needs nothing of the target's C library, so one compiled for glibc runs on the
SDK's uClibc system. A variant asks for it in its extra_symbols (docs/buildroot.md).
"""

from __future__ import annotations

from pathlib import Path

from pico_image import native, render
from pico_image.config import Config
from pico_image.config_schema import Variant
from pico_image.console import Console

SYMBOL = "BR2_PACKAGE_NEON_RUNNER_PREBUILT"
#: A path of the user's own, inside the container; then nothing is handed over.
PATH = "BR2_PACKAGE_NEON_RUNNER_PREBUILT_PATH"
#: The environment variable that package/neon-runner reads.
VARIABLE = "PICO_NEON_RUNNER"


def neon_runner(console: Console, config: Config, variant: Variant) -> Path | None:
    """The program for a variant that asks for it, compiled now or kept; else None."""
    asked = render.symbols(config, variant.name)
    if PATH in asked or SYMBOL not in asked or asked[SYMBOL].value != "y":
        return None
    return native.app(console, config) / "bin" / "neon-runner"
