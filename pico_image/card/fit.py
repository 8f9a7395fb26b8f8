"""FIT images (U-Boot's container for a kernel and what goes with it): make one, read one back.

Format: doc/usage/fit/source_file_format.rst of U-Boot. Made by mkimage; read with dtc's and
U-Boot's own tools, every image checked against the hash inside the FIT.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError

MAGIC = b"\xd0\x0d\xfe\xed"
_SOURCE = """/dts-v1/;
/ {{
    description = "{description}";
    #address-cells = <1>;
    images {{
        kernel {{
            description = "{kernel_description}";
            data = /incbin/("{kernel}");
            type = "kernel";
            arch = "arm";
            os = "linux";
            compression = "none";
            load = <0x40008000>;
            entry = <0x40008000>;
            hash {{ algo = "sha256"; }};
        }};
        ramdisk {{
            description = "makes the partitions, mounts the root file system";
            data = /incbin/("{ramdisk}");
            type = "ramdisk";
            arch = "arm";
            os = "linux";
            compression = "none";
            hash {{ algo = "sha256"; }};
        }};
    }};
    configurations {{
        default = "conf";
        conf {{ kernel = "kernel"; ramdisk = "ramdisk"; }};
    }};
}};
"""


def make(
    console: Console,
    kernel: Path,
    ramdisk: Path,
    image: Path,
    *,
    description: str,
    kernel_description: str,
    epoch: int,
) -> None:
    """Write a FIT with one kernel and one ramdisk, the same bytes for the same input."""
    with tempfile.TemporaryDirectory(prefix=".fit.", dir=image.parent) as scratch:
        folder = Path(scratch)
        source = folder / "image.its"
        # Relative names: mkimage's output must not depend on where the build lies.
        (folder / "kernel").symlink_to(kernel.resolve())
        (folder / "ramdisk").symlink_to(ramdisk.resolve())
        source.write_text(
            _SOURCE.format(
                description=description,
                kernel_description=kernel_description,
                kernel="kernel",
                ramdisk="ramdisk",
            ),
            encoding="utf-8",
        )
        # mkimage has up to three copies of the image side by side, and on a full disk it prints its
        # usage and "Can't write file", not why.
        if shutil.disk_usage(folder).free < 3 * (kernel.stat().st_size + ramdisk.stat().st_size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(image))
        console.run(
            ["mkimage", "-f", "image.its", "image.itb"],
            what="make the FIT boot image",
            cwd=folder,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
        (folder / "image.itb").replace(image)


def extract(console: Console, image: Path, folder: Path) -> dict[str, Path]:
    """The images inside a FIT as files ``{"kernel": ..., "ramdisk": ...}``, hashes checked.

    Raises UserError when ``image`` is no FIT or an image does not have the hash it should.
    """
    with image.open("rb") as stream:
        head = stream.read(8)
    if head[:4] != MAGIC:
        raise UserError(
            f"{image.name} is not a FIT boot image",
            hint="the image is damaged, or its partition string does not belong to it",
        )
    if len(head) < 8 or int.from_bytes(head[4:], "big") > image.stat().st_size:
        raise UserError(
            f"{image.name} is cut short: it has {image.stat().st_size} bytes and states "
            f"{int.from_bytes(head[4:], 'big')}",
            hint="the card image is damaged: build it again",
        )
    try:
        return _extract(console, image, folder)
    except CommandError as error:
        console.log(str(error))
        raise UserError(
            f"the boot image {image.name} cannot be read: {str(error).splitlines()[0]}",
            hint="the card image is damaged: build it again",
        ) from error


def _extract(console: Console, image: Path, folder: Path) -> dict[str, Path]:
    names = console.run(["fdtget", "-l", image, "/images"], what="read the boot image").split()
    found: dict[str, Path] = {}
    for number, name in enumerate(names):
        # The name becomes a file's: "../x" in a forged image led out of the folder.
        if re.fullmatch(r"[A-Za-z0-9][\w,.+@-]*", name) is None:
            raise UserError(
                f"the boot image {image.name} has a part with the impossible name {name!r}",
                hint="the card image is damaged or forged: build it again",
            )
        out = folder / name
        console.run(
            ["dumpimage", "-T", "flat_dt", "-p", str(number), "-o", out, image],
            what=f"take {name} out of the boot image",
        )
        node = f"/images/{name}"
        hashes = console.run(["fdtget", "-l", image, node], what="read the boot image").split()
        stated = ""
        for sub in hashes:
            algorithm = console.run(
                ["fdtget", image, f"{node}/{sub}", "algo"], what="read a hash of the boot image"
            ).strip()
            if algorithm == "sha256":
                words = console.run(
                    ["fdtget", "-t", "bx", image, f"{node}/{sub}", "value"],
                    what="read a hash of the boot image",
                )
                stated = "".join(f"{int(word, 16):02x}" for word in re.findall(r"\S+", words))
        if stated != hashlib.sha256(out.read_bytes()).hexdigest():
            raise UserError(
                f"{name} in the boot image does not have the SHA-256 that the image states",
                hint="the card image is damaged: build it again",
            )
        found[name] = out
    return found
