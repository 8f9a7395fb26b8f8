"""The ``emulator`` backend: an SD image with the boards' layout, overlay and programs, for QEMU.

What is expensive (kernel, busybox, compiled programs) is made once and kept in the cache;
``assemble`` makes the parts of it, ``qemu`` boots the image.
"""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pico_image import sources
from pico_image.base import project
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card import parts
from pico_image.card.making import identity
from pico_image.card.parts import PARTS, Component, Contents, Licences, Parts
from pico_image.compile import libraries, programs
from pico_image.compile.toolchain import Toolchain
from pico_image.config.configuration import Config
from pico_image.config.target import Target
from pico_image.emulator.assemble import make_parts
from pico_image.emulator.rootfs import KEYS, MORE_PROGRAMS, NOT_PROGRAMS
from pico_image.emulator.system import kernel, userland

RUNNERS = ("npu-runner", "neon-runner")
#: Files of the root file system, by the source that they are from; the kernel has its own part.
FILES = {
    "linux-armmp": ("boot.img",),
    "busybox": ("/bin/busybox",),
    "e2fsprogs": ("/usr/sbin/e2fsck", "/usr/sbin/resize2fs"),
    "dropbear": ("/usr/sbin/dropbear", "/usr/sbin/dropbearkey"),
}
#: Ours, not compiled: init scripts and settings, and the keys that the user handed in.
OWN_FILES = ("/etc/*", "/usr/sbin/mac-address", f"/{KEYS}")
#: Where each source has its licence text in its archive.
LICENCE_TEXTS = {
    "linux-armmp": "./usr/share/doc/linux-image-*/copyright",
    "busybox": "*/LICENSE",
    "e2fsprogs": "*/NOTICE",
    "dropbear": "*/LICENSE",
}
#: The packages whose libraries the cross compiler links into every static program.
RUNTIME_PACKAGES = ("libc6-dev-armhf-cross", "libgcc-*-dev-armhf-cross",
                    "libstdc++-*-dev-armhf-cross")  # fmt: skip
DOC = Path("/usr/share/doc")


