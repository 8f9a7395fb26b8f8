"""A build container without an engine: the product's scripts in folders of this machine.

/build, /src and /cache are folders of the test, in a mount namespace and a root of their own; all
else is this machine's. Programs that the SDK's image has must be installed here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pico_image.base.console import Console
from pico_image.card.parts import Contents
from pico_image.config import render
from pico_image.config.target import Target
from pico_image.engine import run
from pico_image.engine.client import Container
from pico_image.engine.images import Built
from pico_image.engine.run import Ended
from pico_image.engine.volumes import Entry
from pico_image.sdk import workspace as workspaces
from pico_image.sdk.backend import Backend
from pico_image.sdk.inputs import Stage, stage_inputs
from pico_image.sdk.workspace import Options, Workspace

NEEDED = ("dtc", "fdtget", "bc", "bison", "flex", "make", "gcc", "xz", "perl", "strings", "chroot")
#: ROOT BUILD SDK SRC CACHE PROGRAM...
ENTER = """
root=$1 build=$2 sdk=$3 src=$4 cache=$5
shift 5
mount -t tmpfs tmpfs "$root"
for path in /*; do
    if [ -L "$path" ]; then cp -P "$path" "$root/"
    elif [ -d "$path" ]; then mkdir "$root$path" && mount --rbind "$path" "$root$path"; fi
done
mkdir -p "$root/build" "$root/src" "$root/cache" "$root/volume"
mount --bind "$build" "$root/build"
mkdir -p "$root/build/sdk"
mount --rbind "$sdk" "$root/build/sdk"
mount --bind "$src" "$root/src"
mount --bind "$cache" "$root/cache"
mount --bind "$cache/dl" "$root/volume"
# The kernel's gcc-wrapper.py asks for `python`; Debian has that name in a package of its own.
mkdir -p "$cache/bin" && ln -sfn /usr/bin/python3 "$cache/bin/python"
exec chroot "$root" /usr/bin/env -C /build "$@"
"""


def missing() -> str | None:
    """Why no stage can run here, or None."""
    if os.geteuid() != 0:
        return "a root of its own needs root"
    lost = [name for name in NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(lost)}" if lost else None


@dataclasses.dataclass(frozen=True)
class Room:
    """The folders of one variant's build, and the SDK that is bound into them."""

    folder: Path
    sdk: Path

    @property
    def build(self) -> Path:
        return self.folder / "build"

    def run(
        self,
        engine: object,
        console: Console,
        container: Container,
        *,
        what: str,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
        """As ``pico_image.engine.run.run``."""
        for name in ("root", "build/sdk", "src", "cache/dl", "cache/ccache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        places = [self.folder / "root", self.build, self.sdk, self.folder / "src"]
        words = ["unshare", "--mount", "bash", "-ec", ENTER, "enter", *map(str, places)]
        environment = {
            "PATH": "/cache/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CCACHE_DIR": os.environ.get("CCACHE_DIR", "/cache/ccache"),
            **container.env,
        }
        with subprocess.Popen(
            [*words, str(self.folder / "cache"), *container.command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                console.log(line.rstrip("\n"))
                if on_line is not None:
                    on_line(line.rstrip("\n"))
        return Ended(process.returncode, False)


@dataclasses.dataclass(frozen=True)
class Files:
    """As ``pico_image.engine.volumes.Volume``, of a folder."""

    folder: Path

    def put(self, tree: Mapping[str, Entry], folder: str = ".") -> None:
        for name, entry in tree.items():
            path = self.folder / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.link is not None:
                path.unlink(missing_ok=True)
                path.symlink_to(entry.link)
            elif isinstance(entry.content, bytes):
                path.write_bytes(entry.content)
            else:
                shutil.copy(entry.content, path)
            if entry.executable and entry.link is None:
                path.chmod(0o755)

    def read(self, path: str) -> bytes | None:
        return next(iter(self.read_all(path).values()), None)

    def read_all(self, path: str) -> dict[str, bytes]:
        place = self.folder / path
        files = [place] if place.is_file() else sorted(place.glob("*"))
        return {file.name: file.read_bytes() for file in files if file.is_file()}

    def export(self, console: Console, path: str, folder: Path, *, total: int) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(self.folder / path, folder))]


class RoomWorkspace(Workspace):
    """A workspace whose volume is a folder."""

    room: Room

    @property
    def files(self) -> Any:
        return Files(self.room.build)


class RoomBackend(Backend):
    """The product's backend with a room in place of a container engine."""

    def __init__(self, console: Console, options: Options, room: Room) -> None:
        super().__init__(console, options)
        self.room = room

    @contextlib.contextmanager
    def workspace(self, target: Target, contents: Contents) -> Iterator[Workspace]:
        tree = workspaces.tree_for(target, contents)
        shutil.rmtree(self.room.folder / "src", ignore_errors=True)
        Files(self.room.folder / "src").put(tree)
        origin = workspaces.origin_of(target.config, self.options)
        Files(self.room.build).put({"commit": Entry(origin.commit.encode())}, "states")
        env = {
            "BR2_EXTERNAL": "/src/br2-external",
            "BR2_DL_DIR": "/cache/dl",
            "FORCE_UNSAFE_CONFIGURE": "1",
            "HOME": "/root",
            "LUCKFOX_SDK": "/build/sdk",
            "PICO_KERNEL_MODULES": "/build/modules",
            "PICO_MODELS_DIR": "/src/models",
            **({"PICO_IMAGE_INPUTS": "/src/handed"} if contents.login else {}),
        }
        names = {
            "defconfig": render.defconfig_name(target.name),
            "board_config": render.board_config_name(target.name),
        }
        inputs: Mapping[Stage, Any] = stage_inputs(
            tree,
            defconfig=(render.CONFIGS / names["defconfig"]).as_posix(),
            board_config=(render.CONFIGS / names["board_config"]).as_posix(),
            sdk={"": origin.commit},
            container="room",
            env=env,
        )
        env |= {
            "PICO_BOARD_CONFIG": names["board_config"],
            "PICO_DEFCONFIG": names["defconfig"],
            "PICO_JOBS": str(self.options.jobs or 2),
        }
        stages = workspaces.stages_of(target.variant)
        image = Built("room", "room", "room", "")
        made = RoomWorkspace(
            cast(Any, None),
            image,
            "room",
            "room-src",
            env,
            origin,
            inputs,
            {},  # the stand-in for Buildroot downloads nothing
            stages,
            self.options,
        )
        object.__setattr__(made, "room", self.room)
        before = run.run
        run.run = self.room.run
        try:
            yield made
        finally:
            run.run = before
