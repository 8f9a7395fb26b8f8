"""The stand-in SDK as a git repository, and a server for it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from pico_image.base.files import ROOT, sha256_file
from tests.support.sdk_stand_in.engine import dies_with_us

FILES = Path(__file__).with_name("files")
TOOLCHAIN = "arm-rockchip830-linux-uclibcgnueabihf"
#: The compiler's driver, which names its other programs.
GCC = """#!/bin/sh
case $1 in
    --version) echo "stand-in 8.3.0" ;;
    -print-prog-name=cc1) echo "$(dirname "$(realpath "$0")")/../libexec/cc1" ;;
    *) exit 1 ;;
esac
"""
IDENTITY = {
    **{f"GIT_{who}_NAME": "stand-in" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "stand-in@example.org" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *words: str) -> str:
    """Run git there; its output."""
    return subprocess.run(
        ["git", "-c", "safe.directory=*", *words],
        cwd=folder,
        env={**os.environ, **IDENTITY},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def write_sdk(folder: Path) -> None:
    """The stand-in's files, with what the real SDK carries as archives or by the thousand."""
    shutil.copytree(FILES / "sdk", folder, symlinks=True, dirs_exist_ok=True)
    (folder / "build.sh").symlink_to("project/build.sh")
    (folder / ".gitignore").write_text("output/\nconfig/\nIMAGE/\n.BoardConfig.mk\n")
    (folder / "sysdrv/.gitignore").write_text("*.o\nout\nsource/buildroot\n")
    wifi = folder / "project/app/wifi_app"
    wifi.mkdir(parents=True)
    for name in ("hostapd", "hostapd_cli", "librkwifibt.so"):
        (wifi / name).write_text("as committed\n")
    twins = folder / "sysdrv/source/kernel/net/netfilter"
    twins.mkdir(parents=True)
    (twins / "xt_DSCP.c").write_text("/* target */\n")
    (twins / "xt_dscp.c").write_text("/* match */\n")
    trees = folder / "sysdrv/source/kernel/arch/arm/boot/dts"
    trees.mkdir(parents=True)
    for name in ("rv1103g-luckfox-pico-mini", "rv1106g-luckfox-pico-ultra-w"):
        (trees / f"{name}.dts").write_text("/* a board */\n")
    (trees / "rv1106g-luckfox-pico-zero.dts").write_text("/* 700 MHz */\n")
    driver = folder / "sysdrv/source/kernel/drivers/rknpu"
    (driver / "include").mkdir(parents=True)
    (driver / "Kconfig").write_text("config ROCKCHIP_RKNPU\n")
    (driver / "include/rknpu_drv.h").write_text(
        '#define DRIVER_NAME "rknpu"\n#define DRIVER_MAJOR 0\n#define DRIVER_MINOR 9\n'
        "#define DRIVER_PATCHLEVEL 2\n"
    )
    configs = folder / "sysdrv/source/kernel/arch/arm/configs"
    configs.mkdir(parents=True)
    (configs / "luckfox_rv1106_linux_defconfig").write_text("CONFIG_ARM=y\n")
    (configs / "rv1106-bt.config").write_text("CONFIG_BT=y\n")
    loader = folder / "sysdrv/source/uboot/u-boot"
    loader.mkdir(parents=True)
    (loader / "configs").mkdir()
    for name in (
        "luckfox_rv1106_uboot_defconfig",
        "rk-emmc.config",
        "rv1106-luckfox-rgb-reset.config",
    ):
        (loader / "configs" / name).write_text("CONFIG_ARM=y\n")
    (loader / "make.sh").write_text('JOB=`nproc`0\necho "make all --jobs=${JOB}"\n')
    toolchain = folder / "tools/linux/toolchain" / TOOLCHAIN
    for name, text in ((f"bin/{TOOLCHAIN}-gcc", GCC), ("libexec/cc1", "#!/bin/sh\n")):
        (toolchain / name).parent.mkdir(parents=True, exist_ok=True)
        (toolchain / name).write_text(text)
        (toolchain / name).chmod(0o755)
    # Rules for line ends that the files beside them break, as in the real rt-thread folder.
    mcu = folder / "sysdrv/source/mcu"
    mcu.mkdir(parents=True)
    (mcu / ".gitattributes").write_text("* text=auto\n*.c text\n")
    (mcu / "hal.c").write_bytes(b"/* CRLF */\r\n")
    for number in range(40):
        sample = folder / f"media/samples/sample{number}.c"
        sample.parent.mkdir(parents=True, exist_ok=True)
        sample.write_text(f"/* {number} */\n" * 50)
    tools = folder / "sysdrv/tools/board/buildroot"
    tools.mkdir(parents=True)
    pack_buildroot(tools)


