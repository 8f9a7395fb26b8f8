"""Find the first layer that a board's NPU computes wrongly: `invoke verify-board --bisect`.

A binary search over the prefixes of a model (pico_image/models/prefixes.py) takes a layer that is
wrong to make everything after it wrong. That can fail: an error may be clipped away later, or come
only now and then. So the end of the search is tried again, with one prefix after it, and where the
answers contradict each other that is said.

A prefix goes to a folder of its own on the board, in one command with the run; a trap removes it
when that ends, is interrupted, or loses its connection. What a power cut leaves goes at the next.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pico_image.board import golden
from pico_image.board.ssh import Connection
from pico_image.config.configuration import Config
from pico_image.models.papers import FILES, GOLDEN
from pico_image.models.prefixes import Prefixes, layer

#: /tmp is memory, of which a board has 33 MB; a prefix takes up to 8.
SCRIPT = r"""
set -e
base=/tmp
[ -d /userdata ] && [ -w /userdata ] && base=/userdata
rm -rf "$base"/.pico-bisect.*
folder="$base/.pico-bisect.$$"
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' HUP INT TERM PIPE
mkdir "$folder" || exit 2
tar -xf - -C "$folder" || {{
    echo "no space for a prefix in $base" >&2
    exit 2
}}
npu-runner --model "$folder/{rknn}" --verify "$folder/{golden}" --json -
"""


@dataclass(frozen=True)
class Finding:
    """What a search found: the number of the first wrong prefix, None without one; how sure."""

    first: int | None
    #: Why the search cannot be believed, a sentence each; empty when all fits together.
    doubts: list[str]


def search(count: int, right: Callable[[int], bool]) -> Finding:
    """The first wrong one of ``count`` prefixes. ``right(n)`` tries prefix n (from 0) once more.

    The last, the whole network, is taken to be wrong until it is tried.
    """
    good, bad = -1, count - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if right(middle):
            good = middle
        else:
            bad = middle
    if right(bad):
        if bad == count - 1:
            return Finding(None, [])
        return Finding(bad, [f"prefix {bad + 1} is wrong at times and right at others"])
    doubts = []
    if good >= 0 and not right(good):
        doubts.append(f"prefix {good + 1}, before it, is right at times and wrong at others")
    if bad + 1 < count and right(bad + 1):
        doubts.append(
            f"prefix {bad + 2}, which holds this layer too, is right: what is wrong here "
            "does not last, and an earlier layer may be wrong as well"
        )
    return Finding(bad, doubts)


def bisect(connection: Connection, config: Config, name: str, *, simulated: bool) -> list[str]:
    """Find the first wrong layer of a model; what was found, line by line.

    Raises UserError for a model that is not of the configuration, where no prefix can be made, and
    what ``golden.run`` raises.
    """
    console = connection.console
    prefixes = Prefixes.of(console, config, name)
    cuts = prefixes.cuts

    def right(number: int) -> bool:
        with tempfile.TemporaryDirectory(prefix="prefix-") as scratch:
            prefixes.write(number, Path(scratch), simulated=simulated)
            archive = packed(Path(scratch))
        script = SCRIPT.format(rknn=FILES["npu"], golden=GOLDEN)
        found = golden.run(connection, f"{name} up to {cuts[number].tensor}", script, archive)
        console.info(f"prefix {number + 1} of {len(cuts)}, {cuts[number].tensor}: {found.summary}")
        return found.right

    finding = search(len(cuts), right)
    if finding.first is None:
        return [
            f"no bad layer: all prefixes of {name} that were tried are right, and {name} as it is "
            "converted here is, too. The model on the board is another one: "
            f"invoke deploy {connection.flags} --model {name}"
        ]
    lines = [
        f"first bad layer: {layer(cuts[finding.first])}",
        f"  layer {finding.first + 1} of {len(cuts)}; "
        + (
            f"the one before is right: {layer(cuts[finding.first - 1])}"
            if finding.first
            else "nothing is before it but the input"
        ),
    ]
    return [*lines, *(f"  doubtful: {each}" for each in finding.doubts)]


def packed(folder: Path) -> bytes:
    """A tar archive of a folder's files, root's."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            info = tar.gettarinfo(path, path.relative_to(folder).as_posix())
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mode = 0o755 if path.is_dir() else 0o644
            if path.is_dir():
                tar.addfile(info)
            else:
                with path.open("rb") as stream:
                    tar.addfile(info, stream)
    return content.getvalue()
