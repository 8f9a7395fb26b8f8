"""The emulator's root file system as a folder: base, overlay, programs, models, release file.

``board/luckfox-pico/overlay`` goes into every image, ``board/luckfox-pico/bench`` into those with
the benchmark, ``board/luckfox-pico/emulator/etc`` and ``usr`` only into this one, where no
Buildroot installs them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.card.filesystem import Entry
from pico_image.card.parts import Contents
from pico_image.config.target import Target
from pico_image.emulator.system import userland

OVERLAY = ROOT / "board" / "luckfox-pico" / "overlay"
#: What the package npu-bench installs beside its program.
BENCH = OVERLAY.parent / "bench"
FOLDERS = (
    *("bin", "dev", "etc/init.d", "home", "lib", "mnt", "oem", "proc", "root", "run", "sbin"),
    *("sys", "tmp", "userdata", "usr/bin", "usr/sbin", "usr/share/npu-models", "var/log"),
)
#: Permissions that are not the usual 0755 or 0644.
MODES = {"/etc/shadow": 0o600, "/root": 0o700, "/tmp": 0o1777}
#: The public keys of root, and their permissions: a folder that others may write would make
#: dropbear ignore them.
KEYS = "root/.ssh/authorized_keys"
KEY_MODES = {"/root/.ssh": 0o700, f"/{KEYS}": 0o600}
#: Packages of a variant that bring no program of their own.
NOT_PROGRAMS = ("npu-models", "npu-module", "rknn-runtime")
#: Packages with more than the program of their name.
MORE_PROGRAMS = {"npu-bench": ("npu-doctor",)}
#: Emulated times mean nothing, so more runs would only cost time: 240 inferences of a second each,
#: and a float32 inference takes 3.4 s. Three pictures of known class show that the models work.
BENCH_OPTIONS = "--quick --pictures 3"
#: Of a converted model: what the host keeps for itself, and what only the NPU runner reads.
HOST_ONLY = ("report.json",)
NPU_ONLY = ("model.rknn", "model.rknn.json", "golden")


def fill(
    root: Path, target: Target, materials: Mapping[str, Path], contents: Contents
) -> dict[str, Entry]:
    """Fill the empty folder ``root``; the files whose permissions are not the usual ones.

    ``materials`` has the folders of ``Backend.materials``. Raises UserError when a package of the
    target has no program.
    """
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    _install_busybox(root, materials["busybox"])
    for name in ("e2fsck", "resize2fs"):
        shutil.copy(materials["e2fsprogs"] / name, root / "usr/sbin" / name)
    for layer in layers(target):
        for folder in ("etc", "usr"):
            if (layer / folder).is_dir():
                shutil.copytree(layer / folder, root / folder, dirs_exist_ok=True, symlinks=True)
    (root / "etc/resolv.conf").symlink_to("/tmp/resolv.conf")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    _install_programs(root, materials["programs"] / "bin", target.packages)
    left_out = HOST_ONLY if "npu-runner" in target.packages else HOST_ONLY + NPU_ONLY
    for name, model in contents.models.items():
        shutil.copytree(
            model,
            root / "usr/share/npu-models" / name,
            ignore=shutil.ignore_patterns(".*", *left_out),
        )
    inittab = root / "etc/inittab"
    text = inittab.read_text(encoding="utf-8")
    inittab.write_text(text.replace("@CONSOLE@", target.board.console), encoding="utf-8")
    for name, content in settings(target).items():
        (root / name).write_text(content, encoding="utf-8")
    modes = MODES
    if keys := authorized_keys(contents):
        userland.install_server(root, materials["dropbear"])
        (root / KEYS).parent.mkdir()
        (root / KEYS).write_text(keys, encoding="utf-8")
        modes = MODES | KEY_MODES
    return {path: Entry(path, mode) for path, mode in modes.items()}


def layers(target: Target) -> list[Path]:
    """Folders whose ``etc`` and ``usr`` go into the image, in this order."""
    return [userland.BOARD_FOLDER, OVERLAY, *([BENCH] if "npu-bench" in target.packages else [])]


def settings(target: Target) -> dict[str, str]:
    """The files that depend on the variant, by path."""
    files = {
        "etc/hostname": f"{target.variant.hostname}\n",
        "etc/pico-image-release": target.release(),
    }
    if "npu-bench" not in target.packages:
        return files
    at_boot = "yes" if target.variant.bench_at_boot else "no"
    return files | {
        "etc/npu-bench.conf": "# Read by /etc/init.d/S95npu-bench.\n"
        "# AT_BOOT=yes runs the benchmark at every start; OPTIONS are given to npu-bench.\n"
        f'AT_BOOT={at_boot}\nOPTIONS="{BENCH_OPTIONS}"\n',
    }


def authorized_keys(contents: Contents) -> str:
    """The public keys that may log in as root, a line each; empty for none."""
    return (
        (contents.login / "authorized_keys").read_text(encoding="utf-8") if contents.login else ""
    )


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
        for name in (package, *MORE_PROGRAMS.get(package, ())):
            if not (programs / name).is_file():
                there = ", ".join(sorted(path.name for path in programs.iterdir()))
                raise UserError(
                    f"the package {package} has no program for the emulator (built: {there})",
                    hint="take it out of `packages:` in the variant's file",
                )
            shutil.copy(programs / name, root / "usr/bin" / name)
