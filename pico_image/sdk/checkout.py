"""The vendor's SDK inside a volume: fetched at the pin, or copied from the user's checkout.

A user's checkout is only read: its sources are copied into the volume, and changed ones again at
the next build. It is what its files contain, not what a commit says. We write nothing into it.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pico_image.base import project
from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.engine import copies, run
from pico_image.engine.client import Container, Engine, EngineFull, Mount
from pico_image.engine.volumes import Volume

#: Files of one batch of the transfer; a broken connection costs one batch at most.
BATCH = 2000
#: Files that a folder with this SDK has.
LANDMARKS = (
    *("build.sh", "project/build.sh", "project/cfg/BoardConfig_IPC", "sysdrv/Makefile"),
    "sysdrv/tools/board/buildroot/buildroot-*.tar.gz",
)
#: What a build leaves in a checkout, beside what the SDK's .gitignore files say.
PRODUCTS = frozenset(
    {
        *(".BoardConfig.mk", "IMAGE", "config", "output", "media/out", "sysdrv/out"),
        *("sysdrv/drv_ko/out", "sysdrv/source/buildroot", "sysdrv/source/objs_kernel"),
    }
)
COMPILER = "tools/linux/toolchain/"
_SDK = ("uboot", "kernel", "media")
_SYSDRV = ("uboot", "kernel")
#: How the names of the files begin that stages read, as in the SDK's own Makefiles, and the stages.
#: What is in none of them is copied but makes no stage run again.
READ_BY: Mapping[str, tuple[str, ...]] = {
    "project/build.sh": _SDK,
    "project/cfg/": _SDK,
    "project/scripts/": _SDK,
    COMPILER: (*_SDK, "rootfs"),
    "sysdrv/Makefile": _SYSDRV,
    "sysdrv/cfg/": _SYSDRV,
    "sysdrv/tools/pc/": _SYSDRV,
    "sysdrv/tools/board/Makefile": _SYSDRV,
    "sysdrv/source/uboot/": ("uboot",),
    "sysdrv/source/kernel/": ("kernel",),
    "sysdrv/drv_ko/": ("kernel",),
    "sysdrv/tools/board/buildroot/buildroot-": ("rootfs",),
    "media/": ("media",),
}
SCRIPT = "/src/docker/sdk-checkout.sh"
#: Status of our scripts when the disk with the volumes has too little space.
NO_SPACE = 5


@dataclass(frozen=True)
class Origin:
    """Where the SDK comes from."""

    url: str
    #: The pin; of a checkout that was looked at its own, empty where git does not know it.
    commit: str
    path: Path | None = None
    #: Number of files of the checkout that differ from the commit.
    changed: int = 0

    @property
    def key(self) -> str:
        """Short name for volumes: one for each commit, or each checkout of the user."""
        if self.path is not None:
            return "path-" + hashlib.sha256(str(self.path).encode()).hexdigest()[:12]
        return self.commit[:12]


def make_tree(
    engine: Engine, console: Console, image: str, mounts: Sequence[Mount], origin: Origin,
    *, need_bytes: int,
) -> None:  # fmt: skip
    """Check the commit out into the build volume; fetch it unless it is in the cache volume.

    A fetch continues where an earlier one was interrupted.

    Raises UserError for a server that cannot be reached or does not have the commit, for too
    little space, and for a file system that changes names or modes.
    """
    lines: deque[str] = deque(maxlen=50)
    with (
        console.step(f"Get the SDK {origin.commit[:12]}"),
        console.progress("get the SDK", 0) as bar,
    ):

        def follow(line: str) -> None:
            lines.append(line)
            if match := re.match(r"@files (\d+) (\d+)", line):
                bar.note(f"{match[1]} of {match[2]} files")
            elif line.strip():
                bar.note(line.strip())

        place = [] if console.offline else [origin.url, str(BATCH)]
        ended = run.run(
            engine,
            console,
            Container(
                image,
                ["bash", SCRIPT, origin.commit, *place],
                mounts,
                {"PICO_NEED_KB": str(need_bytes // 1024)},
                network=not console.offline,
            ),
            what="get the SDK",
            on_line=follow,
        )
    if ended.status == 3:
        raise UserError(
            f"the SDK at {origin.commit[:12]} has not been fetched, and downloads are off",
            hint="run `invoke fetch` with a network first",
        )
    if ended.status == 4:
        raise UserError(
            "the engine's volume does not keep the SDK's files: it is on a file system that takes "
            "xt_DSCP.c and xt_dscp.c for one file, or changes modes",
            hint="keep the engine's data on a Linux file system (ext4, xfs, btrfs)",
        )
    if ended.status == NO_SPACE:
        raise no_space(list(lines), need_bytes)
    if ended.status != 0:
        raise _not_fetched(origin, list(lines), ended.status, console.log_path)


def no_space(lines: Sequence[str], need_bytes: int) -> EngineFull:
    """The error for the scripts' status NO_SPACE."""
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("@free ")), 0)
    return EngineFull(
        f"the engine's disk has {free / 1e9:.1f} GB free; this build needs "
        f"{need_bytes / 1e9:.1f} GB",
        hint="free space there: `docker system df` shows what uses it, `invoke clean --level "
        "volumes` removes our volumes",
    )


