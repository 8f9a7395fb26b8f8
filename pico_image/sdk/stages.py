"""The stages: which have to run, running them, and their results."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pico_image import sources
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file, write_text
from pico_image.base.project import NAME
from pico_image.card.making import set_update_time
from pico_image.engine import copies, run
from pico_image.engine.volumes import Entry, Volume
from pico_image.sdk import checkout, log
from pico_image.sdk.checkout import NO_SPACE, no_space
from pico_image.sdk.inputs import Inputs, Stage, rootfs_actions, stage_key
from pico_image.sdk.workspace import Workspace

SCRIPT = "/src/docker/sdk-stage.sh"
#: What is done in a container beside the stages.
TOOL = "/src/docker/sdk-tool.sh"
#: Its status where nothing was built, or the SDK lacks the vendor's packer.
NOTHING_THERE = 6


@dataclass(frozen=True)
class State:
    """How the last run of a stage in this volume ended, and its inputs."""

    state: str = "absent"
    key: str = ""
    inputs: Inputs = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class States:
    """The states of all stages, and the times of Buildroot's packages."""

    stages: Mapping[Stage, State]
    seconds: Mapping[str, float]
    #: Commit of the SDK that the volume holds whole; empty for none.
    commit: str = ""
    #: Output of ``make show-info`` after Buildroot's last build; empty for none.
    packages: str = ""

    def outputs(self, stages: Iterable[Stage]) -> dict[str, tuple[str, int]]:
        """Hash and size of each result of these stages, by name."""
        return {name: it for stage in stages for name, it in self.stages[stage].outputs.items()}

    @property
    def begun(self) -> bool:
        """Whether anything was built in this volume before."""
        return any(state.state != "absent" for state in self.stages.values())

    def done(self, stage: Stage, inputs: Inputs) -> bool:
        state = self.stages[stage]
        return (
            state.state == "done"
            and state.key == stage_key(inputs)
            # Of the results that it took in, none was made anew (a source changed in a shell).
            and all(
                state.outputs.get(name, mark) == mark
                for needed in stage.needs
                for name, mark in self.stages[needed].outputs.items()
            )
        )


def read_states(workspace: Workspace) -> States:
    """From the build volume; what cannot be read counts as interrupted with unknown inputs."""
    files = workspace.files.read_all("states")
    states = {stage: _state(files.get(f"{stage.value}.json")) for stage in Stage}
    times = log.timings(files.get("build-time.log", b"").decode(errors="replace"))
    commit = files.get("commit", b"")
    packages = files.get("packages.info", b"").decode(errors="replace")
    return States(states, times, commit.decode(errors="replace").strip(), packages)


def _state(text: bytes | None) -> State:
    if text is None:
        return State()
    try:
        data: dict[str, Any] = json.loads(text)
        record = data["run"]
        outputs = {name: (str(sha), int(size)) for name, (sha, size) in data["outputs"].items()}
        return State(str(data["state"]), str(record["key"]), dict(record["inputs"]), outputs)
    except (ValueError, KeyError, TypeError):
        return State("begun")


def bring_sdk(console: Console, workspace: Workspace, states: States) -> None:
    """The SDK at the pin in the volume, complete; a checkout of the user's is there already."""
    origin, forced = workspace.origin, workspace.options.force
    if origin.path is None and (forced or states.commit != origin.commit):
        checkout.make_tree(
            workspace.engine, console, workspace.image.id, workspace.mounts, origin,
            need_bytes=_need_bytes(workspace, states),
        )  # fmt: skip


def hand_downloads(console: Console, workspace: Workspace) -> None:
    """What our Buildroot packages download, from this machine: it knows more places than they."""
    files = workspace.downloads
    copies.add_missing(
        console,
        Volume(workspace.engine, workspace.image.id, f"{NAME}-dl"),
        {place: source.files[0].sha256 for place, source in files.items()},
        lambda place: sources.fetch(console, files[place]),
    )


def _need_bytes(workspace: Workspace, states: States) -> int:
    """Space that the build will still take."""
    options = workspace.options
    return options.later_bytes if states.begun else options.first_bytes


