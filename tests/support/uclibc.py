"""A cross compiler for uClibc, put together from the distribution's source packages.

A stand-in for the toolchain in the vendor's SDK, which no package registry has: uClibc-ng 1.0.35
(the vendor's is 1.0.31) configured like the vendor's, libstdc++ 12.2.0 built on it (the vendor's
is 8.3.0), and the distribution's ARM compiler with every header, start file and library swapped
by a wrapper. It shows what the C library breaks. It is not GCC 8.3, and shows nothing about that.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from pico_image import sources
from pico_image.base.cache import build_once
from pico_image.base.console import Console
from pico_image.base.files import sha256_tree
from pico_image.compile.toolchain import Toolchain, source_hashes
from pico_image.config.configuration import Config

HERE = Path(__file__).parent
SOURCES = ("uclibc-source", "gcc-12-source")
HOST = "arm-buildroot-linux-uclibcgnueabihf"
#: The distribution's compiler, whose code generator and libgcc are used.
CROSS = "arm-linux-gnueabihf-"
KERNEL_HEADERS = Path("/usr/arm-linux-gnueabihf/include")
CPU = "-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard"
#: What libstdc++'s configure wants of GCC's source tree (which is 800 MB).
GCC_PARTS = ("libstdc++-v3", "libgcc", "config", "include", "libiberty")
GCC_FILES = ("gcc/BASE-VER", "gcc/DATESTAMP", "gcc/DEV-PHASE")
#: uClibc puts everything into libc.a and leaves the other names empty.
EMPTY = ("m", "pthread", "dl", "rt", "util", "crypt")

WRAPPER = """\
#!/bin/sh
# Made by tests/support/uclibc.py: {real} with the headers and libraries of uClibc.
root=$(dirname "$(dirname "$(readlink -f "$0")")")
exec {real} -nostdinc {cxx} -isystem {include} -isystem "$root/usr/include" \\
    -fno-pie -no-pie -static -specs="$root/uclibc.specs" -B"$root/usr/lib" -L"$root/usr/lib" "$@"
"""
CXX_HEADERS = (
    '-nostdinc++ -isystem "$root/usr/include/c++" '
    f'-isystem "$root/usr/include/c++/{HOST}" -isystem "$root/usr/include/c++/backward"'
)
SPECS = """\
*startfile:
crt1.o%s crti.o%s crtbeginT.o%s

*endfile:
crtend.o%s crtn.o%s

*lib:
--start-group -lc -lgcc -lgcc_eh --end-group

*libgcc:
-lgcc -lgcc_eh

