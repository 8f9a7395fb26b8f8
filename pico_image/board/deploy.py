"""Put newly converted models and rebuilt programs on a running board, and undo that.

Files arrive in a staging folder on the same file system and are verified there. Then they are
renamed into place one by one, while hard links keep the old files. No file is ever incomplete; a
lost connection leaves at worst some files new and some old, and ``undo`` restores the old ones.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pico_image.base import project
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.board import compatibility
from pico_image.board.compatibility import PROGRAMS
from pico_image.board.ssh import Connection
from pico_image.compile.programs import app
from pico_image.config.configuration import Config
from pico_image.models import convert, user_files

#: One line about the last deploy. npu-bench copies it into its results, because the commit of the
#: image is not the build that was measured. Undone like any other file.
NOTE = "/etc/pico-deployed"
STATE = "/usr/share/pico-deploy"
#: A file system that is filled to the last block makes everything else on the board fail.
SPARE_KIB = 1024
#: Runs on the board. Files in the staging folder have the paths that they get below /. "previous"
#: is complete (it gets its name last) before a file moves.
COMMIT = r"""
set -e
cd {state}
rm -rf previous.part
mkdir -p previous.part
: >previous.part/.added
while read -r path; do
    if [ -e "/$path" ]; then
        mkdir -p "previous.part/$(dirname "$path")"
        ln "/$path" "previous.part/$path"
    else
        echo "$path" >>previous.part/.added
    fi
done <{stage}/.files
cp {stage}/.files previous.part/.files
rm -rf previous
mv previous.part previous
while read -r path; do
    mkdir -p "/$(dirname "$path")"
    mv -f "{stage}/$path" "/$path"
done <{stage}/.files
rm -rf {stage}
sync
echo committed
"""
UNDO = r"""
set -e
cd {state}
[ -e previous/.files ] || exit 3
while read -r path; do
    if [ -e "previous/$path" ]; then
        mv -f "previous/$path" "/$path"
        echo "restored /$path"
    fi
done <previous/.files
while read -r path; do
    rm -f "/$path"
    echo "removed /$path"
    rmdir -p "/$(dirname "$path")" 2>/dev/null || true
