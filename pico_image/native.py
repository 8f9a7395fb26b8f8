"""What is compiled for the board with the distribution's ARM compiler.

Three results, each made once for its inputs and kept in the cache: TensorFlow Lite with XNNPACK
as one static archive, the static libraries that read pictures and JSON, and the programs of
``app/``. The flags are in ``app/cmake/armv7-neon-gnueabihf.cmake``; each patch says why it is
there in ``package/tensorflow-lite-static/patches``.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from pico_image.config import Config
from pico_image.console import Console
from pico_image.cross import (
    Toolchain,
    cmake_build,
    code_of,
    source_hashes,
    unpack_patched,
)
from pico_image.errors import UserError
from pico_image.files import ROOT, build_once, sha256_tree
from pico_image.native_install import (
    API_HEADERS,
    CMAKE_CONFIG,
    TFLITE_LINK,
    describe_tflite,
    install_headers,
    install_image_library,
    licences,
    merge_archives,
)

PACKAGE = ROOT / "package/tensorflow-lite-static"
PATCHES = PACKAGE / "patches"
#: The parts of ruy's interface that TensorFlow Lite needs; ruy/ruy.h says why not ruy itself.
RUY = PACKAGE / "ruy"

#: The folder of each source below the unpack folder is its name in configs/sources.yml.
TFLITE_SOURCES = (
    *("tensorflow", "xnnpack", "cpuinfo", "pthreadpool", "fxdiv", "fp16", "abseil", "eigen"),
    *("flatbuffers", "farmhash", "gemmlowp", "oourafft"),
)
IMAGE_SOURCES = ("zlib", "libpng", "libjpeg-turbo", "cjson")

#: CMake's Release is -O3, which makes npu-runner 20,480 bytes larger with libpng alone and puts it
#: above its 700 KiB. JPEG, where the time of a picture goes, keeps -O3.
SMALL = {"CMAKE_C_FLAGS_RELEASE": "-O2 -DNDEBUG"}

#: Harmless with glibc, needed with uClibc: libstdc++ announces no C99 math there because
#: <complex.h> is not usable, and flatbuffers expects strtod_l and friends on every Unix.
TFLITE_CXXFLAGS = "-DEIGEN_HAS_C99_MATH=1 -DFLATBUFFERS_LOCALE_INDEPENDENT=0"
#: XNNPACK reads 16 bits of a 32-bit parameter through a pointer to 16 bits (vlrelu for NEON; right
#: on a little-endian core). GCC 14, the one of Debian 13, made that an error.
TFLITE_CFLAGS = "-Wno-error=incompatible-pointer-types"

TFLITE_OPTIONS = {
    "BUILD_SHARED_LIBS": "OFF",
    "TFLITE_ENABLE_XNNPACK": "ON",
    "TFLITE_ENABLE_RUY": "OFF",
    "TFLITE_ENABLE_GPU": "OFF",
    "TFLITE_ENABLE_NNAPI": "OFF",
    "TFLITE_ENABLE_EXTERNAL_DELEGATE": "OFF",
    "TFLITE_ENABLE_INSTALL": "OFF",
    "FETCHCONTENT_FULLY_DISCONNECTED": "ON",
    "XNNPACK_LIBRARY_TYPE": "static",
    "XNNPACK_BUILD_TESTS": "OFF",
    "XNNPACK_BUILD_BENCHMARKS": "OFF",
    "XNNPACK_BUILD_ALL_MICROKERNELS": "OFF",
    # Kernels for later cores. The A7 never selects them, and compilers before GCC 10 stop
    # at them.
    "XNNPACK_ENABLE_ARM_FP16_SCALAR": "OFF",
    "XNNPACK_ENABLE_ARM_FP16_VECTOR": "OFF",
    "XNNPACK_ENABLE_ARM_BF16": "OFF",
    "XNNPACK_ENABLE_ARM_DOTPROD": "OFF",
    "XNNPACK_ENABLE_ARM_I8MM": "OFF",
    "XNNPACK_ENABLE_KLEIDIAI": "OFF",
    "FLATBUFFERS_BUILD_TESTS": "OFF",
    "FLATBUFFERS_BUILD_FLATC": "OFF",
    "FLATBUFFERS_BUILD_FLATHASH": "OFF",
    "CPUINFO_BUILD_TOOLS": "OFF",
}


def _recipe(*functions: Callable[..., object], settings: object = None) -> str:
    """Hash of the code that builds one thing, and of its settings."""
    shared = (cmake_build, unpack_patched, merge_archives, licences)
    text = code_of(*functions, *shared)
    return hashlib.sha256((text + repr(settings)).encode()).hexdigest()


def tflite(console: Console, config: Config, toolchain: Toolchain | None = None) -> Path:
    """TensorFlow Lite 2.14.1 with XNNPACK: ``include/``, ``lib/libtflite-static.a``, ``link.txt``.

    A prefix with every object in one archive and a CMake package (see CMAKE_CONFIG). About ten
    minutes on two cores, once for each toolchain, set of sources and set of patches.
    """
    toolchain = toolchain or Toolchain()
    inputs = {
        "sources": source_hashes(config, TFLITE_SOURCES),
        "patches": sha256_tree([PATCHES]),
        "ruy": sha256_tree([RUY]),
        "toolchain": toolchain.identity(console, "compile TensorFlow Lite"),
        "recipe": _recipe(
            tflite,
            compile_tflite,
            install_headers,
            describe_tflite,
            settings=[
                TFLITE_OPTIONS,
                TFLITE_CFLAGS,
                TFLITE_CXXFLAGS,
                TFLITE_LINK,
                CMAKE_CONFIG,
                API_HEADERS,
            ],
        ),
    }

    def build(prefix: Path) -> None:
        work = prefix / "work"
        with console.step("compile TensorFlow Lite and XNNPACK (about 10 minutes, once)"):
            trees = {
                name: unpack_patched(console, config, name, work, PATCHES)
                for name in TFLITE_SOURCES
            }
            compile_tflite(console, toolchain, trees, work)
        merge_archives(console, toolchain, work / "build", prefix / "lib/libtflite-static.a")
        install_headers(console, toolchain, trees["tensorflow"], prefix / "include")
        licences(trees, prefix / "licences")
        describe_tflite(prefix)
        shutil.rmtree(work)

    return build_once("tflite", inputs, build, notify=console.info)


def compile_tflite(
    console: Console, toolchain: Toolchain, trees: dict[str, Path], work: Path
) -> None:
    """Compile the unpacked and patched sources below ``work`` into ``work/build``."""
    content = {
        "ABSEIL-CPP": "abseil",
        "CPUINFO": "cpuinfo",
        "EIGEN": "eigen",
        "FARMHASH": "farmhash",
        "FFT2D": "oourafft",
        "FLATBUFFERS": "flatbuffers",
        "FP16_HEADERS": "fp16",
        "GEMMLOWP": "gemmlowp",
        "XNNPACK": "xnnpack",
    }
    options: dict[str, str | Path] = {
        **TFLITE_OPTIONS,
        **{f"FETCHCONTENT_SOURCE_DIR_{key}": trees[name] for key, name in content.items()},
        "FETCHCONTENT_SOURCE_DIR_RUY": RUY,
        "PTHREADPOOL_SOURCE_DIR": trees["pthreadpool"],
        "FXDIV_SOURCE_DIR": trees["fxdiv"],
        "FP16_SOURCE_DIR": trees["fp16"],
        "CPUINFO_SOURCE_DIR": trees["cpuinfo"],
    }
    cmake_build(
        console,
        toolchain,
        trees["tensorflow"] / "tensorflow/lite",
        work / "build",
        title="TensorFlow Lite",
        options=options,
        targets=["tensorflow-lite"],
        flags={"CFLAGS": TFLITE_CFLAGS, "CXXFLAGS": TFLITE_CXXFLAGS},
        work=work,
    )


def image_libraries(console: Console, config: Config, toolchain: Toolchain | None = None) -> Path:
    """Static zlib, libpng, libjpeg-turbo (NEON) and cJSON: ``include/`` and ``lib/``."""
    toolchain = toolchain or Toolchain()
    inputs = {
        "sources": source_hashes(config, IMAGE_SOURCES),
        "toolchain": toolchain.identity(console, "compile the image libraries"),
        "recipe": _recipe(image_libraries, install_image_library, settings=SMALL),
    }
    recipes: dict[str, tuple[dict[str, str], list[str]]] = {
        "zlib": ({"ZLIB_BUILD_EXAMPLES": "OFF", **SMALL}, ["zlibstatic"]),
        "libpng": (
            {"PNG_SHARED": "OFF", "PNG_TESTS": "OFF", "PNG_ARM_NEON": "on", **SMALL},
            ["png_static"],
        ),
        # REQUIRE_SIMD: without it a compiler that lacks NEON gets scalar code and only a warning.
        "libjpeg-turbo": (
            {"ENABLE_SHARED": "OFF", "WITH_TURBOJPEG": "OFF", "REQUIRE_SIMD": "ON"},
            ["jpeg-static"],
        ),
        "cjson": (
            {"BUILD_SHARED_LIBS": "OFF", "ENABLE_CJSON_TEST": "OFF", **SMALL},
            ["cjson"],
        ),
    }

    def build(prefix: Path) -> None:
        work = prefix / "work"
        trees: dict[str, Path] = {}
        with console.step("compile zlib, libpng, libjpeg-turbo and cJSON"):
            for name, (options, targets) in recipes.items():
                trees[name] = unpack_patched(console, config, name, work)
                if name == "zlib":
                    # The distribution's archive lacks win32/, but CMake wants every source of
                    # every target to exist, that of the DLL too.
                    resource = trees[name] / "win32/zlib1.rc"
                    resource.parent.mkdir(exist_ok=True)
                    resource.touch()
                cmake_build(
                    console,
                    toolchain,
                    trees[name],
                    work / f"build-{name}",
                    title=name,
                    options={
                        **options,
                        "CMAKE_PREFIX_PATH": prefix,
                        "CMAKE_FIND_ROOT_PATH": prefix,
                        "ZLIB_LIBRARY": prefix / "lib/libz.a",
                        "ZLIB_INCLUDE_DIR": prefix / "include",
                    },
                    targets=targets,
                    work=work,
                )
                install_image_library(name, trees[name], work / f"build-{name}", prefix)
        licences(trees, prefix / "licences")
        shutil.rmtree(work)

    return build_once("image-libraries", inputs, build, notify=console.info)


def app(console: Console, config: Config, toolchain: Toolchain | None = None) -> Path:
    """The programs of ``app/``: ``bin/`` stripped and static, ``debug/`` with symbols."""
    toolchain = toolchain or Toolchain()
    tree = ROOT / "app"
    if not (tree / "CMakeLists.txt").is_file():
        raise UserError(f"{tree} has no CMakeLists.txt; the programs of the board are built there")
    tflite_prefix = tflite(console, config, toolchain)
    image_prefix = image_libraries(console, config, toolchain)
    inputs = {
        # The host's unit tests are no part of what ships.
        "app": {
            item.name: sha256_tree([item])
            for item in sorted(tree.iterdir())
            if item.name != "tests"
        },
        "tflite": tflite_prefix.name,
        "image_libraries": image_prefix.name,
        "toolchain": toolchain.identity(console, "compile the programs of the board"),
        "recipe": _recipe(app),
    }

    def build(prefix: Path) -> None:
        work = prefix / "work"
        with console.step("compile the programs of the board"):
            shutil.copytree(tree, work / "app", ignore=shutil.ignore_patterns("tests"))
            cmake_build(
                console,
                toolchain,
                work / "app",
                work / "build",
                title="app",
                options={
                    "TFLITE_PREFIX": tflite_prefix,
                    "IMAGE_LIBS_PREFIX": image_prefix,
                    "CMAKE_INSTALL_PREFIX": prefix,
                },
                flags={"CFLAGS": "-g", "CXXFLAGS": "-g"},
                work=work,
            )
            console.run(["cmake", "--install", work / "build"], what="install the programs")
        (prefix / "debug").mkdir()
        for program in sorted((prefix / "bin").iterdir()):
            shutil.copy2(program, prefix / "debug" / program.name)
            console.run(
                [toolchain.tool("strip"), "--strip-all", program], what=f"strip {program.name}"
            )
        shutil.rmtree(work)

    return build_once("app", inputs, build, notify=console.info)
