"""The programs of an emulator image besides ours: busybox, e2fsprogs, dropbear; the initramfs.

Compiled with the distribution's ARM compiler, static, because the root file system has no C
library. Each is made once for its inputs and kept in the cache.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file, sha256_tree
from pico_image.compile.toolchain import Toolchain, source_hashes, unpack_patched
from pico_image.config.configuration import Config
from pico_image.emulator.system.kernel import RECIPES, kernel

BOARD_FOLDER = ROOT / "board" / "luckfox-pico" / "emulator"
SOURCES = ("linux-armmp", "busybox", "e2fsprogs", "dropbear")
CPU_FLAGS = "-Os -mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard"
#: Lets the linker leave out functions that nobody calls.
SECTIONS = "-ffunction-sections -fdata-sections"
INITRAMFS_APPLETS = (
    *("sh", "mount", "umount", "insmod", "sleep", "switch_root", "poweroff", "ifconfig"),
)
SERVER_PROGRAMS = ("dropbear", "dropbearkey")
#: What differs from dropbear's defaults (src/default_options.h).
SERVER_OPTIONS = {
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


def busybox(console: Console, config: Config, toolchain: Toolchain) -> Path:
    """Static busybox with the applets of ``busybox.config``: ``busybox``, ``applets`` (paths)."""
    request = BOARD_FOLDER / "busybox.config"
    inputs = {
        "source": source_hashes(config, ["busybox"]),
        "config": sha256_file(request),
        "toolchain": toolchain.identity(console, "compile busybox"),
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step("compile busybox"):
            tree = unpack_patched(console, config, "busybox", prefix / "work")
            make = ["make", "ARCH=arm", f"CROSS_COMPILE={toolchain.cross}"]
            env = _compile_env()
            console.run([*make, "allnoconfig"], what="configure busybox", cwd=tree, env=env)
            _request(tree / ".config", request)
            # Symbols that our lines made visible get their defaults: an endless empty answer.
            console.run(
                [*make, "oldconfig"], what="configure busybox", cwd=tree, env=env, stdin="\n" * 999
            )
            _check_requested(tree / ".config", request)
            flags = f"{CPU_FLAGS} -ffile-prefix-map={tree}=."
            console.run(
                [
                    *(*make, f"-j{os.cpu_count() or 1}", f"CONFIG_EXTRA_CFLAGS={flags}"),
                    *("CONFIG_EXTRA_LDFLAGS=-Wl,--build-id=none", "busybox", "busybox.links"),
                ],
                what="compile busybox",
                cwd=tree,
                env=env,
                progress="compile busybox",
            )
            shutil.copy(tree / "busybox", prefix / "busybox")
            shutil.copyfile(tree / "busybox.links", prefix / "applets")
            shutil.copyfile(tree / "LICENSE", prefix / "LICENSE")
            shutil.rmtree(prefix / "work")

    return build_once("emulator-busybox", inputs, build, notify=console.info)


def _request(path: Path, request: Path) -> None:
    requested = [
        line
        for line in request.read_text(encoding="utf-8").splitlines()
        if line.startswith("CONFIG_")
    ]
    names = {line.partition("=")[0] for line in requested}
    kept = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if (match := re.match(r"(?:# )?(CONFIG_\w+)", line)) is None or match[1] not in names
    ]
    path.write_text("\n".join([*kept, *requested]) + "\n", encoding="utf-8")


def _check_requested(path: Path, request: Path) -> None:
    """Kconfig drops what it does not know or cannot have, in silence."""
    actual = set(path.read_text(encoding="utf-8").splitlines())
    for number, line in enumerate(request.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("CONFIG_") and line not in actual:
            raise UserError(
                f"{request}:{number}: busybox's configuration dropped {line}",
                hint="the symbol is unknown to this version of busybox or lacks what it depends on",
            )


def e2fsprogs(console: Console, config: Config, toolchain: Toolchain) -> Path:
    """Static ``e2fsck`` and ``resize2fs`` for the board."""
    inputs = {
        "source": source_hashes(config, ["e2fsprogs"]),
        "toolchain": toolchain.identity(console, "compile e2fsprogs"),
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step("compile e2fsck and resize2fs"):
            tree = unpack_patched(console, config, "e2fsprogs", prefix / "work")
            folder = tree / "build"
            folder.mkdir()
            env = _compile_env()
            console.run(
                ["../configure", f"--host={toolchain.cross.rstrip('-')}", "--without-pthread"]
                + ["--enable-libuuid", "--enable-libblkid"]
                + [
                    f"--disable-{part}"
                    for part in ("nls", "uuidd", "fuse2fs", "debugfs", "imager", "defrag", "tdb")
                ]
                + [f"CFLAGS={CPU_FLAGS} {SECTIONS}"]
                + ["LDFLAGS=-static -Wl,--gc-sections -Wl,--build-id=none", "BUILD_CC=gcc"],
                what="configure e2fsprogs",
                cwd=folder,
                env=env,
                progress="configure e2fsprogs",
            )
            for words in (
                ["libs"],
                ["-C", "e2fsck", "e2fsck.static"],
                ["-C", "resize", "resize2fs"],
            ):
                console.run(
                    ["make", f"-j{os.cpu_count() or 1}", *words],
                    what="compile e2fsprogs",
                    cwd=folder,
                    env=env,
                    progress="compile e2fsprogs",
                )
            shutil.copy(folder / "e2fsck" / "e2fsck.static", prefix / "e2fsck")
            shutil.copy(folder / "resize" / "resize2fs", prefix / "resize2fs")
            for program in ("e2fsck", "resize2fs"):
                console.run([toolchain.tool("strip"), prefix / program], what=f"strip {program}")
            shutil.copyfile(tree / "NOTICE", prefix / "NOTICE")
            shutil.rmtree(prefix / "work")

    return build_once("emulator-e2fsprogs", inputs, build, notify=console.info)


def dropbear(console: Console, config: Config, toolchain: Toolchain) -> Path:
    """The SSH server: static ``dropbear`` and ``dropbearkey``, and ``LICENSE``.

    Boards have OpenSSH from Buildroot, which needs a C library. A forwarded port on the loopback
    address must not let in every other user of the machine, so passwords are not even compiled in.
    """
    inputs = {
        "source": source_hashes(config, ["dropbear"]),
        "toolchain": toolchain.identity(console, "compile dropbear"),
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step("compile the SSH server dropbear"):
            tree = unpack_patched(console, config, "dropbear", prefix / "work")
            (tree / "localoptions.h").write_text(
                "".join(f"#define {name} {value}\n" for name, value in SERVER_OPTIONS.items()),
                encoding="ascii",
            )
            env = {
                **dict.fromkeys(("CPPFLAGS", "LDFLAGS", "MAKEFLAGS"), ""),
                "CC": toolchain.tool("gcc"),
                "CFLAGS": f"{CPU_FLAGS} {SECTIONS} -ffile-prefix-map={tree}=.",
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
                ["make", f"-j{os.cpu_count() or 1}", f"PROGRAMS={' '.join(SERVER_PROGRAMS)}"],
                what="compile dropbear",
                cwd=tree,
                env=env,
                progress="compile dropbear",
            )
            for program in SERVER_PROGRAMS:
                shutil.copy(tree / program, prefix / program)
                console.run([toolchain.tool("strip"), prefix / program], what=f"strip {program}")
            shutil.copyfile(tree / "LICENSE", prefix / "LICENSE")
            shutil.rmtree(prefix / "work")

    return build_once("emulator-dropbear", inputs, build, notify=console.info)


def install_server(root: Path, server: Path) -> None:
    """Put the programs of ``dropbear`` into a root file system.

    The init script (S50dropbear) is in every emulator image and does nothing without them.
    """
    for program in SERVER_PROGRAMS:
        shutil.copy(server / program, root / "usr/sbin" / program)


def _compile_env() -> dict[str, str]:
    """Nothing of the caller's flags, times or folder gets into what is compiled."""
    clean = dict.fromkeys(("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS"), "")
    return {**clean, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C", "KCONFIG_NOTIMESTAMP": "1"}


def initramfs(console: Console, config: Config, toolchain: Toolchain) -> Path:
    """``initramfs.cpio.gz``: drivers of the card, ``blkdevparts``, the script that mounts the root.

    Nothing of it stays in memory: switch_root deletes it all.
    """
    kernel_prefix = kernel(console, config)
    busybox_prefix = busybox(console, config, toolchain)
    partitions = BOARD_FOLDER / "blkdevparts.c"
    script = BOARD_FOLDER / "initramfs-init"
    inputs = {
        "kernel": kernel_prefix.name,
        "busybox": busybox_prefix.name,
        "files": sha256_tree([partitions, script]),
        "toolchain": toolchain.identity(console, "compile blkdevparts"),
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step("make the initramfs"):
            root = prefix / "root"
            for name in ("bin", "dev", "proc", "root"):
                (root / name).mkdir(parents=True)
            shutil.copy(busybox_prefix / "busybox", root / "bin" / "busybox")
            for applet in INITRAMFS_APPLETS:
                (root / "bin" / applet).symlink_to("busybox")
            console.run(
                [
                    *(toolchain.tool("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror"),
                    *(*CPU_FLAGS.split(), "-static", "-s", "-Wl,--build-id=none"),
                    *(f"-ffile-prefix-map={ROOT}=.", "-o", root / "bin/blkdevparts", partitions),
                ],
                what="compile blkdevparts",
            )
            shutil.copy(script, root / "init")
            shutil.copytree(kernel_prefix / "modules", root / "modules")
            archive = _newc(console, root)
            # mtime 0 and no file name: the same bytes every time.
            (prefix / "initramfs.cpio.gz").write_bytes(gzip.compress(archive, 9, mtime=0))
            shutil.rmtree(root)

    return build_once("emulator-initramfs", inputs, build, notify=console.info)


def _newc(console: Console, root: Path) -> bytes:
    """A cpio archive of ``root``, owned by root, times 0, in sorted order."""
    paths = sorted(root.rglob("*"))
    for path in paths:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (0, 0), follow_symlinks=False)
    archive = root.with_name("initramfs.cpio")
    console.run(
        [
            *("cpio", "--create", "--format=newc", "--reproducible", "--owner=0:0", "--quiet"),
            f"--file={archive}",
        ],
        what="pack the initramfs",
        cwd=root,
        stdin="".join(f"{path.relative_to(root)}\n" for path in paths),
    )
    content = archive.read_bytes()
    archive.unlink()
    return content