done <previous/.added
rm -rf previous
sync
"""


@dataclass(frozen=True)
class Deployed:
    """What was put on a board (paths there), bytes that were sent, files that were the same."""

    files: list[str]
    sent: int
    unchanged: list[str]


def make_and_deploy(
    connection: Connection, config: Config, models: Sequence[str], *, programs: bool
) -> Deployed:
    """Convert models (or take the user's own from out/models), compile programs, send both.

    Raises UserError before anything is made when a name is unknown or the board is not ready.
    """
    own = {name: folder for name in models if (folder := user_files.kept(config, name))}
    if not models and not programs:
        raise _nothing_to_deploy()
    ready(connection)
    console = connection.console
    return deploy(
        connection,
        programs=app(console, config) / "bin" if programs else None,
        models={name: own.get(name) or convert.convert(console, config, name) for name in models},
    )


def deploy(
    connection: Connection,
    *,
    programs: Path | None = None,
    models: Mapping[str, Path] | None = None,
) -> Deployed:
    """Send programs (of a ``bin`` folder) and models (converted folders by name) to a board.

    Only programs that the board has are replaced, and only files that differ are sent. All is
    checked before the first byte is sent: version of the NPU runtime, kind of the programs, space,
    that no benchmark runs.

    Raises UserError when something does not fit, Unreachable when the connection fails; the
    board then has the old files, or after the last step the new ones.
    """
    release = ready(connection)
    files: dict[str, Path] = {}
    if programs is not None:
        files |= compatibility.programs(connection, programs)
    for name, folder in (models or {}).items():
        files |= compatibility.model_files(connection, name, folder)
    if not files:
        raise _nothing_to_deploy()
    unchanged = _same(connection, files)
    fresh = {path: file for path, file in files.items() if path not in unchanged}
    if not fresh:
        return Deployed([], 0, sorted(unchanged))
    _check_space(connection, fresh)
    variant = release.get("VARIANT", "an image")
    connection.console.info(f"{connection.host} runs {variant}: {len(fresh)} files")
    sent = _send(connection, fresh)
    return Deployed(sorted(fresh), sent, sorted(unchanged))


def _nothing_to_deploy() -> UserError:
    return UserError(
        "there is nothing to deploy", hint="name models with --model, or say --programs"
    )


def ready(connection: Connection) -> dict[str, str]:
    """The board's release; raises UserError unless it is reached, one of ours, and idle.

    Asked before anything is compiled or converted for it: that takes minutes.
    """
    release = connection.release()
    _refuse_while_busy(connection)
    return release


def undo(connection: Connection) -> list[str]:
    """Put back the files that the last deploy replaced; returns one line for each file.

    Raises UserError when there is nothing to undo.
    """
    _refuse_while_busy(connection)
    status, output, errors = connection.attempt(UNDO.format(state=STATE), what="undo")
    if status in (2, 3) or (status != 0 and "can't cd" in errors):
        raise UserError(f"there is no deploy to undo on {connection.host}")
    if status != 0:
        raise UserError(f"{connection.host} could not put all files back: {errors}")
    return output.decode("utf-8", "replace").splitlines()


def _refuse_while_busy(connection: Connection) -> None:
    if connection.runs_program("npu-bench"):
        raise UserError(
            f"a benchmark runs on {connection.host}; it would measure old and new files",
            hint="wait for its end and try again",
        )


def _same(connection: Connection, files: Mapping[str, Path]) -> set[str]:
    """Paths of files that are the same on the board."""
    names = "".join(f"{path}\n" for path in files)
    output = connection.run(
        'while read -r f; do [ -f "$f" ] && sha256sum "$f"; done; true',
        what="compare the files",
        stdin=names.encode(),
        timeout=300,
    )
    there = {}
    for line in output.decode("utf-8", "replace").splitlines():
        digest, _, path = line.partition("  ")
        there[path] = digest
    return {
        path
        for path, file in files.items()
        if there.get(path) == hashlib.sha256(file.read_bytes()).hexdigest()
    }


def _check_space(connection: Connection, fresh: Mapping[str, Path]) -> None:
    # The old files are kept for `--undo`, so replacing them frees no space.
    connection.run(f"mkdir -p {STATE} && rm -rf {STATE}/new.*", what="prepare the staging folder")
    need = sum((file.stat().st_size + 4095) // 4096 * 4 for file in fresh.values()) + SPARE_KIB
    free = connection.free_kib(STATE)
    if free < need:
        raise UserError(
            f"{connection.host} has {free} KiB left and {need} KiB are needed for these files",
            hint="delete the files that the last deploy replaced: "
            + connection.by_hand(f"rm -r {STATE}/previous"),
        )


def _send(connection: Connection, fresh: Mapping[str, Path]) -> int:
    archive = io.BytesIO()
    digest = hashlib.sha256()
    lines, sums = [], []
    contents = {path: file.read_bytes() for path, file in fresh.items()}
    contents[NOTE] = _note(fresh).encode()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content in contents.items():
            name = path.lstrip("/")
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o755 if path.startswith(PROGRAMS) else 0o644
            tar.addfile(info, io.BytesIO(content))
            lines.append(name)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
            digest.update(content)
        for name, text in ((".files", lines), (".sums", sums)):
            data = ("\n".join(text) + "\n").encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    stage = f"new.{digest.hexdigest()[:16]}"
    data = archive.getvalue()
    with connection.console.step(f"send {len(data) / 1e6:.1f} MB to {connection.host}"):
        connection.run(
            f"cd {STATE} && mkdir {stage} && cd {stage} && tar -xf - && sha256sum -c .sums",
            what="receive the files",
            stdin=data,
            timeout=1800,
        )
        _try(connection, stage, [path for path in fresh if path.startswith(PROGRAMS)])
        output = connection.run(
            COMMIT.format(state=STATE, stage=stage), what="put the files in place"
        )
    if output.decode("utf-8", "replace").split()[-1:] != ["committed"]:
        raise UserError(f"{connection.host} did not finish putting the files in place")
    return len(data)


def _try(connection: Connection, stage: str, programs: Sequence[str]) -> None:
    """Start each new program once: one that does not start there must not replace one that does."""
    for path in programs:
        status, output, errors = connection.attempt(
            f"{STATE}/{stage}{path} --version", what=f"start {path}"
        )
        if status != 0:
            connection.run(f"rm -rf {STATE}/{stage}", what="delete the new files")
            said = errors or output.decode("utf-8", "replace").strip() or "no output"
            raise UserError(
                f"the new {path} does not start on {connection.host} (status {status}): {said}",
                hint="nothing was replaced",
            )


def _note(fresh: Mapping[str, Path]) -> str:
    """``neon-runner, colours: commit 0123abc, 2026-11-25T08:00:00Z``."""
    names = []
    for path in fresh:
        parts = path.split("/")
        name = parts[-1] if path.startswith(PROGRAMS) else parts[4]
        if name not in names:
            names.append(name)
    ours = project.revision(ROOT)
    commit = ours.commit[:12] + ("-dirty" if ours.dirty else "")
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"{', '.join(names)}: commit {commit}, {when}\n"
