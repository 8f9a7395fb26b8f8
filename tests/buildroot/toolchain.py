"""Makes a toolchain that Buildroot accepts from the distribution's ARM cross compiler.

Buildroot refuses the distribution's own (its sysroot is ``/``) and expects headers, start files
and C library below one sysroot. So: a folder with links to the distribution's files in the usual
places, and wrappers that point the compiler there. For the tests of real builds only.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TRIPLET = "arm-linux-gnueabihf"
PREFIX = "arm-npu-linux-gnueabihf"
PREFIX_UCLIBC = "arm-npu-linux-uclibcgnueabihf"
DISTRIBUTION = Path("/usr") / TRIPLET
TOOLS = ("addr2line", "ar", "as", "c++filt", "elfedit", "gcc-ar", "gcc-nm", "gcc-ranlib", "ld",
         "nm", "objcopy", "objdump", "ranlib", "readelf", "size", "strings", "strip")  # fmt: skip

# -v is where Buildroot looks for a sysroot of "/"; the rest goes to the real compiler.
WRAPPER = """\
#!/bin/sh
if [ "$*" = "-v" ]; then
	/usr/bin/{triplet}-{tool} -v 2>&1 |
		sed 's,--with-sysroot=/ ,--with-sysroot={root}/sysroot ,' >&2
	exit 0
fi
exec /usr/bin/{triplet}-{tool} -B{root}/sysroot/usr/lib/ "$@"
"""


def make(root: Path) -> Path:
    """Fill ``root`` with ``bin/`` and ``sysroot/``; returns ``root``."""
    (root / "bin").mkdir(parents=True)
    libraries = root / "sysroot/usr/lib"
    libraries.mkdir(parents=True)
    (root / "sysroot/lib").mkdir()
    shutil.copytree(DISTRIBUTION / "include", root / "sysroot/usr/include", symlinks=False)
    for path in sorted((DISTRIBUTION / "lib").iterdir()):
        if not path.is_file():
            continue
        shared = ".so" in path.name and not path.name.endswith(".so")
        folder = root / "sysroot/lib" if shared or path.name.startswith("ld-") else libraries
        if path.is_symlink() and "/" not in str(path.readlink()):
            where = "../../lib/" if folder == libraries else ""
            (folder / path.name).symlink_to(where + str(path.readlink()))
        else:
            shutil.copy2(path, folder / path.name)
    # The linker script of libc names the distribution's own folder.
    script = (libraries / "libc.so").read_text().replace(f"{DISTRIBUTION}/lib/", "")
    (libraries / "libc.so").write_text(script)
    for library in ("libstdc++.a", "libstdc++.so", "libatomic.a", "libgcc_s.so"):
        found = Path(ask(f"-print-file-name={library}"))
        if found.is_file() and not (libraries / library).exists():
            shutil.copy2(found, libraries / library)
    for tool in ("gcc", "g++", "cpp"):
        text = WRAPPER.format(triplet=TRIPLET, tool=tool, root=root)
        for name in {"gcc": ("gcc", "cc"), "g++": ("g++", "c++"), "cpp": ("cpp",)}[tool]:
            path = root / "bin" / f"{PREFIX}-{name}"
            path.write_text(text)
            path.chmod(0o755)
    for tool in TOOLS:
        real = shutil.which(f"{TRIPLET}-{tool}")
        if real:
            (root / "bin" / f"{PREFIX}-{tool}").symlink_to(real)
    return root


UCLIBC_WRAPPER = """\
#!/bin/sh
if [ "$*" = "-v" ]; then
	{base}/bin/arm-uclibc-{tool} -v 2>&1 |
		sed 's,--with-sysroot=/ ,--with-sysroot={base} ,' >&2
	exit 0
fi
sysroot={base}
# Buildroot's wrapper says it in two words; -nostdinc makes GCC itself ignore it.
before=
for word; do
	case $before$word in
	--sysroot=*) sysroot=${{word#--sysroot=}} ;;
	"--sysroot $word") sysroot=$word ;;
	esac
	before=
	[ "$word" = --sysroot ] && before="--sysroot "
done
exec {base}/bin/arm-uclibc-{tool}{only} -isystem "$sysroot/usr/include" -L"$sysroot/usr/lib" "$@"
"""


def make_uclibc(root: Path, base: Path) -> Path:
    """The same around the uClibc compiler of tests/support/uclibc.py, for static programs."""
    (root / "bin").mkdir(parents=True)
    for tool, names in {"gcc": ("gcc", "cc", "cpp"), "g++": ("g++", "c++")}.items():
        for name in names:
            path = root / "bin" / f"{PREFIX_UCLIBC}-{name}"
            # libpng's configure refuses a "cpp" that compiles.
            only = " -E" if name == "cpp" else ""
            path.write_text(UCLIBC_WRAPPER.format(tool=tool, base=base, only=only))
            path.chmod(0o755)
    for tool in TOOLS:
        real = shutil.which(f"{TRIPLET}-{tool}")
        if real:
            (root / "bin" / f"{PREFIX_UCLIBC}-{tool}").symlink_to(real)
    return root


def version() -> int:
    """Major version of the distribution's cross compiler."""
    return int(ask("-dumpversion").partition(".")[0])


def ask(question: str) -> str:
    command = [f"{TRIPLET}-gcc", question]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
