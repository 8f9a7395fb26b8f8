"""Hands Buildroot the sources of its own toolchain: GCC, binutils, uClibc-ng, kernel headers.

What a Pico's image needs that the wrapped compilers of toolchain.py cannot show: a GCC that was
configured for uClibc, with its own libgcc and libstdc++, and shared libraries beside static ones.
m4 has the very bytes of Buildroot's hash file; the others are what the distribution has of them,
by hash, from its pool: GCC 12.2 for 12.3, binutils 2.40 for 2.39, uClibc-ng 1.0.35 for 1.0.44, GMP
without its manual, MPFR 4.2.0, MPC 1.3.1, and Linux 6.1's headers as its package has them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pico_image import sources
from pico_image.base.console import Console
from pico_image.config.configuration import Config
from tests.buildroot.pool import pool
from tests.support import uclibc

M4 = pool("m4", "1.4.19", "m/m4/m4_1.4.19.orig.tar.xz",
          "63aede5c6d33b6d9b13511cd0be2cac046f2e70fd0a07aa9573a04a82783af96")  # fmt: skip
#: Unpacked as they are.
PLAIN = {
    "BINUTILS": pool("binutils", "2.40", "b/binutils/binutils_2.40.orig.tar.xz",
                     "d78c2d2eb24a9be1e02f8854cb1bd435556d7f584fb6bfb6b07e6527d43fc41d"),
    "GMP": pool("gmp", "6.2.1", "g/gmp/gmp_6.2.1+dfsg1.orig.tar.xz",
                "471b9e463e04362a0124f215afc5f0a4b99caedeeb62634c61bbc12988efa64c"),
    "MPC": pool("mpc", "1.3.1", "m/mpclib3/mpclib3_1.3.1.orig.tar.gz",
                "ab642492f5cf882b74aa0cb730cd410a81edcdbec895183ce930e706c1c759b8"),
    "MPFR": pool("mpfr", "4.2.0", "m/mpfr4/mpfr4_4.2.0.orig.tar.xz",
                 "06a378df13501248c1b2db5aa977a2c8126ae849a9d9b7be2546fb4a9c26d993"),
}  # fmt: skip
#: Half of GCC's source: other languages, tests of the compiler.
GCC_LEFT_OUT = ("gcc/testsuite", "gcc/ada", "gcc/d", "gcc/go", "gcc/fortran", "libgo", "libphobos",
                "libgfortran")  # fmt: skip
#: The distribution's own change of its Makefile, since its archive is without the manual.
GCC_PATCH = "gcc-gfdl-build.diff"
HEADERS_MAKEFILE = """\
headers_install:
	mkdir -p $(INSTALL_HDR_PATH)/include
	cp -r include/. $(INSTALL_HDR_PATH)/include/
"""
NO_MANUAL = ".DEFAULT:\n\t@:\nall:\n"


def overrides(console: Console, config: Config, folder: Path) -> list[str]:
    """Unpack all below ``folder``; returns the lines of the makefile that names them."""
    names = [*PLAIN, "GCC_INITIAL", "GCC_FINAL", "LINUX_HEADERS", "UCLIBC"]
    trees = {name: folder / name.lower().replace("_initial", "").replace("_final", "")
             for name in names}  # fmt: skip
    for name, source in PLAIN.items():
        sources.unpack(console, source, trees[name])
    manual = trees["GMP"] / "doc/Makefile.in"
    manual.parent.mkdir(exist_ok=True)
    manual.write_text(NO_MANUAL)
    _gcc(sources.fetch(console, config.source("gcc-12-source")), trees["GCC_FINAL"])
    _uclibc(console, config, trees["UCLIBC"])
    headers = trees["LINUX_HEADERS"]
    for name in ("linux", "asm", "asm-generic", "mtd", "rdma", "scsi/fc", "sound", "video", "misc"):
        shutil.copytree(uclibc.KERNEL_HEADERS / name, headers / "include" / name,
                        dirs_exist_ok=True)  # fmt: skip
    (headers / "Makefile").write_text(HEADERS_MAKEFILE)
    return [f"{name}_OVERRIDE_SRCDIR = {tree}\n" for name, tree in trees.items()]


def _gcc(package: Path, tree: Path) -> None:
    if (tree / "configure").exists():
        return
    work = tree.with_name("gcc-package")
    subprocess.run(["dpkg-deb", "-x", str(package), str(work)], check=True)
    archive = next(work.glob("usr/src/gcc-*/gcc-*.tar.xz"))
    tree.mkdir(parents=True)
    left_out = [f"--exclude=*/{name}" for name in GCC_LEFT_OUT]
    subprocess.run(
        ["tar", "-xf", str(archive), "-C", str(tree), "--strip=1", *left_out], check=True
    )
    with (archive.parent / "debian/patches" / GCC_PATCH).open() as patch:
        subprocess.run(["patch", "-s", "-p2"], cwd=tree, stdin=patch, check=True)
    shutil.rmtree(work)


def _uclibc(console: Console, config: Config, tree: Path) -> None:
    work = tree.with_name("uclibc-package")
    package = sources.unpack(console, config.source("uclibc-source"), work)
    archive = next((package / "usr/src").glob("uClibc-ng-*.tar.xz"))
    tree.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(tree), "--strip=1"], check=True)
    shutil.rmtree(work)
