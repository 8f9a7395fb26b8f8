"""The parts of an emulator image and the card; each is made anew only when its input changed."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import (
    atomic_write,
    locked,
    output_dir,
    remove_tree,
    sha256_tree,
    write_text,
)
from pico_image.card import filesystem, fit
from pico_image.card.env import env_image, env_text
from pico_image.config.configuration import Config
from pico_image.config.partitions import PartitionTable
from pico_image.config.schema import Board, Variant
from pico_image.config.target import Target
from pico_image.emulator import rootfs
from pico_image.emulator.system import dropbear, userland
from pico_image.image import finish, sbom_files
from pico_image.image.finish import PARTS

#: What stands in the slots that QEMU never reads.
PLACEHOLDER = (
    "This is not a boot loader. QEMU has neither the BootROM nor the U-Boot of the board, and "
    "starts the kernel in the boot partition by itself. The slot `{name}` is filled so that the "
    "layout is the board's.\n"
)
PLACEHOLDER_SIZE = 4096
#: Emulated times mean nothing, so more runs would only cost time: 240 inferences of a second each,
#: and a float32 inference takes 3.4 s. Three pictures of known class tell that all is right.
BENCH_OPTIONS = "--quick --pictures 3"


def build_from(
    console: Console,
    config: Config,
    variant: Variant,
    board: Board,
    base: Mapping[str, Path],
    programs: Path,
    models: Mapping[str, Path],
    *,
    authorized_keys: str = "",
    forms: Sequence[str] | None = None,
) -> Path:
    """Make the parts and the card image out of what was compiled and converted.

    ``base`` has the folders of `emulator.parts`, and "dropbear" where there are
    ``authorized_keys``; ``programs`` is a folder of programs for the
    board; ``models`` maps names to folders of converted models. Folders made by build_once are
    taken by their names, which are hashes of all that went in.
    """
    images = output_dir() / variant.name / "images"
    with locked(
        output_dir() / variant.name / ".lock",
        f"the image folder of {variant.name}",
        notify=console.info,
    ):
        folders = {**base, "programs": programs, **{f"model {n}": p for n, p in models.items()}}
        with _space_needed(images), unchanged(folders, "the image") as check:
            maker = _Maker(console, config, variant, board, images, authorized_keys, forms, check)
            return maker.make(base, programs, models)


@contextlib.contextmanager
def _space_needed(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left while making the image in {folder}",
            hint="free some space (an image takes about 150 MB), or name another folder with "
            "PICO_OUTPUT_DIR; what was finished is kept",
        ) from error


class _Maker:
    def __init__(
        self,
        console: Console,
        config: Config,
        variant: Variant,
        board: Board,
        images: Path,
        authorized_keys: str,
        forms: Sequence[str] | None,
        check: Callable[[], None],
    ) -> None:
        self.check = check
        self.console = console
        self.config = config
        self.variant = variant
        self.images = images
        self.keys = authorized_keys
        self.forms = forms
        self.stamps = images.parent / ".stamps"
        self.epoch = project.source_date_epoch(config.root)
        self.table = PartitionTable.parse(variant.partitions or board.partitions)
        if self.table.device is None:
            self.table = self.table.with_device(board.block_device)
        self.board = board
        for name in PARTS:
            _ = self.table[name]
        self.changed = False

    def make(self, base: Mapping[str, Path], programs: Path, models: Mapping[str, Path]) -> Path:
        self.images.mkdir(parents=True, exist_ok=True)
        _sweep(self.images)
        recipe = sha256_tree(
            [
                Path(__file__).with_name(f"{name}.py")
                for name in ("emulator_image", "rootfs", "ext4", "fit")
            ]
        )
        common = {"epoch": self.epoch, "recipe": recipe, "layout": str(self.table)}
        variables = self._variables()
        self._part(
            "rootfs",
            {
                **common,
                "base": {name: _identity(path) for name, path in base.items()},
                "programs": _identity(programs.parent),
                "models": {name: _identity(path) for name, path in models.items()},
                "overlay": sha256_tree([rootfs.OVERLAY, userland.BOARD_FOLDER]),
                "packages": self.variant.packages,
                "settings": self._settings(),
                "keys": self.keys,
            },
            lambda image: self._make_rootfs(image, base, programs, models),
        )
        self._part(
            "boot",
            {**common, "initramfs": _identity(base["initramfs"])},
            lambda image: self._make_boot(image, base),
        )
        for name, folder in (("oem", "usr/ko"), ("userdata", "bench")):
            self._part(name, common, functools.partial(self._make_empty, name, folder))
        self._part("env", {**common, "env": variables}, self._make_env)
        for name in ("idblock", "uboot"):
            self._part(name, common, functools.partial(_write_placeholder, name))
        self._compose(base, programs, models)
        return self.images

    def _part(self, name: str, inputs: dict[str, Any], make: Callable[[Path], None]) -> None:
        """Make ``NAME.img`` unless it is the one that was made from the same inputs."""
        image = self.images / f"{name}.img"
        if self._current(image, inputs):
            return
        with self.console.step(f"make {image.name}"):
            self._stamp(image).unlink(missing_ok=True)
            make(image)
            self.check()  # or it is stamped as made from what was no longer there
        slot = self.table[name].size
        size = image.stat().st_size
        if slot is not None and size > slot:
            image.unlink()
            raise UserError(
                f"{image.name} has {filesystem.megabytes(size)} and its partition "
                f"{filesystem.megabytes(slot)}",
                hint="give it a larger slot in the partition string of the variant or its board",
            )
        self._remember(image, inputs)
        self.changed = True

    def _stamp(self, path: Path) -> Path:
        return self.stamps / f"{path.name}.json"

    def _current(self, path: Path, inputs: dict[str, Any]) -> bool:
        try:
            stamp = json.loads(self._stamp(path).read_text(encoding="utf-8"))
            status = path.stat()
        except (OSError, ValueError):
            return False
        # Size and time: a part that someone changed by hand is made again.
        wanted = json.loads(json.dumps(inputs, default=str))
        return bool(stamp == {"inputs": wanted, "size": status.st_size, "time": status.st_mtime_ns})

    def _remember(self, path: Path, inputs: dict[str, Any]) -> None:
        status = path.stat()
        stamp = {"inputs": inputs, "size": status.st_size, "time": status.st_mtime_ns}
        write_text(self._stamp(path), json.dumps(stamp, default=str, indent=1) + "\n")

    def _slot(self, name: str) -> int:
        """Size of a slot, in bytes; one that takes the rest of the card counts as 512 MiB."""
        return self.table[name].size or 512 << 20

    def _make_rootfs(
        self, image: Path, base: Mapping[str, Path], programs: Path, models: Mapping[str, Path]
    ) -> None:
        with tempfile.TemporaryDirectory(prefix=".rootfs.", dir=self.images) as scratch:
            root = Path(scratch)
            rootfs.assemble(
                root,
                kernel=base["kernel"],
                busybox=base["busybox"],
                e2fsprogs=base["e2fsprogs"],
                programs=programs,
                packages=self.variant.packages,
                models=models,
                settings=self._settings(),
            )
            modes = dict(rootfs.MODES)
            if self.keys:
                dropbear.install(root, base["dropbear"], self.keys)
                modes.update(dropbear.MODES)
            volume = filesystem.Volume("rootfs", self._slot("rootfs"), shrink=True, modes=modes)
            filesystem.make(self.console, root, image, volume, self.epoch)

    def _make_empty(self, name: str, folder: str, image: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.images) as scratch:
            (Path(scratch) / folder).mkdir(parents=True)
            volume = filesystem.Volume(name, self._slot(name))
            filesystem.make(self.console, Path(scratch), image, volume, self.epoch)

    def _make_boot(self, image: Path, base: Mapping[str, Path]) -> None:
        release = (base["kernel"] / "release").read_text(encoding="ascii").strip()
        files = fit.BootFiles(
            kernel=base["kernel"] / "zImage",
            ramdisk=base["initramfs"] / "initramfs.cpio.gz",
            description=f"emulator: Linux {release} for QEMU's virt machine",
            kernel_description=f"Linux {release} (Debian)",
        )
        fit.make(self.console, files, image, self.epoch)

    def _make_env(self, image: Path) -> None:
        variables = self._variables()
        with atomic_write(image) as stream:
            stream.write(env_image(variables, self.table["env"].size or 0x8000))
        write_text(self.images / ".env.txt", env_text(variables))

    def _variables(self) -> dict[str, str]:
        return Target.of(self.config, self.variant).env()

    def _settings(self) -> dict[str, str]:
        at_boot = "yes" if self.variant.bench_at_boot else "no"
        return {
            "@CONSOLE@": self.board.console,
            "etc/hostname": f"{self.variant.hostname}\n",
            "etc/pico-image-release": Target.of(self.config, self.variant).release(),
            "etc/npu-bench.conf": "# Read by /etc/init.d/S95npu-bench.\n"
            "# AT_BOOT=yes runs the benchmark at every start; OPTIONS are given to npu-bench.\n"
            f'AT_BOOT={at_boot}\nOPTIONS="{BENCH_OPTIONS}"\n',
        }

    def _compose(
        self, base: Mapping[str, Path], programs: Path, models: Mapping[str, Path]
    ) -> None:
        inputs = {
            **{name: _identity(path) for name, path in base.items()},
            "programs": _identity(programs.parent),
            "models": {name: _identity(path) for name, path in models.items()},
            "compiler": sbom_files.compiler_of(base),
        }
        finish.finish(
            self.console, self.config, self.variant, self.images, self.table,
            finish.Contents(inputs, models), forms=self.forms,
        )  # fmt: skip


def _identity(folder: Path) -> str:
    """What a folder holds: its name when build_once made it, the hash of its files otherwise."""
    return folder.name if (folder / ".inputs.json").is_file() else sha256_tree([folder])


def _write_placeholder(name: str, image: Path) -> None:
    text = PLACEHOLDER.format(name=name).encode()
    with atomic_write(image) as stream:
        stream.write(text.ljust(PLACEHOLDER_SIZE, b"\0"))


def _sweep(images: Path) -> None:
    """Remove what a killed build left behind; the lock says that no other build is at work."""
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
