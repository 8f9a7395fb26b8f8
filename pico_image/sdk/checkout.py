"""The vendor's SDK inside a volume: fetched at the pin, or copied from the user's checkout.

A user's checkout is only read: its files are copied into the volume, and changed ones again at
the next build. We write nothing into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.engine import run
from pico_image.engine.client import Container, Engine, EngineFull, Mount
from pico_image.engine.volumes import Entry, Tree, Volume

#: Files of one batch of the transfer; a broken connection costs one batch at most.
BATCH = 2000
#: Files that a folder with this SDK has.
LANDMARKS = ("build.sh", "project/build.sh", "project/cfg/BoardConfig_IPC", "sysdrv/Makefile")
#: What a build leaves in a checkout.
PRODUCTS = ("output", "config", "IMAGE", "sysdrv/source/buildroot", "sysdrv/source/objs_kernel")
#: build.sh rewrites these tracked files (project/app/wifi_app), so they do not count as changes.
REWRITTEN = ("hostapd", "hostapd_cli", "librkwifibt.so")
SCRIPT = "/src/docker/sdk-checkout.sh"
#: Status of our scripts when the disk with the volumes has too little space.
NO_SPACE = 5


@dataclass(frozen=True)
class Origin:
    """Where the SDK comes from."""

    url: str
    commit: str
    path: Path | None = None

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


def check_path(path: Path, commit: str) -> None:
    """Raise UserError for a folder that is not the SDK, or is another commit of it."""
    for landmark in LANDMARKS:
        if not (path / landmark).exists():
            raise UserError(
                f"{path} is not the Luckfox SDK: it has no {landmark}",
                hint="--sdk-path names the folder with build.sh in it",
            )
    actual = _commit_of(path)
    if actual is not None and actual != commit:
        raise UserError(
            f"the SDK at {path} is at commit {actual[:12]}, the pin in configs/sources.yml is "
            f"{commit[:12]}",
            hint=f"git -C {path} checkout {commit[:12]}; or, to build with it as it is, put its "
            "commit into configs/sources.yml",
        )


def _commit_of(path: Path) -> str | None:
    """Its commit; None where git cannot tell."""
    try:
        answer = subprocess.run(
            ["git", "-c", f"safe.directory={path}", "-C", str(path), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    own = (path / ".git").exists()
    return answer.stdout.strip() if answer.returncode == 0 and own else None


def files_of(path: Path) -> Tree:
    """The files of a checkout, without build products and git's own."""
    tree: Tree = {}
    for folder, names, files in os.walk(path):
        relative = Path(folder).relative_to(path)
        linked = [name for name in names if (Path(folder) / name).is_symlink()]
        names[:] = sorted(
            name
            for name in names
            if name not in (".git", *linked) and (relative / name).as_posix() not in PRODUCTS
        )
        for name in sorted([*files, *linked]):
            if (relative / name).as_posix() in (".BoardConfig.mk", ".git"):
                continue
            item = Path(folder) / name
            executable = not item.is_symlink() and os.access(item, os.X_OK)
            tree[(relative / name).as_posix()] = Entry(item, executable)
    return tree


def _listing(tree: Tree) -> dict[str, str]:
    """Size, time and mode of each file, which show what changed since the last copy."""
    listing = {}
    for name, entry in tree.items():
        assert isinstance(entry.content, Path)
        status = entry.content.lstat()
        mark = entry.link or f"{status.st_size} {status.st_mtime_ns}"
        listing[name] = f"{mark}{' x' if entry.executable else ''}"
    return listing


def copy_path(console: Console, volume: Volume, path: Path) -> str:
    """Bring the volume's copy up to date with the user's checkout; a name for its state."""
    tree = files_of(path)
    listing = _listing(tree)
    before = volume.read("sdk.files")
    known: dict[str, str] = json.loads(before) if before else {}
    changed = {name: tree[name] for name, mark in listing.items() if known.get(name) != mark}
    gone = sorted(set(known) - set(listing))
    if changed or gone or before is None:
        with console.step(f"Copy {len(changed)} files of {path} into the volume"):
            # If this is interrupted, the next run sends everything again.
            volume.put({"sdk.files": Entry(b"{}"), "sdk/.pico": Entry(b"")})
            if gone:
                volume.put({"gone": Entry("\0".join(gone).encode())})
                ended = run.run(
                    volume.engine,
                    console,
                    Container(
                        volume.image,
                        ["bash", "-c", "cd /build/sdk && xargs -0 rm -f -- </build/gone"],
                        [Mount(volume.name, "/build")],
                    ),
                    what="remove files that the checkout no longer has",
                )
                if ended.status != 0:
                    hint = run.killed(ended.status)
                    raise CommandError(
                        "remove old files", ended.status, "", console.log_path, hint=hint
                    )
            volume.put(changed, "sdk")
            content = json.dumps(listing, sort_keys=True).encode()
            volume.put({"sdk.files": Entry(content)})
    sources = {k: v for k, v in listing.items() if Path(k).name not in REWRITTEN}
    return "path:" + hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
