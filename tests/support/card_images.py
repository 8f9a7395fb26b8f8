"""Small parts of a card, loop devices, and tools that may be absent on a desk and never in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

from pico_image.card.env import env_image, env_text
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables

LAYOUT = "mmcblk0:32K(env),512K@32K(idblock),256K(uboot),2M(boot),4M(oem),8M(userdata),16M(rootfs)"


def absent(what: str) -> NoReturn:
    """Skip on a desk, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def tool(name: str, package: str) -> str:
    """The path of a program, also when it lies in /sbin."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        absent(f"{name} (Debian package {package})")
    return found


def ext4(path: Path, size: int, files: dict[str, bytes], label: str = "") -> Path:
    """A real ext4 image that holds ``files`` (path to content)."""
    tree = path.with_suffix(".tree")
    tree.mkdir()
    for name, content in files.items():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    with path.open("wb") as stream:
        stream.truncate(size)
    command: list[str | Path] = [
        tool("mkfs.ext4", "e2fsprogs"),
        "-q",
        "-F",
        "-L",
        label,
        "-d",
        tree,
        path,
    ]
    subprocess.run(command, check=True, capture_output=True)
    # Everything is root's, as in an image, whoever runs the tests.
    names = [f'"/{each.relative_to(tree)}"' for each in tree.rglob("*")]
    script = "".join(f"sif {name} uid 0\nsif {name} gid 0\n" for name in names)
    subprocess.run(
        [tool("debugfs", "e2fsprogs"), "-w", "-f", "-", path],
        input=script, text=True, check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(tree)
    return path


def make_parts(folder: Path, layout: str = LAYOUT) -> tuple[dict[str, Path], PartitionTable]:
    """A whole set of small parts: noise where the content does not matter, real ext4 else."""
    folder.mkdir(parents=True, exist_ok=True)
    table = PartitionTable.parse(layout)
    variables = boot_variables(table, cma_mib=24)
    parts = {part.name: folder / f"{part.name}.img" for part in table}
    parts["env"].write_bytes(env_image(variables))
    (folder / ".env.txt").write_text(env_text(variables), encoding="utf-8")
    for name, size in (("idblock", 190_000), ("uboot", 262_144), ("boot", 700_001)):
        parts[name].write_bytes(os.urandom(size))
    ext4(parts["oem"], 3 << 20, {"usr/lib/librknnmrt.so": os.urandom(5000)}, "oem")
    ext4(parts["userdata"], 4 << 20, {}, "userdata")
    release = b"VARIANT=test\nVERSION=0.1\nCOMMIT=abc\nBACKEND=emulator\n"
    ext4(
        parts["rootfs"],
        9 << 20,
        {
            "etc/pico-image-release": release,
            "usr/bin/npu-bench": os.urandom(300_000),
            "etc/hostname": b"pico\n",
        },
        "rootfs",
    )
    return parts, table


@contextmanager
def loop(backing: Path, *options: str) -> Iterator[str]:
    """A loop device, which the kernel treats as it treats a card."""
    losetup = tool("losetup", "mount")
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    made = subprocess.run(
        [losetup, "--find", "--show", *options, backing],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run([losetup, "--detach", device], check=True)
        _let_go(device, backing)


def _let_go(device: str, backing: Path) -> None:
    """Wait until nobody uses it: the kernel detaches it when the last one closes it.

    The machine's udev looks into every new disk, and what lies below could not be unmounted then.
    """
    shown = Path("/sys/block") / Path(device).name / "loop/backing_file"
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        with suppress(OSError):
            if shown.read_text().rstrip("\n") == str(backing):
                time.sleep(0.02)
                continue
        return
