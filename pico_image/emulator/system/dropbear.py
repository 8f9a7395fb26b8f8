"""The SSH server of the emulator's image: dropbear, static, keys only.

Boards have OpenSSH from Buildroot. Here there is no C library in the root file system, and a
forwarded port on the loopback address should not be a way in for every other user of the
machine, so passwords are not even compiled in.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.compile.toolchain import Toolchain, source_hashes, unpack_patched
from pico_image.config.configuration import Config
from pico_image.emulator.system.kernel import RECIPES

FLAGS = "-Os -mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard -ffunction-sections -fdata-sections"
PROGRAMS = ("dropbear", "dropbearkey")
#: What differs from dropbear's defaults (src/default_options.h).
OPTIONS = {
    "DROPBEAR_SVR_PASSWORD_AUTH": "0",
    "DROPBEAR_SVR_LOCALTCPFWD": "0",
    "DROPBEAR_SVR_REMOTETCPFWD": "0",
    "DROPBEAR_SVR_LOCALSTREAMFWD": "0",
    "DROPBEAR_SVR_AGENTFWD": "0",
    "DROPBEAR_SFTPSERVER": "0",
    "INETD_MODE": "0",
    # The default of 24 KiB makes every upload wait for the emulated CPU's answers.
    "DEFAULT_RECV_WINDOW": "262144",
    "DROPBEAR_PIDFILE": '"/run/dropbear.pid"',
}


def dropbear(console: Console, config: Config, toolchain: Toolchain) -> Path:
    """Static ``dropbear`` and ``dropbearkey`` for the board, and ``LICENSE``; made once."""
    inputs = {
        "source": source_hashes(config, ["dropbear"]),
        "toolchain": toolchain.identity(console, "compile dropbear"),
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step("compile the SSH server dropbear"):
            tree = unpack_patched(console, config, "dropbear", prefix / "work")
            (tree / "localoptions.h").write_text(
                "".join(f"#define {name} {value}\n" for name, value in OPTIONS.items()),
                encoding="ascii",
            )
            env = {
                **dict.fromkeys(("CPPFLAGS", "LDFLAGS", "MAKEFLAGS"), ""),
                "CC": toolchain.tool("gcc"),
                "CFLAGS": f"{FLAGS} -ffile-prefix-map={tree}=.",
                "SOURCE_DATE_EPOCH": "0",
                "LC_ALL": "C",
            }
            console.run(
                [
                    *("./configure", f"--host={toolchain.cross.rstrip('-')}", "--enable-static"),
                    *("--enable-bundled-libtom", "--disable-zlib", "--disable-pam"),
                    *("--disable-lastlog", "--disable-utmp", "--disable-utmpx"),
                    *("--disable-wtmp", "--disable-wtmpx", "--disable-loginfunc"),
                ],
                what="configure dropbear",
                cwd=tree,
                env=env,
                progress="configure dropbear",
            )
            console.run(
                ["make", f"-j{os.cpu_count() or 1}", f"PROGRAMS={' '.join(PROGRAMS)}"],
                what="compile dropbear",
                cwd=tree,
                env=env,
                progress="compile dropbear",
            )
            for program in PROGRAMS:
                shutil.copy(tree / program, prefix / program)
                console.run([toolchain.tool("strip"), prefix / program], what=f"strip {program}")
            shutil.copyfile(tree / "LICENSE", prefix / "LICENSE")
            shutil.rmtree(prefix / "work")

    return build_once("emulator-dropbear", inputs, build, notify=console.info)


def install(root: Path, server: Path) -> None:
    """Put the programs of ``dropbear()`` into a root file system.

    The init script (S50dropbear) is in every emulator image and does nothing without them.
    """
    for program in PROGRAMS:
        shutil.copy(server / program, root / "usr/sbin" / program)