def plan(workspace: Workspace, states: States) -> dict[Stage, list[str]]:
    """The stages that have to run, in order, and what their script removes first (sdk-stage.sh).

    ``only`` runs that one whatever its state; ``from_stage`` and ``force`` run those from there
    on, or all. Raises UserError when a stage that is asked for is not part of this image, or
    ``only`` one that needs a result which does not exist yet.
    """
    options, stages, inputs = workspace.options, workspace.stages, workspace.inputs
    first, only = (Stage.named(name) for name in (options.from_stage, options.only))
    for asked in (first, only):
        if asked is not None and asked not in stages:
            raise UserError(
                f"stage {asked.value} is no part of this image: it has no camera software",
                hint=f"its stages: {', '.join(stage.value for stage in stages)}; set camera: true "
                "in the variant to have it",
            )
    for needed in only.needs if only is not None else ():
        if not states.done(needed, inputs[needed]):
            raise UserError(
                f"stage {options.only} takes in the results of {needed.value}, which are not there "
                "or out of date",
                hint=f"run with --from {needed.value}, or without --only",
            )
    start = stages.index(first) if first is not None else len(stages)
    chosen: dict[Stage, list[str]] = {}
    for position, stage in enumerate(stages):
        done = states.done(stage, inputs[stage]) and not {*chosen} & {*stage.needs}
        if stage is only if only else options.force or position >= start or not done:
            chosen[stage] = _removals(workspace, states.stages[stage], stage)
    return chosen


def _removals(workspace: Workspace, state: State, stage: Stage) -> list[str]:
    inputs, force = workspace.inputs[stage], workspace.options.force
    if state.state == "absent":
        return []
    if stage is Stage.ROOTFS:
        if force or not state.inputs:
            return ["wipe-output"]
        # A package whose build was interrupted is built again from its sources: make would take a
        # truncated file, which is newer than its sources, for whole.
        interrupted = ["drop-unfinished"] if state.state != "done" else []
        return interrupted + rootfs_actions(state.inputs, inputs)
    same = all(state.inputs.get(name) == inputs[name] for name in ("format", "container", "board"))
    # make sees files that are newer than their objects, but not another compiler.
    compilers = [each["sdk"].get(checkout.COMPILER) for each in (state.inputs, inputs) if same]
    same = same and compilers[0] == compilers[1]
    # make removes the file that it makes when a command fails, but not when make is killed.
    return ["clean-stage"] if force or state.state == "begun" or not same else []


def run_steps(
    workspace: Workspace, console: Console, states: States, steps: Mapping[Stage, Sequence[str]]
) -> States:
    """Run stages; the states afterwards. Raises UserError with the lines that explain a failure."""
    bring_sdk(console, workspace, states)
    if Stage.ROOTFS in steps:
        hand_downloads(console, workspace)  # before an hour of stages that may lack them
    need_bytes = _need_bytes(workspace, states)
    for number, step in enumerate(steps.items(), 1):
        position = f"{number} of {len(steps)}"
        _run_step(workspace, console, step, position, states.seconds, need_bytes)
        need_bytes = 0  # the stages fill the space that the first one has checked
    return read_states(workspace)


