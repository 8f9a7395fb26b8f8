"""The compiled TensorFlow Lite, run as on the board's Cortex-A7.

Every small model takes one road that has gone wrong (or would without a patch) and is compared
with the reference interpreter's output on this machine.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.compile import libraries
from pico_image.compile.toolchain import Toolchain, unpack_patched
from pico_image.config.configuration import load
from pico_image.models.environment import environment
from tests.support import arm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.qemu,
    pytest.mark.skipif(arm.qemu() is None, reason="qemu-arm is not installed"),
]

HERE = Path(__file__).parent / "native"
GCC = Toolchain().tool("gcc")
FLAGS = [
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-mcpu=cortex-a7"),
    *("-mfpu=neon-vfpv4", "-mfloat-abi=hard", "-static", "-Wl,--gc-sections"),
]
#: Name, format of an output value, largest error (one step of the quantised ones: rounding).
MODELS = {
    "int8-1x1-output": ("b", 0.0),
    "int8-padded": ("b", 0.0),
    "uint8-padded": ("B", 0.0),
    "int8-depthwise-3x3": ("b", 1.0),
    "int8-depthwise-5x5": ("b", 1.0),
    "hybrid-dense": ("f", 1e-4),
    "hybrid-convolution": ("f", 1e-4),
    "int16-dense": ("h", 1.0),
}


@pytest.fixture(scope="module")
def prefix() -> Path:
    return libraries.tflite(Console(), load())


@pytest.fixture(scope="module")
def program(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C program linked as link.txt says; also the test that C alone is enough."""
    target = tmp_path_factory.mktemp("program") / "run_model"
    link = (prefix / "link.txt").read_text(encoding="ascii").split()
    sources: list[str | Path] = [
        HERE / "run_model.c",
        f"-I{prefix / 'include'}",
        f"-L{prefix / 'lib'}",
    ]
    Console().run([GCC, *FLAGS, *sources, *link, "-o", target], what="compile run_model")
    return target


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    console = Console()
    python = environment(console, "models")
    console.run([python, HERE / "make_models.py", folder], what="make the small models")
    return folder


@pytest.mark.parametrize("delegate", ["xnnpack", "no-delegate"])
@pytest.mark.parametrize("name", MODELS)
def test_small_model(program: Path, models: Path, tmp_path: Path, name: str, delegate: str) -> None:
    out = tmp_path / "out"
    model = models / f"{name}.tflite"
    result = arm.run_arm([program, model, model.with_suffix(".in"), out, delegate])
    # A negative code is a signal: without its patch int8-1x1-output ends with -11 on an A7.
    assert result.returncode == 0, result.stderr
    kind, tolerance = MODELS[name]
    got = struct.iter_unpack(kind, out.read_bytes())
    expected = struct.iter_unpack(kind, model.with_suffix(".out").read_bytes())
    pairs = [(a[0], b[0]) for a, b in zip(got, expected, strict=True)]
    assert len({b for _, b in pairs}) > 5, "the expected output says nothing"
    assert max(abs(a - b) for a, b in pairs) <= tolerance


def test_xnnpack_refuses_aloud_when_it_does_not_know_the_cpu(
    program: Path, models: Path, tmp_path: Path
) -> None:
    model = models / "int8-padded.tflite"
    command: list[str | Path] = [
        program,
        model,
        model.with_suffix(".in"),
        tmp_path / "out",
        "xnnpack",
    ]
    result = arm.run_arm(command, cpu_part=None)
    assert result.returncode == 3, "the delegate was made although the CPU is unknown"
    assert "XNNPACK refused" in result.stderr


def test_library_has_neon_and_the_kernels_of_this_core(program: Path) -> None:
    console = Console()
    attributes = console.run(
        ["arm-linux-gnueabihf-readelf", "-A", "-l", program], what="read attributes"
    )
    # Not NEONv1: XNNPACK's assembly for ARMv8 is linked in, and the highest tag of all objects
    # wins. That none of it is executed is what running on QEMU's Cortex-A7 shows.
    assert "Tag_Advanced_SIMD_arch: NEON" in attributes
    assert "Tag_ABI_VFP_args: VFP registers" in attributes
    assert "INTERP" not in attributes
    symbols = console.run([Toolchain().tool("nm"), program], what="list functions")
    for kernel in (
        "xnn_f32_gemm_minmax_ukernel_4x8__asm_aarch32_neon_cortex_a7",
        "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_4x8__asm_aarch32_neon_mlal_lane_cortex_a7_prfm",
        "xnn_qs8_qc8w_igemm_minmax_fp32_ukernel_1x8__asm_aarch32_neon_mlal_lane_cortex_a7_prfm",
        "xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_9p16c__neon_mla8_ld128",
        "xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_25p16c__neon_mla8_ld128",
    ):
        assert f" T {kernel}\n" in symbols