"""


def toolchain(console: Console, config: Config) -> Toolchain:
    """The compiler; about five minutes on two idle cores the first time."""
    version = Toolchain().check(console, "put a uClibc toolchain together")
    inputs = {
        "sources": source_hashes(config, SOURCES),
        "recipe": sha256_tree([HERE / "uclibc.py", HERE / "uclibc.config"]),
        "compiler": version,
    }

    def build(root: Path) -> None:
        with console.step("put a uClibc toolchain together (about 5 minutes, once)"):
            work = root / "work"
            _kernel_headers(root / "usr/include")
            _uclibc(console, config, root, work)
            _wrappers(console, root)
            _libstdcxx(console, config, root, work)
            shutil.rmtree(work)

    root = build_once("uclibc-toolchain", inputs, build, notify=console.info)
    return Toolchain(cross=f"{root}/bin/arm-uclibc-")


def _kernel_headers(include: Path) -> None:
    """Linux's headers alone; the folder that they come from has glibc's too."""
    include.mkdir(parents=True)
    for name in ("linux", "asm", "asm-generic", "mtd"):
        shutil.copytree(KERNEL_HEADERS / name, include / name)


def _uclibc(console: Console, config: Config, root: Path, work: Path) -> None:
    package = sources.unpack(console, config.source("uclibc-source"), work / "package")
    archive = next((package / "usr/src").glob("uClibc-ng-*.tar.xz"))
    tree = work / "uclibc"
    console.run(["tar", "-xf", archive, "--one-top-level=uclibc", "--strip=1"], cwd=work,
                what="unpack uClibc")  # fmt: skip
    text = (HERE / "uclibc.config").read_text(encoding="utf-8")
    text += f'KERNEL_HEADERS="{root / "usr/include"}"\nCROSS_COMPILER_PREFIX="{CROSS}"\n'
    (tree / ".config").write_text(text, encoding="utf-8")
    make = ["make", "ARCH=arm", f"PREFIX={root}", f"KERNEL_HEADERS={root / 'usr/include'}"]
    console.run([*make, "oldconfig"], cwd=tree, stdin="\n" * 500, what="configure uClibc")
    console.run([*make, "-j2", "V=1"], cwd=tree, what="compile uClibc", progress="compile uClibc")
    # Its libc.a gets libdl only when shared libraries are built too (twice the work), yet the
    # start code of a static program refers to it.
    objects = ["ldso/libdl/libdl.o", "ldso/ldso/arm/resolve.o"]
    console.run([*make, *objects], cwd=tree, what="compile uClibc's libdl")
    console.run([f"{CROSS}ar", "r", "lib/libc.a", *objects], cwd=tree, what="complete libc.a")
    console.run([*make, "install_dev"], cwd=tree, what="install uClibc")
    # Without shared libraries these headers are left out, yet cpuinfo includes the first, and
    # TensorFlow Lite calls what it declares.
    shutil.copy(tree / "include/dlfcn.h", root / "usr/include")
    bits = "bits/dlfcn.h"
    shutil.copy(tree / "libc/sysdeps/linux/common" / bits, root / "usr/include" / bits)
    for name in EMPTY:
        library = root / f"usr/lib/lib{name}.a"
        if not library.exists():
            console.run([f"{CROSS}ar", "rc", library], what="make an empty library")


def _wrappers(console: Console, root: Path) -> None:
    (root / "uclibc.specs").write_text(SPECS, encoding="ascii")
    (root / "bin").mkdir()
    for name in ("gcc", "g++"):
        real = shutil.which(CROSS + name)
        include = console.run([CROSS + name, "-print-file-name=include"], what="ask gcc").strip()
        cxx = CXX_HEADERS if name == "g++" else ""
        wrapper = root / "bin" / f"arm-uclibc-{name}"
        wrapper.write_text(WRAPPER.format(real=real, include=include, cxx=cxx), encoding="ascii")
        wrapper.chmod(0o755)
    for name in ("ar", "as", "ld", "nm", "ranlib", "strip", "objcopy", "objdump", "readelf"):
        (root / "bin" / f"arm-uclibc-{name}").symlink_to(shutil.which(CROSS + name) or name)


def _libstdcxx(console: Console, config: Config, root: Path, work: Path) -> None:
    tree = work / "gcc"
    _unpack_gcc(sources.fetch(console, config.source("gcc-12-source")), tree)
    build = work / "build/libstdc++-v3"
    build.mkdir(parents=True)
    # configure looks for this file beside the build folder and, if it is not there, leaves
    # std::thread and std::mutex out without a word.
    (work / "build/libgcc").mkdir()
    shutil.copyfile(tree / "libgcc/gthr-posix.h", work / "build/libgcc/gthr-default.h")
    tools = f"{root}/bin/arm-uclibc-"
    env = {
        "CC": f"{tools}gcc",
        "CXX": f"{tools}g++",
        "CFLAGS": f"-O2 {CPU}",
        "CXXFLAGS": f"-O2 {CPU} -ffunction-sections -fdata-sections",
        "AR": f"{tools}ar",
        "RANLIB": f"{tools}ranlib",
        "NM": f"{tools}nm",
    }
    guess = subprocess.run(
        [tree / "config.guess"], capture_output=True, text=True, check=True
    ).stdout.strip()
    console.run(
        [
            *(tree / "libstdc++-v3/configure", f"--host={HOST}", f"--build={guess}"),
            *(f"--prefix={root / 'usr'}", f"--with-gxx-include-dir={root / 'usr/include/c++'}"),
            *("--disable-shared", "--enable-static", "--disable-nls", "--disable-multilib"),
            *("--disable-libstdcxx-pch", "--enable-threads=posix", "--disable-libstdcxx-verbose"),
        ],
        cwd=build,
        env=env,
        what="configure libstdc++",
        progress="configure libstdc++",
    )
    console.run(["make", "-j2"], cwd=build, env=env, what="compile libstdc++",
                progress="compile libstdc++")  # fmt: skip
    console.run(["make", "install"], cwd=build, env=env, what="install libstdc++")
    config_header = root / f"usr/include/c++/{HOST}/bits/c++config.h"
    if "#define _GLIBCXX_HAS_GTHREADS 1" not in config_header.read_text(encoding="utf-8"):
        raise AssertionError("libstdc++ was configured without threads")


def _unpack_gcc(package: Path, tree: Path) -> None:
    """The needed parts of the source archive inside the package, without writing the rest."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as deb:
        assert deb.stdout is not None
        with tarfile.open(fileobj=deb.stdout, mode="r|") as outer:
            for member in outer:
                if not member.name.endswith(".tar.xz"):
                    continue
                stream = outer.extractfile(member)
                assert stream is not None
                with tarfile.open(fileobj=stream, mode="r|xz") as inner:
                    for entry in inner:
                        parts = Path(entry.name).parts[1:]
                        if parts and (
                            (len(parts) == 1 and entry.isfile())
                            or parts[0] in GCC_PARTS
                            or "/".join(parts) in GCC_FILES
                        ):
                            entry.name = str(Path(*parts))
                            inner.extract(entry, tree, filter="data")
                break
        deb.stdout.read()
