"""Buildroot's menu with the configuration of a variant, in an unpacked Buildroot of the user.

Changes come back as lines for the variant's file: every build makes the defconfig anew, so a
change that stays in ``.config`` would be lost.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.config import kconfig, render
from pico_image.config.configuration import Config


def open_menu(console: Console, config: Config, variant_name: str, buildroot: Path) -> list[str]:
    """Open ``make menuconfig``; the changes, as lines for the variant's file.

    ``buildroot`` is an unpacked Buildroot, which is not written to. Raises UserError when it is
    none, when there is no terminal, or when Buildroot drops a symbol that the variant asks for.
    """
    if not (buildroot / "Config.in").is_file():
        raise UserError(
            f"{buildroot} is not a Buildroot tree, which the menu is needed from",
            hint="let BUILDROOT_DIR name one, or unset it to use the SDK's in its container",
        )
    if not sys.stdin.isatty():
        raise UserError(
            "a menu needs a terminal, and standard input is none",
            hint="run it in a terminal, without a pipe",
        )
    render.write(config, [variant_name])
    with tempfile.TemporaryDirectory(prefix="pico-menuconfig-") as scratch:
        output = Path(scratch)
        external = config.root / "br2-external"
        make = ["make", "-s", "-C", str(buildroot), f"O={output}", f"BR2_EXTERNAL={external}"]
        console.run([*make, render.defconfig_name(variant_name)], what="load the defconfig")
        kconfig.check(
            render.symbols(config, variant_name),
            (output / ".config").read_text(encoding="utf-8"),
            [buildroot, config.root / "package"],
        )
        before = _saved(console, make, output / "before")
        if subprocess.run([*make, "menuconfig"], check=False).returncode != 0:
            raise UserError(
                "the menu ended with an error, nothing was taken over",
                hint="it needs the headers of ncurses: apt-get install libncurses-dev",
            )
        after = _saved(console, make, output / "after")
    return kconfig.as_variant_lines(kconfig.changes(before, after)).splitlines()


def _saved(console: Console, make: list[str], path: Path) -> str:
    console.run([*make, "savedefconfig", f"BR2_DEFCONFIG={path}"], what="save the configuration")
    return path.read_text(encoding="utf-8")