class Backend:
    """Compiles with the distribution's ARM compiler and takes the distribution's kernel."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def close(self) -> None:
        """Nothing is held."""

    def check(self, target: Target) -> None:
        """Raise UserError for a layout without one of the parts."""
        for name in PARTS:
            _ = target.layout[name]

    def materials(self, config: Config, *, ssh_server: bool) -> dict[str, Path]:
        """Folders of what every emulator image is made of besides its models, each made once."""
        console, toolchain = self.console, Toolchain()
        folders = {
            "programs": programs.app(console, config, toolchain),
            "kernel": kernel.kernel(console, config),
            "busybox": userland.busybox(console, config, toolchain),
            "e2fsprogs": userland.e2fsprogs(console, config, toolchain),
            "initramfs": userland.initramfs(console, config, toolchain),
        }
        if ssh_server:
            folders["dropbear"] = userland.dropbear(console, config, toolchain)
        return folders

    def fetch(self, target: Target, contents: Contents) -> None:
        """Download everything that ``build`` downloads."""
        names = [*libraries.TFLITE_SOURCES, *libraries.IMAGE_SOURCES, *userland.SOURCES]
        with self.console.step(f"download {len(names)} sources"):
            for name in names:
                sources.fetch(self.console, target.config.source(name))

    def build(self, target: Target, contents: Contents) -> Parts:
        """Make the parts in ``out/VARIANT/images``, those whose inputs changed.

        With public keys in ``contents.login`` the image gets an SSH server that takes them for
        root. Raises UserError when a part does not fit its slot, before that part is touched.
        """
        self.check(target)
        ssh_server = contents.login is not None
        materials = self.materials(target.config, ssh_server=ssh_server)
        compiler = Toolchain().check(self.console, "name the compiler")
        return Parts(
            make_parts(self.console, target, materials, contents),
            provenance={
                **{name: identity(path) for name, path in materials.items()},
                "models": {name: identity(path) for name, path in contents.models.items()},
                "compiler": compiler,
            },
            components=components(target, compiler, ssh_server=ssh_server),
        )

    def licences(
        self, target: Target, contents: Contents, provenance: Mapping[str, Any], folder: Path
    ) -> Licences:
        """The texts beside what was compiled, and out of the archives of the rest.

        Raises UserError when there is no image yet: what it contains is known by its provenance.
        """
        if "compiler" not in provenance:
            raise UserError(
                f"variant {target.name} has not been built; what it contains is not known",
                hint=f"invoke build-image --variant {target.name}, then this again",
            )
        ssh_server = "dropbear" in provenance
        names = [name for name in FILES if name != "dropbear" or ssh_server]
        console, config = self.console, target.config
        texts = {"image-libraries": libraries.image_libraries(console, config)}
        if set(target.packages) & set(RUNNERS):
            texts["tensorflow-lite"] = libraries.tflite(console, config)
        texts["system"] = take_texts(console, config, names, folder / "system")
        runtime = take_runtime_texts(folder / "runtime")
        if runtime is not None:
            texts["compiler-runtime"] = runtime
        known = components(target, str(provenance["compiler"]), ssh_server=ssh_server)
        return Licences(known, texts)


def components(target: Target, compiler: str, *, ssh_server: bool) -> tuple[Component, ...]:
    """What is in the image besides models, each with its files or the programs that have it.

    A test compares this with the files of a built image.
    """
    config = target.config
    commit = project.revision(config.root).commit
    shipped = {
        name: f"/usr/bin/{name}"
        for package in target.packages
        if package not in NOT_PROGRAMS
        for name in (package, *MORE_PROGRAMS.get(package, ()))
    }
    runners = [path for name, path in shipped.items() if name in RUNNERS]
    installed = {name: files for name, files in FILES.items() if name != "dropbear" or ssh_server}
    linked = dict.fromkeys(libraries.IMAGE_SOURCES, runners)
    linked["cjson"] = list(shipped.values())
    neon = [path for name, path in shipped.items() if name == "neon-runner"]
    linked |= dict.fromkeys(libraries.TFLITE_SOURCES, neon)
    compiled = [*shipped.values()]
    compiled += [path for name in installed if name != "linux-armmp" for path in FILES[name]]
    own = [
        Component(f"own:{name}", name, commit, parts.LICENCE, program=True, installed=(path,))
        for name, path in shipped.items()
    ]
    return (
        *own,
        parts.own_files(commit, OWN_FILES),
        parts.runtime(compiler, tuple(compiled)),
        *(Component.of(config.source(name), installed=files) for name, files in installed.items()),
        *(
            Component.of(config.source(name), linked=tuple(users))
            for name, users in linked.items()
            if users
        ),
    )


def take_texts(console: Console, config: Config, names: Iterable[str], folder: Path) -> Path:
    """Fill ``folder``/licences with the licence texts of ``names``, out of their archives."""
    texts = folder / "licences"
    texts.mkdir(parents=True)
    for name in names:
        archive = sources.fetch(console, config.source(name))
        pattern = LICENCE_TEXTS[name]
        member = (_from_deb if archive.suffix == ".deb" else _from_tar)(archive, pattern)
        if member is None:
            # LICENCE_TEXTS does not fit configs/sources.yml: a bug, not the user's fault.
            raise LookupError(f"{archive} has no {pattern}, the licence text of {name}")
        file, text = member
        (texts / f"{name}-{file}").write_bytes(text)
    return folder


def take_runtime_texts(folder: Path, doc: Path = DOC) -> Path | None:
    """The same of the compiler's libraries, which the distribution's packages leave in ``doc``.

    None where the machine has no such text.
    """
    paths = [path for name in RUNTIME_PACKAGES for path in sorted(doc.glob(f"{name}/copyright"))]
    if not paths:
        return None
    (folder / "licences").mkdir(parents=True)
    for path in paths:
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
            member = _first(tar, pattern)
        while deb.stdout.read(1 << 16):  # a program whose pipe is closed complains
            pass
        return member


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
