"""The emulator's root file system as a folder: base, overlay, programs, models, release file.

``board/luckfox-pico/overlay`` goes into every image, ``board/luckfox-pico/emulator/etc`` and
``usr`` only into this one, where Buildroot is not there to bring them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.emulator.system import kernel as emulator_kernel
from pico_image.emulator.system import userland

OVERLAY = ROOT / "board" / "luckfox-pico" / "overlay"
FOLDERS = (
    *("bin", "dev", "etc/init.d", "home", "lib", "mnt", "oem", "proc", "root", "run", "sbin"),
    *("sys", "tmp", "userdata", "usr/bin", "usr/sbin", "usr/share/npu-models", "var/log"),
)
#: Permissions that are not the usual 0755 or 0644.
MODES = {"/etc/shadow": 0o600, "/root": 0o700, "/tmp": 0o1777}
#: Packages of a variant that bring no program of their own.
NOT_PROGRAMS = ("npu-models", "npu-module", "rknn-runtime")
#: Of a converted model: what the host keeps for itself, and what only the NPU runner reads.
HOST_ONLY = ("report.json", "golden")
NPU_ONLY = ("model.rknn", "model.rknn.json")


def assemble(
    root: Path,
    *,
    kernel: Path,
    busybox: Path,
    e2fsprogs: Path,
    programs: Path,
    packages: list[str],
    models: Mapping[str, Path],
    settings: Mapping[str, str],
) -> None:
    """Fill the empty folder ``root``.

    ``programs`` is a ``bin`` folder; those that ``packages`` name are installed. ``models`` maps
    names to folders of converted models. ``settings`` has the contents of files that depend on
    the variant, by path ("etc/hostname"), and ``@CONSOLE@`` for /etc/inittab.

    Raises UserError when a package has no program.
    """
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    _install_busybox(root, busybox)
    for name in ("e2fsck", "resize2fs"):
        shutil.copy(e2fsprogs / name, root / "usr/sbin" / name)
    emulator_kernel.install_modules(kernel, root)
    for layer in (userland.BOARD_FOLDER, OVERLAY):
        for folder in ("etc", "usr"):
            if (layer / folder).is_dir():
                shutil.copytree(layer / folder, root / folder, dirs_exist_ok=True, symlinks=True)
    (root / "etc/resolv.conf").symlink_to("/tmp/resolv.conf")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    _install_programs(root, programs, packages)
    left_out = HOST_ONLY if "npu-runner" in packages else HOST_ONLY + NPU_ONLY
    for name, model in models.items():
        shutil.copytree(
            model,
            root / "usr/share/npu-models" / name,
            ignore=shutil.ignore_patterns(".*", *left_out),
        )
    inittab = root / "etc/inittab"
    text = inittab.read_text(encoding="utf-8")
    inittab.write_text(text.replace("@CONSOLE@", settings["@CONSOLE@"]), encoding="utf-8")
    for name, content in settings.items():
        if not name.startswith("@"):
            (root / name).write_text(content, encoding="utf-8")


def _install_busybox(root: Path, busybox: Path) -> None:
    shutil.copy(busybox / "busybox", root / "bin/busybox")
    for line in (busybox / "applets").read_text(encoding="ascii").splitlines():
        link = root / line.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")


def _install_programs(root: Path, programs: Path, packages: list[str]) -> None:
    for package in packages:
        if package in NOT_PROGRAMS:
            continue
        program = programs / package
        if not program.is_file():
            there = ", ".join(sorted(path.name for path in programs.iterdir()))
            raise UserError(
                f"the package {package} has no program for the emulator (built: {there})",
                hint="take it out of `packages:` in the variant's file",
            )
        shutil.copy(program, root / "usr/bin" / package)
