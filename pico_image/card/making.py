"""The parts of an image, for every backend; each is made anew only when its inputs changed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pico_image.base import project
from pico_image.base.cache import code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, output_dir, remove_tree, sha256_tree, write_text
from pico_image.card import filesystem
from pico_image.card.env import env_image, env_text
from pico_image.card.filesystem import Entry
from pico_image.config.target import Target

#: Fills an empty folder; what in it is not root's with the usual permissions (`filesystem.make`).
Fill = Callable[[Path], Mapping[str, Entry]]


class Maker:
    """Makes the parts of ``target``, files ``NAME.img`` in ``out/VARIANT/images``.

    A stamp outside of that folder tells what a part was made from: the inputs that its caller
    names, the layout, the time of its files, and the code of the card room and of ``recipe``
    ("pico_image.emulator"). ``check`` is called before a part is taken for made; see `unchanged`.
    The caller holds the variant's lock.
    """

    def __init__(
        self,
        console: Console,
        target: Target,
        recipe: str,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.console = console
        self.target = target
        self.check = check
        self.images = output_dir() / target.name / "images"
        self.stamps = self.images.parent / ".stamps"
        self.epoch = project.source_date_epoch(target.config.root)
        self.common = {
            "epoch": self.epoch,
            "recipe": code_of(recipe, "pico_image.card"),
            "layout": str(target.layout),
        }
        self.images.mkdir(parents=True, exist_ok=True)
        for path in self.images.glob(".*"):  # of a killed build
            if path.name != ".env.txt":
                remove_tree(path)

    def part(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> None:
        """Make ``NAME.img`` unless it is the one that was made from the same inputs.

        Raises UserError, with both sizes, when it is larger than its slot.
        """
        image = self.images / f"{name}.img"
        # As they come back from a file: tuples are lists there.
        record = json.loads(json.dumps({**self.common, **inputs}, default=str))
        if self._current(image, record):
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
        write_text(self._stamp(image), json.dumps(_stamp(image, record), indent=1) + "\n")

    def file_system(self, name: str, inputs: Mapping[str, Any], fill: Fill) -> None:
        """Make ``NAME.img``, an ext4 file system, with what ``fill`` puts into a folder.

        To make it out of archives: ``functools.partial(archive.unpack, archives)``.
        """

        def make(image: Path) -> None:
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=self.images) as scratch:
                entries = fill(Path(scratch))
                # A slot that takes the rest of the card: 1 GiB is the least that it may be.
                volume = filesystem.Volume(name, self.target.layout[name].size or 1 << 30)
                filesystem.make(self.console, Path(scratch), image, volume, self.epoch, entries)

        self.part(name, inputs, make)

    def empty(self, name: str, folder: str) -> None:
        """Make a file system that has nothing but ``folder``."""

        def fill(root: Path) -> Mapping[str, Entry]:
            (root / folder).mkdir(parents=True, exist_ok=True)
            return {}

        self.file_system(name, {"folder": folder}, fill)

    def oem(self) -> None:
        """Make ``oem`` as it is without camera: room for kernel modules."""
        self.empty("oem", "usr/ko")

    def userdata(self) -> None:
        """Make ``userdata``, with the folder of the results where the benchmark is installed."""
        self.empty("userdata", "bench" if "npu-bench" in self.target.packages else ".")

    def env(self) -> None:
        """Make ``env``, and ``.env.txt`` beside it, which flashing tools read."""
        variables = self.target.env()

        def make(image: Path) -> None:
            with atomic_write(image) as stream:
                stream.write(env_image(variables, self.target.layout["env"].size or 0x8000))
            write_text(self.images / ".env.txt", env_text(variables))

        self.part("env", {"env": variables}, make)

    def _stamp(self, image: Path) -> Path:
        return self.stamps / f"{image.name}.json"

    def _current(self, image: Path, record: dict[str, Any]) -> bool:
        try:
            stamp = json.loads(self._stamp(image).read_text(encoding="utf-8"))
            return bool(stamp == _stamp(image, record))
        except (OSError, ValueError):
            return False


def _stamp(image: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Size and time besides the inputs: a part that someone changed by hand is made again."""
    status = image.stat()
    return {"inputs": record, "size": status.st_size, "time": status.st_mtime_ns}


def identity(folder: Path) -> str:
    """What a folder holds: its name when build_once made it, the hash of its files otherwise."""
    return folder.name if (folder / ".inputs.json").is_file() else sha256_tree([folder])


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


def set_update_time(image: Path, epoch: int) -> None:
    """Set the time in the header of an update.img; it ends in the MD5, as text, of all before."""
    with image.open("r+b") as stream:
        if stream.read(4) == b"RKFW":
            stream.seek(14)
            stream.write(struct.pack("<H5B", *time.gmtime(epoch)[:6]))
            stream.seek(-32, os.SEEK_END)
            stream.truncate()
            stream.seek(0)
            digest = hashlib.md5(usedforsecurity=False)
            for block in iter(functools.partial(stream.read, 1 << 20), b""):
                digest.update(block)
            stream.write(digest.hexdigest().encode())