def pack_buildroot(folder: Path) -> None:
    """The stand-in for Buildroot as the SDK's archive of it."""
    _pack(FILES / "buildroot", "buildroot-2023.02.6", folder / "buildroot-2023.02.6.tar.gz")


def _pack(folder: Path, name: str, target: Path) -> None:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as bundle:
        bundle.add(folder, name, filter=plain)
        for extra, content in (
            ("configs/qemu_defconfig", b""),
            ("package/busybox/busybox.mk", b""),
            ("package/busybox/busybox.config", b"# CONFIG_TELNETD is not set\n"),
        ):
            member = tarfile.TarInfo(f"{name}/{extra}")
            member.size = len(content)
            bundle.addfile(plain(member), io.BytesIO(content))
    target.write_bytes(
        subprocess.run(
            ["gzip", "-n"], input=buffer.getvalue(), stdout=subprocess.PIPE, check=True
        ).stdout
    )


def make_repository(folder: Path) -> str:
    """A repository with the SDK as its one commit; the commit's id."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    write_sdk(folder)
    # Committed with the line ends that it has.
    attributes = folder / ".git/info/attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* -text\n")
    git(folder, "add", "--all")
    attributes.unlink()
    git(folder, "commit", "--quiet", "-m", "stand-in")
    # What GitHub allows: single commits and objects, partial clones.
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "config", "uploadpack.allowFilter", "true")
    return git(folder, "rev-parse", "HEAD")


@contextlib.contextmanager
def served(base: Path, address: str) -> Iterator[str]:
    """Serve the repositories below ``base`` as git://; the URL before their names."""
    for _ in range(3):  # between the choice and the daemon's own binding a port may be taken
        with socket.socket() as probe:
            probe.bind((address, 0))
            port = int(probe.getsockname()[1])
        daemon = _daemon(base, address, port)
        if _listens(daemon, address, port):
            break
    try:
        assert daemon.poll() is None, "git daemon did not start"
        yield f"git://{address}:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, 15)
        daemon.wait()


def _listens(daemon: subprocess.Popen[bytes], address: str, port: int) -> bool:
    """Wait until it takes connections; False when it ended instead."""
    while daemon.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return True
        time.sleep(0.05)
    return False


def _daemon(base: Path, address: str, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *dies_with_us(),
            *("git", "-c", "safe.directory=*", "daemon", "--export-all", f"--base-path={base}"),
            *(f"--listen={address}", f"--port={port}", "--reuseaddr", str(base)),
        ],
        env={**os.environ, **IDENTITY, "GIT_CONFIG_COUNT": "1",
             "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def copy_tree(folder: Path) -> Path:
    """What a build hands to the container, copied below ``folder``; returns ``folder``."""
    for name in ("app", "board", "br2-external", "configs", "docker", "package"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "LICENSE", folder)
    return folder


def replace_downloads(tree: Path, folder: Path) -> None:
    """What our packages download becomes a few bytes in a folder of this machine."""
    listing = tree / "configs/sources.yml"
    sources = yaml.safe_load(listing.read_text())
    for hashes in sorted(tree.glob("package/*/*.hash")):
        text = hashes.read_text()
        for source in sources["sources"].values():
            for file in source.get("files", []):
                if file["sha256"] in text and file["file"] in text:
                    place = folder / hashes.stem / file["file"]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_text(f"{hashes.stem}\n")
                    digest = sha256_file(place)
                    text = text.replace(file["sha256"], digest)
                    file.clear()
                    places = [{"url": place.as_uri()}]
                    file |= {"file": place.name, "sha256": digest, "places": places}
        hashes.write_text(text)
    listing.write_text(yaml.safe_dump(sources, sort_keys=False))
