"""Licence texts of what an emulator image holds besides the libraries compiled for it.

Libraries keep their texts beside them (native_install.licences). Of the kernel, busybox,
e2fsprogs and dropbear they are read from the archives, of the cross compiler's own libraries from
what the distribution's packages leave in /usr/share/doc.
"""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pico_image import sources
from pico_image.base.console import Console
from pico_image.config.configuration import Config

#: Where in its archive each source has its text.
PLACES = {
    "linux-armmp": "./usr/share/doc/linux-image-*/copyright",
    "busybox": "*/LICENSE",
    "e2fsprogs": "*/NOTICE",
    "dropbear": "*/LICENSE",
}
#: The packages whose libraries the cross compiler links into every static program.
RUNTIME_PACKAGES = ("libc6-dev-armhf-cross", "libgcc-*-dev-armhf-cross",
                    "libstdc++-*-dev-armhf-cross")  # fmt: skip
DOC = Path("/usr/share/doc")


def take(console: Console, config: Config, names: Sequence[str], folder: Path) -> Path:
    """Fill ``folder``/licences with the texts of ``names``, as legal.collect wants them."""
    texts = folder / "licences"
    texts.mkdir(parents=True)
    for name in names:
        archive = sources.fetch(console, config.source(name))
        member = (_from_deb if archive.suffix == ".deb" else _from_tar)(archive, PLACES[name])
        if member is None:
            # PLACES does not fit the version in configs/sources.yml: a bug, not the user's fault.
            raise LookupError(f"{archive} has no {PLACES[name]}, the licence text of {name}")
        file, text = member
        (texts / f"{name}-{file}").write_bytes(text)
    return folder


def take_runtime(folder: Path, doc: Path = DOC) -> Path | None:
    """The same of the compiler's libraries; None where the machine has no such text."""
    found = [path for name in RUNTIME_PACKAGES for path in sorted(doc.glob(f"{name}/copyright"))]
    if not found:
        return None
    (folder / "licences").mkdir(parents=True)
    for path in found:
        shutil.copyfile(path, folder / "licences" / f"{path.parent.name}-copyright")
    return folder


def _from_tar(archive: Path, pattern: str) -> tuple[str, bytes] | None:
    with tarfile.open(archive) as tar:
        return _first(tar, pattern)


def _from_deb(archive: Path, pattern: str) -> tuple[str, bytes] | None:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as deb:
        assert deb.stdout is not None
        with tarfile.open(fileobj=deb.stdout, mode="r|") as tar:
            found = _first(tar, pattern)
        # Read to the end: a program whose pipe is closed complains.
        shutil.copyfileobj(deb.stdout, _Nowhere())
        return found


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)


def _first(tar: tarfile.TarFile, pattern: str) -> tuple[str, bytes] | None:
    for member in tar:
        # As deep as the pattern says: "*" alone matches "/" as well.
        if (
            member.isfile()
            and member.name.count("/") == pattern.count("/")
            and fnmatch.fnmatch(member.name, pattern)
        ):
            stream = tar.extractfile(member)
            assert stream is not None
            return Path(member.name).name, stream.read()
    return None