def _run_step(
    workspace: Workspace,
    console: Console,
    step: tuple[Stage, Sequence[str]],
    position: str,
    seconds: Mapping[str, float],
    need_bytes: int,
) -> None:
    stage, removals = step
    inputs = workspace.inputs[stage]
    lines: deque[str] = deque(maxlen=2000)
    follower = log.Follower(seconds)
    record = json.dumps({"key": stage_key(inputs), "inputs": inputs}, sort_keys=True)
    if removals:
        console.log(f"{stage.value}: first {' '.join(removals)}")
    network = stage is Stage.ROOTFS and not console.offline
    container = workspace.container("bash", SCRIPT, stage.value, *removals, network=network)
    variables = {"PICO_STATE": record, "PICO_NEED_KB": str(need_bytes // 1024)}
    with (
        console.step(f"Stage {stage.value} ({position})"),
        console.progress(stage.value, 0) as bar,
    ):

        def follow(line: str) -> None:
            if line.startswith("@note "):
                console.warn(line.removeprefix("@note "))
            if not line.startswith(log.ORDER):
                lines.append(line)
            follower.feed(line)
            headline = follower.headline() if stage is Stage.ROOTFS else ""
            bar.note(f"{headline}  |  {follower.last}" if headline else follower.last)

        ended = run.run(
            workspace.engine,
            console,
            replace(container, env={**workspace.env, **variables}),
            what=f"run the stage {stage.value}",
            on_line=follow,
        )
    if ended.status == 0:
        return
    if ended.status == NO_SPACE and any(line.startswith("@free ") for line in lines):
        raise no_space(list(lines), need_bytes)
    known = log.recognise(ended, list(lines))
    if known is not None and known.leaves_truncated_files:
        # The script knows only that build.sh failed; the next run must not continue this stage.
        content = f'{{"state": "begun", "outputs": {{}}, "run": {record}}}\n'.encode()
        with contextlib.suppress(UserError):
            workspace.files.put({f"{stage.value}.json": Entry(content)}, "states")
    package = f", package {follower.failed_package}" if follower.failed_package else ""
    raise log.explain(
        f"stage {stage.value}{package}",
        ended,
        list(lines),
        console.log_path,
        hint=f"--from {stage.value} does this stage again, `invoke shell` looks around in it",
    )


def export(workspace: Workspace, console: Console, results: Mapping[Path, tuple[str, int]]) -> None:
    """Bring results, by where they go, out of the volume: those that differ.

    They belong to the caller.
    """
    lost = {path: mark for path, mark in results.items() if not _is(path, mark)}
    for path, (_, size) in lost.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with console.step(f"Bring {path.name} out of the engine"):
            workspace.files.export(console, f"results/{path.name}", path.parent, total=size)
        if not _is(path, lost[path]):
            raise UserError(
                f"{path} is not what the stage made: its hash differs",
                hint="the disk of the engine or of this machine may be faulty; see dmesg",
            )


def _is(path: Path, mark: tuple[str, int]) -> bool:
    return path.is_file() and path.stat().st_size == mark[1] and sha256_file(path) == mark[0]


def run_tool(
    workspace: Workspace, console: Console, word: str, title: str, *, network: bool = False
) -> bool:
    """Run what docker/sdk-tool.sh calls ``word``; False where it found nothing to work on.

    Raises UserError with the lines that explain a failure.
    """
    lines: list[str] = []
    with console.step(title), console.progress(word, 0) as bar:

        def follow(line: str) -> None:
            lines.append(line)
            bar.note(line.strip())

        container = workspace.container("bash", TOOL, word, network=network)
        ended = run.run(workspace.engine, console, container, what=title, on_line=follow)
    if ended.status not in (0, NOTHING_THERE):
        raise log.explain(title, ended, lines, console.log_path)
    return ended.status == 0


def pack_update(
    workspace: Workspace, console: Console, parts: Sequence[Path], image: Path, epoch: int
) -> None:
    """Make ``image``, update.img, of ``parts`` by the SDK's packer, unless it is that of them."""
    stamp = image.parent.parent / ".stamps" / f"{image.name}.json"

    def record() -> str:
        files = [path.stat() for path in (*parts, image) if path.is_file()]
        return json.dumps([epoch, *((file.st_size, file.st_mtime_ns) for file in files)])

    if stamp.is_file() and stamp.read_text(encoding="utf-8") == record():
        return
    image.unlink(missing_ok=True)
    workspace.files.put({f"update/{path.name}": Entry(path) for path in parts})
    if run_tool(workspace, console, "update", "Pack update.img"):
        workspace.files.export(console, f"update/{image.name}", image.parent, total=0)
        set_update_time(image, epoch)
    else:
        console.info("this SDK has no packer, so there is no update.img")
    write_text(stamp, record())