def test_sizes(prefix: Path, program: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    Console().run([Toolchain().tool("strip"), "-o", stripped, program], what="strip")
    # neon-runner may have 5 MB and needs a megabyte for pictures, JSON and itself.
    assert stripped.stat().st_size < 4_000_000
    assert (prefix / "lib/libtflite-static.a").stat().st_size < 20_000_000


def test_prefix_keeps_licences_and_nothing_of_this_machine(prefix: Path) -> None:
    kept = {file.name.split("-LICENSE")[0] for file in (prefix / "licences").iterdir()}
    assert {"tensorflow", "xnnpack", "cpuinfo", "pthreadpool"} <= kept
    assert not (prefix / "work").exists()
    content = (prefix / "lib/libtflite-static.a").read_bytes()
    assert str(prefix.parent).encode() not in content


def test_cmake_package_links_a_c_program(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(user C)\n"
        'find_package(tflite CONFIG REQUIRED PATHS "${TFLITE_PREFIX}" NO_DEFAULT_PATH)\n'
        "add_executable(user user.c)\ntarget_link_libraries(user PRIVATE tflite::tflite)\n"
    )
    (tmp_path / "user.c").write_text(
        "#include <stdio.h>\n#include <tensorflow/lite/c/c_api.h>\n"
        "int main(void) { puts(TfLiteVersion()); return 0; }\n"
    )
    console = Console()
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={Toolchain().file}"
    console.run(
        ["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "b", toolchain,
         f"-DTFLITE_PREFIX={prefix}", "-DCMAKE_BUILD_TYPE=Release"],
        what="configure",
    )  # fmt: skip
    console.run(["cmake", "--build", tmp_path / "b"], what="build")
    result = arm.run_arm([tmp_path / "b/user"])
    assert result.stdout == "2.14.1\n"


def test_simd32_polyfill_computes_what_the_intrinsics_do(tmp_path: Path) -> None:
    """The patch for compilers before GCC 10, checked against this compiler's own intrinsics."""
    tree = unpack_patched(Console(), load(), "xnnpack", tmp_path, libraries.PATCHES)
    console = Console()
    flags = ["-std=gnu99", "-O2", "-static", "-mcpu=cortex-a7", "-mfloat-abi=hard"]
    source = HERE / "simd32.c"
    own, filled = tmp_path / "native.o", tmp_path / "polyfill.o"
    console.run(
        [GCC, *flags, "-mfpu=neon-vfpv4", "-DTABLE=native", "-c", source, "-o", own],
        what="compile the intrinsics",
    )
    console.run(
        [
            *(GCC, *flags, "-mfpu=vfpv4-d16", "-U__GNUC__", "-D__GNUC__=9", "-DTABLE=polyfill"),
            *("-DPOLYFILL", f"-I{tree / 'src'}", f"-I{tree / 'include'}", "-c", source),
            *("-o", filled),
        ],
        what="compile the polyfill",
    )
    target = tmp_path / "compare"
    console.run([GCC, *flags, HERE / "simd32_main.c", own, filled, "-o", target], what="link both")
    result = arm.run_arm([target])
    assert (result.returncode, result.stdout) == (0, "compared 80000\n")


def test_ruy_interface_against_plain_loops(tmp_path: Path) -> None:
    target = tmp_path / "ruy_test"
    console = Console()
    console.run(
        [
            *("g++", "-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
            *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
            *(f"-I{ROOT / 'package/tensorflow-lite-static/ruy'}", HERE / "ruy_test.cpp"),
            *("-o", target),
        ],
        what="compile the test of ruy's interface",
    )
    assert console.run([target], what="test ruy's interface") == "checked 1551\n"
