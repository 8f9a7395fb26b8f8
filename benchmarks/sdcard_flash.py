"""Compose and flash a 300 MB card image, each beside the plain tool that does only the copying.

    python -m benchmarks.sdcard_flash [--device DEV] [--limit MB/S] [--rounds N] [--json FILE|-]

Without ``--device`` the target is a loop device whose backing file is opened with O_DIRECT (root
and losetup), so that the disk's speed counts and not the page cache's; a plain file otherwise.
``--limit`` slows a loop device down to the speed of a card by the kernel's I/O controller (cgroup
version 1); 90 MB/s is the best that UHS-I cards reach. With ``--device`` that device is
OVERWRITTEN. All sides of a ratio run in turn in every round; the ratio is that of the medians.
More than 1 means faster than the plain tool. CPU seconds are given as well, because they do not
depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.compose import Composed, compose
from pico_image.card.env import env_image
from pico_image.card.flash import Options, flash
from pico_image.config.partitions import PartitionTable
from pico_image.config.target import boot_variables

LAYOUT = (
    "mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),128M(oem),128M(userdata),1G(rootfs)"
)
#: Content of each part in bytes, about a stock Mini build's (facts/luckfox-sdk.md, section 7).
CONTENT = {
    "idblock": 184 << 10,
    "uboot": 256 << 10,
    "boot": 4 << 20,
    "oem": 43 << 20,
    "userdata": 10 << 20,
    "rootfs": 230 << 20,
}
CARD = 1536 << 20


def make_parts(folder: Path) -> tuple[dict[str, Path], PartitionTable]:
    """Parts full of noise, so that nothing can be left out but the gaps between them."""
    table = PartitionTable.parse(LAYOUT)
    parts = {part.name: folder / f"{part.name}.img" for part in table}
    parts["env"].write_bytes(env_image(boot_variables(table, 24)))
    for name, size in CONTENT.items():
        with parts[name].open("wb") as stream:
            for at in range(0, size, 1 << 20):
                stream.write(os.urandom(min(1 << 20, size - at)))
    return parts, table


@contextmanager
def limited(device: str, megabytes: float | None) -> Iterator[str]:
    """Let this process and its children use ``device`` at so many MB/s; says what is in force."""
    if not megabytes:
        yield "not limited"
        return
    group = Path("/sys/fs/cgroup/blkio/pico-flash")
    try:
        group.mkdir(exist_ok=True)
        number = Path(device).stat().st_rdev
        rule = f"{os.major(number)}:{os.minor(number)} {int(megabytes * 1e6)}"
        for direction in ("read", "write"):
            (group / f"blkio.throttle.{direction}_bps_device").write_text(rule, encoding="ascii")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        raise UserError(f"{device} cannot be limited to {megabytes} MB/s here: {error}") from error
    try:
        yield f"limited to {megabytes:g} MB/s"
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        group.rmdir()


def processor_seconds() -> float:
    """CPU time of this process and the children that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and CPU seconds that ``work`` takes; every side ends with its own fsync."""
    used, began = processor_seconds(), time.perf_counter()
    work()
    return time.perf_counter() - began, processor_seconds() - used


def plain_copy(parts: dict[str, Path], table: PartitionTable, out: Path) -> None:
    """The reading and writing alone: every part to its place, then fsync."""
    with out.open("wb") as stream:
        for part in table:
            stream.seek(part.offset)
            with parts[part.name].open("rb") as source:
                shutil.copyfileobj(source, stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())


def dd(image: Path, device: str, *more: str) -> None:
    subprocess.run(
        ["dd", f"if={image}", f"of={device}", "bs=4M", "conv=fsync,notrunc", "status=none", *more],
        check=True,
    )


def bmaptool(image: Path, device: str) -> None:
    subprocess.run(["bmaptool", "-q", "copy", image, device], check=True)


@contextmanager
def card(folder: Path) -> Iterator[tuple[str, str]]:
    """A device to write to, and what it is."""
    backing = folder / "card"
    with backing.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, CARD)
    command = ["losetup", "--find", "--show", "--direct-io=on", os.fspath(backing)]
    made = None
    if os.geteuid() == 0 and shutil.which("losetup"):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made is None or made.returncode != 0:
        yield os.fspath(backing), "plain file (no root or no loop device)"
        return
    device = made.stdout.strip()
    try:
        yield device, "loop device with direct I/O to its backing file"
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def run(
    console: Console, device: str | None, rounds: int, limit: float | None = None
) -> dict[str, Any]:
    """Measure all sides ``rounds`` times; seconds, ratios and sizes for JSON."""
    times: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}

    def add(name: str, work: Callable[[], object]) -> None:
        seconds, processor = timed(work)
        times.setdefault(name, []).append(seconds)
        used.setdefault(name, []).append(processor)

    with tempfile.TemporaryDirectory(prefix="pico-flash-", dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        parts, table = make_parts(folder)
        image = folder / "sdcard.img"
        made: Composed | None = None

        def composing() -> None:
            nonlocal made
            made = compose(console, parts, table, image)

        def flashing(target: str, *, verify: bool, full: bool) -> None:
            allow = ("not-removable",)
            flash(console, image, target, Options(verify, full=full, yes=True, allow=allow))

        for _ in range(rounds):
            add("plain copy of the parts", lambda: plain_copy(parts, table, folder / "plain.img"))
            add("compose", composing)
        assert made is not None
        with card(folder) as (loop, what):
            target = device or loop
            with limited(target, limit) as speed:
                for _ in range(rounds):
                    if not limit:  # the controller does not see what the kernel writes back
                        add("dd", lambda: dd(image, target))
                        if shutil.which("bmaptool"):
                            add("bmaptool", lambda: bmaptool(image, target))
                    add("dd direct", lambda: dd(image, target, "oflag=direct"))
                    add("flash --full", lambda: flashing(target, verify=False, full=True))
                    add("flash", lambda: flashing(target, verify=False, full=False))
                    add("flash and read back", lambda: flashing(target, verify=True, full=False))
        content = sum(CONTENT.values()) + 0x8000
        allocated = image.stat().st_blocks * 512
    median = {name: statistics.median(values) for name, values in times.items()}
    processor = {name: statistics.median(values) for name, values in used.items()}
    best_dd = min(seconds for name, seconds in median.items() if name.startswith("dd"))
    return {
        "target": f"{device or what}, {speed}",
        "rounds": rounds,
        "image_bytes": made.bmap.image_size,
        "content_bytes": content,
        "mapped_bytes": made.bmap.mapped_bytes,
        "allocated_over_content": allocated / content,
        "seconds": times,
        "median_seconds": median,
        "median_processor_seconds": processor,
        "compose_beyond_copy_seconds": median["compose"] - median["plain copy of the parts"],
        "compose_beyond_copy_processor_seconds": processor["compose"]
        - processor["plain copy of the parts"],
        "speed_ratio_to_faster_dd": {
            name: best_dd / seconds
            for name, seconds in median.items()
            if name.startswith(("flash", "bmaptool"))
        },
    }


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", help="a card to OVERWRITE instead of a loop device")
    parser.add_argument("--limit", type=float, help="slow a loop device down to so many MB/s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the figures here; - for stdout")
    options = parser.parse_args()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        try:
            result = run(Console(stream=nowhere), options.device, options.rounds, options.limit)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    if options.json == "-":
        print(json.dumps(result, indent=1))
        return 0
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    megabytes = result["content_bytes"] / 1e6
    print(f"{megabytes:.0f} MB of content, target: {result['target']}, {result['rounds']} rounds")
    for name, seconds in result["median_seconds"].items():
        ratio = result["speed_ratio_to_faster_dd"].get(name)
        shown = f"   x{ratio:.2f} of the faster dd" if ratio else ""
        processor = result["median_processor_seconds"][name]
        print(f"  {name:<26} {seconds:6.2f} s, CPU {processor:5.2f} s{shown}")
    print(
        f"compose beyond the copy: {result['compose_beyond_copy_seconds']:.2f} s,"
        f" CPU {result['compose_beyond_copy_processor_seconds']:.2f} s"
    )
    print(f"allocated / content: {result['allocated_over_content']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
