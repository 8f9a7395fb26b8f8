"""The static libraries that the programs of the board are linked with.

TensorFlow Lite with XNNPACK as one archive, and the libraries that read pictures and JSON, each
made once for its inputs and kept in the cache. The flags are in
``app/cmake/armv7-neon-gnueabihf.cmake``; each patch says why it is there in
``package/tensorflow-lite-static/patches``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.files import ROOT, sha256_tree
from pico_image.compile.toolchain import (
    CMakeProject,
    Toolchain,
    cmake_build,
    source_hashes,
    unpack_patched,
)
from pico_image.config.configuration import Config

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


#: Headers that a program of ours includes; what they include is installed with them.
API_HEADERS = (
    "tensorflow/lite/c/c_api.h",
    "tensorflow/lite/c/c_api_experimental.h",
    "tensorflow/lite/c/common.h",
    "tensorflow/lite/builtin_ops.h",
    "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h",
)

#: Library files of a prefix in link order, for build systems other than CMake.
TFLITE_LINK = "-ltflite-static -lstdc++ -lpthread -ldl -lm"
CMAKE_CONFIG = """\
# Use: find_package(tflite CONFIG REQUIRED PATHS "${TFLITE_PREFIX}" NO_DEFAULT_PATH)
#      target_link_libraries(program PRIVATE tflite::tflite)
if(NOT TARGET tflite::tflite)
  get_filename_component(_tflite_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  add_library(tflite::tflite STATIC IMPORTED)
  set_target_properties(tflite::tflite PROPERTIES
    IMPORTED_LOCATION "${_tflite_prefix}/lib/libtflite-static.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_tflite_prefix}/include"
    INTERFACE_LINK_LIBRARIES "stdc++;pthread;dl;m")
endif()
"""

#: The package whose code makes what this room keeps in the cache.
RECIPE = "pico_image.compile"


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
        "recipe": code_of(RECIPE),
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
        CMakeProject(
            trees["tensorflow"] / "tensorflow/lite",
            title="TensorFlow Lite",
            options=options,
            targets=["tensorflow-lite"],
            flags={"CFLAGS": TFLITE_CFLAGS, "CXXFLAGS": TFLITE_CXXFLAGS},
            work=work,
        ),
        work / "build",
    )


def image_libraries(console: Console, config: Config, toolchain: Toolchain | None = None) -> Path:
    """Static zlib, libpng, libjpeg-turbo (NEON) and cJSON: ``include/`` and ``lib/``."""
    toolchain = toolchain or Toolchain()
    inputs = {
        "sources": source_hashes(config, IMAGE_SOURCES),
        "toolchain": toolchain.identity(console, "compile the image libraries"),
        "recipe": code_of(RECIPE),
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
                    CMakeProject(
                        trees[name],
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
                    ),
                    work / f"build-{name}",
                )
                install_image_library(name, trees[name], work / f"build-{name}", prefix)
        licences(trees, prefix / "licences")
        shutil.rmtree(work)

    return build_once("image-libraries", inputs, build, notify=console.info)


def describe_tflite(prefix: Path) -> None:
    """Write how to link: ``link.txt`` for any build system, a package for CMake."""
    (prefix / "link.txt").write_text(TFLITE_LINK + "\n", encoding="ascii")
    package = prefix / "lib/cmake/tflite/tflite-config.cmake"
    package.parent.mkdir(parents=True)
    package.write_text(CMAKE_CONFIG, encoding="ascii")


def merge_archives(console: Console, toolchain: Toolchain, build: Path, target: Path) -> None:
    """One archive of all: some seventy refer to each other in circles, one needs no order."""
    archives = sorted(build.rglob("*.a"))
    if len(archives) < 10:
        raise AssertionError(f"only {len(archives)} archives in {build}")
    target.parent.mkdir(parents=True)
    lines = [f"CREATE {target}", *(f"ADDLIB {archive}" for archive in archives), "SAVE", "END"]
    console.run(
        [toolchain.tool("ar"), "-M"], stdin="\n".join(lines) + "\n", what="merge the archives"
    )
    if not target.is_file():  # ar -M ends with 0 when it could not open an archive
        raise AssertionError(f"{target} was not made; see the log")
    console.run([toolchain.tool("ranlib"), target], what="index the archive")


def install_headers(console: Console, toolchain: Toolchain, tree: Path, include: Path) -> None:
    """Copy API_HEADERS and all that they include, as the C compiler sees it."""
    text = "".join(f"#include <{header}>\n" for header in API_HEADERS)
    command = [toolchain.tool("gcc"), "-x", "c", "-MM", f"-I{tree}", "-"]
    rule = console.run(command, stdin=text, what="list the headers of the C API")
    names = rule.partition(":")[2].replace("\\\n", " ").split()
    for name in names:
        if name == "-":
            continue
        header = Path(name)
        target = include / header.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(header, target)


def install_image_library(name: str, tree: Path, build: Path, prefix: Path) -> None:
    files = {
        "zlib": (["libz.a"], ["zlib.h", "zconf.h"]),
        "libpng": (["libpng16.a"], ["png.h", "pngconf.h", "pnglibconf.h"]),
        "libjpeg-turbo": (
            ["libjpeg.a"],
            ["jpeglib.h", "jmorecfg.h", "jerror.h", "jconfig.h"],
        ),
        "cjson": (["libcjson.a"], ["cJSON.h"]),
    }
    libraries, headers = files[name]
    folders = {
        "lib": (libraries, [build]),
        "include/cjson" if name == "cjson" else "include": (headers, [build, tree]),
    }
    for folder, (wanted, places) in folders.items():
        (prefix / folder).mkdir(parents=True, exist_ok=True)
        for file in wanted:
            found = next(place / file for place in places if (place / file).is_file())
            shutil.copyfile(found, prefix / folder / file)


def licences(trees: dict[str, Path], folder: Path) -> None:
    """Keep the licence texts: the image that ships the code has to carry them."""
    folder.mkdir()
    for name, tree in trees.items():
        found = [
            file
            for file in sorted(tree.iterdir())
            if file.is_file() and file.name.upper().startswith(("LICENSE", "COPYING", "README.IJG"))
        ] or [file for file in sorted(tree.iterdir()) if file.name.lower().startswith("readme")]
        for file in found:
            shutil.copyfile(file, folder / f"{name}-{file.name}")
