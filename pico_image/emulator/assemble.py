"""The parts of an emulator image; each is made anew only when its inputs changed."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.cache import code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, output_dir, remove_tree, sha256_tree, write_text
from pico_image.card import filesystem, fit
from pico_image.card.env import env_image, env_text
from pico_image.card.parts import Contents
from pico_image.config.target import Target
from pico_image.emulator import rootfs

#: The content of the slots that QEMU never reads.
PLACEHOLDER = (
    "This is not a boot loader. QEMU has neither the BootROM nor the U-Boot of the board, and "
    "starts the kernel in the boot partition by itself. The slot `{name}` is filled so that the "
    "layout is the board's.\n"
)
PLACEHOLDER_SIZE = 4096


def make_parts(
    console: Console, target: Target, materials: Mapping[str, Path], contents: Contents
) -> Path:
    """Make the parts out of what was compiled and converted; the folder that they are in.

    Folders made by build_once are taken by their names, which are hashes of all that went in.
    """
    models = {f"model {name}": path for name, path in contents.models.items()}
    with unchanged({**materials, **models}, "the image") as check:
        maker = _Maker(console, target, check)
        maker.make(materials, contents)
        return maker.images


class _Maker:
    def __init__(self, console: Console, target: Target, check: Callable[[], None]) -> None:
        self.console = console
        self.target = target
        self.check = check
        self.images = output_dir() / target.name / "images"
        self.stamps = self.images.parent / ".stamps"
        self.epoch = project.source_date_epoch(target.config.root)

    def make(self, materials: Mapping[str, Path], contents: Contents) -> None:
        self.images.mkdir(parents=True, exist_ok=True)
        _sweep(self.images)
        common = {
            "epoch": self.epoch,
            "recipe": code_of("pico_image.emulator", "pico_image.card"),
            "layout": str(self.target.layout),
        }
        self._part(
            "rootfs",
            {
                **common,
                "materials": {name: identity(path) for name, path in materials.items()},
                "models": {name: identity(path) for name, path in contents.models.items()},
                "overlay": sha256_tree(rootfs.layers(self.target)),
                "packages": self.target.packages,
                "settings": rootfs.settings(self.target),
                "console": self.target.board.console,
                "keys": rootfs.authorized_keys(contents),
            },
            functools.partial(self._make_rootfs, materials, contents),
        )
        self._part(
            "boot",
            {
                **common,
                "materials": [identity(materials[name]) for name in ("kernel", "initramfs")],
            },
            functools.partial(self._make_boot, materials),
        )
        results = "bench" if "npu-bench" in self.target.packages else "."
        for name, folder in (("oem", "usr/ko"), ("userdata", results)):
            inputs = {**common, "folder": folder}
            self._part(name, inputs, functools.partial(self._make_empty, name, folder))
        self._part("env", {**common, "env": self.target.env()}, self._make_env)
        for name in ("idblock", "uboot"):
            self._part(name, common, functools.partial(_write_placeholder, name))

    def _part(self, name: str, inputs: dict[str, Any], make: Callable[[Path], None]) -> None:
        """Make ``NAME.img`` unless it is the one that was made from the same inputs."""
        image = self.images / f"{name}.img"
        if self._current(image, inputs):
            return
        with self.console.step(f"make {image.name}"):
            self._stamp(image).unlink(missing_ok=True)
            make(image)
            self.check()  # else the stamp would name folders that are gone
        slot = self.target.layout[name].size
        size = image.stat().st_size
        if slot is not None and size > slot:
            image.unlink()
            raise UserError(
                f"{image.name} has {filesystem.megabytes(size)} and its partition "
                f"{filesystem.megabytes(slot)}",
                hint="give it a larger slot in the partition string of the variant or its board",
            )
        self._remember(image, inputs)

    def _stamp(self, path: Path) -> Path:
        return self.stamps / f"{path.name}.json"

    def _current(self, path: Path, inputs: dict[str, Any]) -> bool:
        try:
            stamp = json.loads(self._stamp(path).read_text(encoding="utf-8"))
            status = path.stat()
        except (OSError, ValueError):
            return False
        # Size and time: a part that someone changed by hand is made again.
        plain = json.loads(json.dumps(inputs, default=str))
        return bool(stamp == {"inputs": plain, "size": status.st_size, "time": status.st_mtime_ns})

    def _remember(self, path: Path, inputs: dict[str, Any]) -> None:
        status = path.stat()
        stamp = {"inputs": inputs, "size": status.st_size, "time": status.st_mtime_ns}
        write_text(self._stamp(path), json.dumps(stamp, default=str, indent=1) + "\n")

    def _slot(self, name: str) -> int:
        """Size of a slot, in bytes; one that takes the rest of the card counts as 512 MiB."""
        return self.target.layout[name].size or 512 << 20

    def _make_rootfs(self, materials: Mapping[str, Path], contents: Contents, image: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".rootfs.", dir=self.images) as scratch:
            modes = rootfs.fill(Path(scratch), self.target, materials, contents)
            volume = filesystem.Volume("rootfs", self._slot("rootfs"), shrink=True, modes=modes)
            filesystem.make(self.console, Path(scratch), image, volume, self.epoch)

    def _make_empty(self, name: str, folder: str, image: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.images) as scratch:
            (Path(scratch) / folder).mkdir(parents=True, exist_ok=True)
            volume = filesystem.Volume(name, self._slot(name))
            filesystem.make(self.console, Path(scratch), image, volume, self.epoch)

    def _make_boot(self, materials: Mapping[str, Path], image: Path) -> None:
        release = (materials["kernel"] / "release").read_text(encoding="ascii").strip()
        files = fit.BootFiles(
            kernel=materials["kernel"] / "zImage",
            ramdisk=materials["initramfs"] / "initramfs.cpio.gz",
            description=f"emulator: Linux {release} for QEMU's virt machine",
            kernel_description=f"Linux {release} (Debian)",
        )
        fit.make(self.console, files, image, self.epoch)

    def _make_env(self, image: Path) -> None:
        variables = self.target.env()
        with atomic_write(image) as stream:
            stream.write(env_image(variables, self.target.layout["env"].size or 0x8000))
        write_text(self.images / ".env.txt", env_text(variables))


def identity(folder: Path) -> str:
    """What a folder holds: its name when build_once made it, the hash of its files otherwise."""
    return folder.name if (folder / ".inputs.json").is_file() else sha256_tree([folder])


def _write_placeholder(name: str, image: Path) -> None:
    text = PLACEHOLDER.format(name=name).encode()
    with atomic_write(image) as stream:
        stream.write(text.ljust(PLACEHOLDER_SIZE, b"\0"))


def _sweep(images: Path) -> None:
    """Remove the files of a killed build; the lock excludes other builds."""
    for path in images.glob(".*"):
        if path.name != ".env.txt":
            remove_tree(path)


@contextlib.contextmanager
def unchanged(folders: Mapping[str, Path], what: str) -> Iterator[Callable[[], None]]:
    """Check that ``folders`` stay as they are while the block makes ``what`` out of them.

    Someone may remove the cache meanwhile: a model whose files went while its folder was copied
    would be missing in the image, and the image would be taken for whole. The block calls the
    yielded function after each part. Raises UserError with the folder that was removed or changed,
    also in place of an error that this caused.
    """
    before = {name: _listing(folder) for name, folder in folders.items()}

    def check() -> None:
        for name, folder in folders.items():
            now = _listing(folder)
            if now != before[name]:
                gone = sorted(before[name].keys() - now.keys())
                how = "was removed" if not now else f"was changed ({', '.join(gone[:3])} gone)"
                raise UserError(
                    f"the folder of {name}, {folder}, {how if gone else 'was changed'} while "
                    f"{what} was being made",
                    hint="run it again: what is missing is made anew; remove a cache only when "
                    "nothing uses it",
                )

    try:
        yield check
        check()
    except (OSError, UserError) as error:
        try:
            check()
        except UserError as told:
            raise told from error
        raise


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times; empty for a folder that is not there."""
    listing: dict[str, tuple[int, int]] = {}
    for place, _, names in os.walk(folder):  # leaves out what is removed meanwhile
        for name in names:
            path = Path(place, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                listing[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return listing
