"""What uClibc breaks in TensorFlow Lite's dependencies, and that each patch and flag mends it.

With a toolchain put together from source packages (tests/support/uclibc.py), in place of the
vendor's. Every case is run with our change and without it: one that mends nothing should go.

The toolchain takes a few minutes of two cores the first time and is then kept in the cache, by its
content. The polyfill for GCC 8 is compared in test_native_arm.py; the whole of XNNPACK on uClibc,
built by Buildroot, in test_buildroot_build.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import CommandError
from pico_image.compile import libraries
from pico_image.compile.toolchain import CMakeProject, Toolchain, cmake_build, unpack_patched
from pico_image.config.configuration import load
from tests.support import arm, uclibc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qemu,
    pytest.mark.skipif(arm.qemu() is None, reason="qemu-arm is not installed"),
]

HERE = Path(__file__).parent / "native"
CPU = ["-mcpu=cortex-a7", "-mfpu=neon-vfpv4", "-mfloat-abi=hard", "-O1"]
EIGEN = """
#include <Eigen/Core>
#include <unsupported/Eigen/SpecialFunctions>
float f(float x) { return Eigen::numext::erfc(x); }
"""
FLEXBUFFERS = """
#include "flatbuffers/flexbuffers.h"
int f(const unsigned char *p, unsigned n) { return flexbuffers::GetRoot(p, n).AsInt32(); }
"""
MEMSET = """
#include <stdio.h>
#include <string.h>
int main(void) {
    unsigned char bytes[8];
    volatile int zero_point = -128;
    memset(bytes, zero_point, 8);
    printf("%02x%02x ", bytes[0], bytes[7]);
    memset(bytes, (unsigned char)zero_point, 8);
    printf("%02x%02x\\n", bytes[0], bytes[7]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    return uclibc.toolchain(Console(), load())


def compile_text(toolchain: Toolchain, folder: Path, text: str, *words: str) -> Path:
    """Compile (C++, when it is not a program) and return what came out."""
    language, tool = ("c", "gcc") if "main" in text else ("c++", "g++")
    target = folder / "target"
    command = [toolchain.tool(tool), *CPU, *words, "-x", language, "-", "-o", str(target)]
    Console().run(
        command if language == "c" else [*command, "-std=c++17", "-c"],
        stdin=text,
        what="compile for uClibc",
    )
    return target


def test_toolchain_is_uclibc_with_threads(toolchain: Toolchain, tmp_path: Path) -> None:
    text = (
        "#include <stdio.h>\nint main(void) { printf("
        '"%d.%d.%d\\n", __UCLIBC_MAJOR__, __UCLIBC_MINOR__, __UCLIBC_SUBLEVEL__); return 0; }\n'
    )
    program = compile_text(toolchain, tmp_path, text)
    assert arm.run_arm([program]).stdout == "1.0.35\n"
    header = next(Path(toolchain.cross).parent.parent.rglob("c++config.h"))
    assert "#define _GLIBCXX_HAS_GTHREADS 1" in header.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "folder", "flag", "text"),
    [
        ("eigen", ".", "-DEIGEN_HAS_C99_MATH=1", EIGEN),
        ("flatbuffers", "include", "-DFLATBUFFERS_LOCALE_INDEPENDENT=0", FLEXBUFFERS),
    ],
)
def test_flag_is_used_and_needed(
    toolchain: Toolchain, tmp_path: Path, name: str, folder: str, flag: str, text: str
) -> None:
    assert flag in libraries.TFLITE_CXXFLAGS.split()
    tree = unpack_patched(Console(), load(), name, tmp_path, libraries.PATCHES)
    include = f"-I{tree / folder}"
    assert compile_text(toolchain, tmp_path, text, include, flag).is_file()
    with pytest.raises(CommandError):
        compile_text(toolchain, tmp_path, text, include)


@pytest.mark.parametrize("patched", [True, False])
def test_cpuinfo_sees_neon_only_with_the_patch(
    toolchain: Toolchain, tmp_path: Path, patched: bool
) -> None:
    """Without NEON XNNPACK refuses, and the delegate is NULL."""
    console = Console()
    patches = libraries.PATCHES if patched else None
    tree = unpack_patched(console, load(), "cpuinfo", tmp_path, patches)
    tests = ("UNIT_TESTS", "MOCK_TESTS", "BENCHMARKS", "TOOLS")
    cmake_build(
        console,
        toolchain,
        CMakeProject(
            tree,
            title="cpuinfo",
            options={f"CPUINFO_BUILD_{name}": "OFF" for name in tests}
            | {"CPUINFO_LIBRARY_TYPE": "static"},
            work=tmp_path,
        ),
        tmp_path / "build",
    )
    program = tmp_path / "has_neon"
    console.run(
        [
            *(toolchain.tool("gcc"), *CPU, f"-I{tree}/include", str(HERE / "has_neon.c")),
            *(str(tmp_path / "build/libcpuinfo.a"), "-o", str(program)),
        ],
        what="link has_neon",
    )
    result = arm.run_arm([program])
    assert result.returncode == (0 if patched else 1), result.stdout + result.stderr
    if patched:  # cpuinfo_uarch_cortex_a7, so that the kernels for this core are chosen
        assert "uarch 300207" in result.stdout


def test_memset_takes_a_negative_byte_wrongly(toolchain: Toolchain, tmp_path: Path) -> None:
    program = compile_text(toolchain, tmp_path, MEMSET, "-fno-builtin")
    assert arm.run_arm([program]).stdout == "80ff 8080\n"


def test_no_memset_of_xnnpack_gets_a_signed_byte(tmp_path: Path) -> None:
    """Patched, all are constants or casts; unpatched they are not.

    What operator-utils.c calls padding_byte is the weights' and never negative.
    """
    pattern = re.compile(r"memset\([^,;]*, (?!0\b|0x|\(uint8_t\)|padding_byte\b)[^;]*;")

    def suspicious(tree: Path) -> list[str]:
        return [
            match
            for file in sorted((tree / "src").glob("operator*"))
            for part in ([file] if file.is_file() else sorted(file.glob("*.c")))
            for match in pattern.findall(part.read_text(encoding="utf-8"))
        ]

    console, config = Console(), load()
    patched = unpack_patched(console, config, "xnnpack", tmp_path / "patched", libraries.PATCHES)
    assert suspicious(patched) == []
    assert len(suspicious(unpack_patched(console, config, "xnnpack", tmp_path / "fresh"))) == 4


def test_thread_join_needs_its_symbol(toolchain: Toolchain, tmp_path: Path) -> None:
    """libstdc++ refers to pthread_join only weakly, so a static link may leave it out."""
    results = {}
    for name, extra in (("without", []), ("with", ["-Wl,-u,pthread_join"])):
        program = tmp_path / name
        Console().run(
            [toolchain.tool("g++"), *CPU, HERE / "thread_join.cpp", *extra, "-o", program],
            what="compile thread_join",
        )
        results[name] = arm.run_arm([program])
    assert (results["with"].returncode, results["with"].stdout) == (0, "joined 1\n")
    assert results["without"].returncode != 0, "the flag is not needed any more"
