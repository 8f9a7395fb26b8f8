"""Cross compilation with CMake: a toolchain, patched sources, a build with progress.

Nothing here knows what is compiled; ``libraries`` and ``programs`` do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pico_image import sources
from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.config.configuration import Config

#: Older ones lack the SIMD32 intrinsics. A patch fills them in, but none of them was tried.
OLDEST_GCC = 10


@dataclass(frozen=True)
class Toolchain:
    """A cross compiler: its CMake toolchain file and the prefix of its programs' names."""

    file: Path = ROOT / "app/cmake/armv7-neon-gnueabihf.cmake"
    cross: str = "arm-linux-gnueabihf-"
    install_hint: str = "apt-get install gcc-arm-linux-gnueabihf g++-arm-linux-gnueabihf"

    def tool(self, name: str) -> str:
        return self.cross + name

    def check(self, console: Console, purpose: str) -> str:
        """The version line of the C++ compiler.

        Raises UserError when a program is missing or the compiler is too old for ``purpose``.
        """
        for name in ("gcc", "g++", "ar", "strip"):
            if shutil.which(self.tool(name)) is None:
                raise UserError(
                    f"could not find {self.tool(name)}, which is needed to {purpose}",
                    hint=self.install_hint,
                )
        for name in ("cmake", "ninja", "patch"):
            if shutil.which(name) is None:
                package = {"ninja": "ninja-build"}.get(name, name)
                raise UserError(
                    f"could not find {name}, which is needed to {purpose}",
                    hint=f"apt-get install {package}",
                )
        gxx = self.tool("g++")
        major = console.run([gxx, "-dumpversion"], what=f"ask {gxx} for its version").strip()
        if int(major.partition(".")[0]) < OLDEST_GCC:
            raise UserError(
                f"{gxx} is version {major}; version {OLDEST_GCC} or later is needed to {purpose}",
                hint=self.install_hint,
            )
        return console.run([gxx, "--version"], what=f"ask {gxx} for its version").splitlines()[0]

    def identity(self, console: Console, purpose: str) -> dict[str, str]:
        """What of the toolchain a result depends on, for the key of a cached build."""
        return {"compiler": self.check(console, purpose), "file": sha256_file(self.file)}


def source_hashes(config: Config, names: Sequence[str]) -> dict[str, list[str]]:
    """The SHA-256 of every archive that may become each source."""
    return {name: [file.sha256 for file in config.source(name).files] for name in names}


def unpack_patched(
    console: Console, config: Config, name: str, folder: Path, patches: Path | None = None
) -> Path:
    """Unpack one source into ``folder/NAME`` and apply ``patches/NAME/*.patch`` in order.

    A patch that does not apply exactly is an error: a fuzzy one may land in the wrong place.
    """
    tree = sources.unpack(console, config.source(name), folder / name)
    for patch in sorted((patches / name).glob("*.patch")) if patches else []:
        console.run(
            ["patch", "--strip=1", "--fuzz=0", "--batch", "--forward", f"--input={patch}"],
            cwd=tree,
            what=f"apply {patch.name} to {name}",
            hint=f"the patch was made for the version of {name} in configs/sources.yml",
        )
    return tree


@dataclass(frozen=True)
class CMakeProject:
    """A source tree that CMake builds, and how."""

    source: Path
    title: str
    #: Holds the sources and the build. Its name is kept out of the objects, so that with ccache
    #: installed an interrupted compile goes on where it stopped, in another folder.
    work: Path
    options: Mapping[str, str | Path] = field(default_factory=dict)
    #: Everything when empty.
    targets: Sequence[str] = ()
    #: CFLAGS and CXXFLAGS; those of the caller are not passed on.
    flags: Mapping[str, str] = field(default_factory=dict)


def cmake_build(console: Console, toolchain: Toolchain, project: CMakeProject, build: Path) -> None:
    """Configure a project into the folder ``build`` and compile its targets.

    Raises CommandError when CMake or the compiler fails.
    """
    settings: dict[str, str | Path] = {
        "CMAKE_TOOLCHAIN_FILE": toolchain.file,
        "CMAKE_BUILD_TYPE": "Release",
        "PICO_CROSS": toolchain.cross,
        # CMake 4 refuses projects that ask for less than 3.5; eight of our sources do.
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
        **project.options,
    }
    prefix_map = f"-ffile-prefix-map={project.work}=."
    env = {
        name: " ".join([prefix_map, project.flags.get(name, "")]).strip()
        for name in ("CFLAGS", "CXXFLAGS")
    }
    env.update(LDFLAGS="", CPPFLAGS="", NINJA_STATUS="[%f/%t] ", LC_ALL="C")
    if shutil.which("ccache"):
        env.update(
            CCACHE_DIR=str(cache_dir() / "ccache"),
            CCACHE_BASEDIR=str(project.work),
            CCACHE_NOHASHDIR="1",
            CCACHE_MAXSIZE="2G",
        )
        for language in ("C", "CXX"):
            settings[f"CMAKE_{language}_COMPILER_LAUNCHER"] = "ccache"
    build.mkdir(parents=True, exist_ok=True)
    console.run(
        [
            *("cmake", "-S", str(project.source), "-B", str(build), "-G", "Ninja", "-Wno-dev"),
            *(f"-D{key}={value}" for key, value in settings.items()),
        ],
        what=f"configure {project.title}",
        cwd=build,  # libjpeg-turbo tries the assembler where CMake starts, and left gastest.o here
        env=env,
        progress=f"configure {project.title}",
    )
    console.run(
        [
            *("cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 1)),
            *(("--target", *project.targets) if project.targets else ()),
        ],
        what=f"compile {project.title}",
        env=env,
        progress=f"compile {project.title}",
    )