def _not_fetched(origin: Origin, lines: list[str], status: int, log: Path | None) -> UserError:
    text = "\n".join(lines)
    if re.search(r"not our ref|couldn't find remote ref|unadvertised object", text):
        return UserError(
            f"{origin.url} has no commit {origin.commit}, which is the pin of luckfox-sdk in "
            "configs/sources.yml",
            hint="correct the pin, or name a repository that has it with --sdk-url",
        )
    if "No space left" in text:
        return UserError(
            "the engine's disk is full: could not fetch the SDK",
            hint="free space there (`docker system df`), then run the same command again",
        )
    if re.search(
        r"Could not resolve|unable to access|unable to connect|Connection|timed out", text
    ):
        reason = next((line for line in reversed(lines) if "fatal" in line), lines[-1])
        return UserError(
            f"could not reach {origin.url} to fetch the SDK: {reason}",
            hint="check the engine's network and proxy, name a mirror with --sdk-url, or a "
            "checkout that you have with --sdk-path; files that arrived are kept",
        )
    hint = run.killed(status)
    return CommandError("fetch the SDK", status, "\n".join(lines[-12:]), log, hint=hint)


# -- the user's own checkout ----------------------------------------------------------


def check_path(path: Path) -> None:
    """Raise UserError for a folder that is not the SDK, or not all of it."""
    missing = [name for name in LANDMARKS if not any(path.glob(name))]
    if missing:
        raise UserError(
            f"{path} is not the Luckfox SDK: it has no {', no '.join(missing)}",
            hint="--sdk-path names the folder with build.sh in it; what a fork has left out (the "
            "archive of Buildroot, say) has to be put back there",
        )


def read_by(stage: str, sdk: Mapping[str, str]) -> dict[str, str]:
    """The folders of ``sdk`` that the stage reads; a pinned commit (``""``) is read by all."""
    return {name: state for name, state in sdk.items() if not name or stage in READ_BY[name]}


def copy_path(
    console: Console, volume: Volume, origin: Origin, *, force: bool = False
) -> tuple[Origin, dict[str, str]]:
    """Bring the volume's copy up to date with the user's checkout, or copy it anew (``force``).

    Returns the origin with the checkout's own commit and changes, and a hash for each name of
    READ_BY. Warns about local changes, another commit than the pin, and what is left out. Raises
    UserError for what cannot be read, and for a checkout that changes while it is copied.
    """
    path = origin.path
    assert path is not None
    git = project.work_tree(path)
    if not git.commit and (path / "sysdrv/source/kernel/.config").exists():
        raise UserError(
            f"the SDK at {path} was built in, and git does not tell its products from its sources",
            hint="run `./build.sh clean` in it, or name a git checkout with --sdk-path",
        )
    notes = cache_dir() / "sdk-path" / f"{origin.key}.json"
    sources = copies.read(path, notes, git.ignored | PRODUCTS)
    # What a reader of the build's result must know about the checkout.
    leaving = sources.leaving(git.changed if git.commit else sources.seen)
    for what, names in (
        (f"{len(git.changed)} files differ from its commit", git.changed),
        ("left out as neither files nor links", sources.special),
        ("links lead out of it, to nothing in the container", leaving),
    ):
        if names:
            console.warn(f"the SDK at {path}: {what}: {copies.few(names)}")
    if git.commit != origin.commit:
        console.warn(
            f"the SDK at {path} is at commit {git.commit[:12] or 'unknown (no git)'}, and this "
            f"project is made for {origin.commit[:12]} (the pin in configs/sources.yml)"
        )
    sdk = sources.hashes(["", *READ_BY])
    copies.send(console, volume, "sdk", sources, force=force)
    del sdk[""]  # files that no stage reads are in it, too
    return replace(origin, commit=git.commit, changed=len(git.changed)), sdk
