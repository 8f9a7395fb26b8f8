"""From build folders to a prefix: archives, headers, CMake package, licences."""

from __future__ import annotations

import shutil
from pathlib import Path

from pico_image.console import Console
from pico_image.cross import Toolchain

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
