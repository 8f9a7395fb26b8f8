"""The SDK's stages, one by one: which have to run, what goes first, what came out."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pico_image.base.console import Console, Progress
from pico_image.base.errors import UserError
from pico_image.engine import run as container_run
from pico_image.engine.client import Container, Engine, Mount
from pico_image.engine.volumes import Entry, Volume
from pico_image.sdk import log
from pico_image.sdk.checkout import NO_SPACE, no_space
from pico_image.sdk.inputs import Inputs, Stage, rootfs_actions, stage_key

SCRIPT = "/src/docker/sdk-stage.sh"
#: What a first build needs, and what a later one may still add. 15 GB is what a public builder of
#: this SDK asks for; its tree alone takes about 5 when unpacked.
FIRST_BYTES = 15 * 10**9
LATER_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Site:
    """Where a variant is built: engine, image, volumes and the environment of build.sh."""

    engine: Engine
    image: str
    volume: str
    mounts: tuple[Mount, ...]
    env: Mapping[str, str]
    first_bytes: int = FIRST_BYTES
    later_bytes: int = LATER_BYTES

    @property
    def files(self) -> Volume:
        """The build volume's files."""
        return Volume(self.engine, self.image, self.volume)

    def container(self, *command: str, network: bool = False) -> Container:
        """A program in the build container, with what build.sh gets."""
        return Container(self.image, command, self.mounts, self.env, network)

    def need(self, states: States) -> int:
        """Space that the build will still take, bytes."""
        return self.later_bytes if states.begun else self.first_bytes


@dataclass(frozen=True)
class State:
    """What the volume knows about a stage: how its last run ended and what it was made from."""

    state: str = "absent"
    key: str = ""
    inputs: Inputs = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class States:
    """All stages' states, and how long Buildroot's packages took."""

    stages: Mapping[Stage, State]
    seconds: Mapping[str, float]
    #: Commit of the SDK that the volume holds whole; empty for none.
    commit: str = ""
    #: What ``make show-info`` said when Buildroot was through; empty for nothing.
    packages: str = ""

    @property
    def begun(self) -> bool:
        """Whether anything was built in this volume before."""
        return any(state.state != "absent" for state in self.stages.values())

    def done(self, stage: Stage, inputs: Inputs) -> bool:
        state = self.stages[stage]
        return state.state == "done" and state.key == stage_key(inputs)


def read_states(site: Site) -> States:
    """From the build volume; what cannot be read counts as cut off with unknown inputs."""
    files = site.files.read_all("states")
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
        run = data["run"]
        outputs = {name: (str(sha), int(size)) for name, (sha, size) in data["outputs"].items()}
        return State(str(data["state"]), str(run["key"]), dict(run["inputs"]), outputs)
    except (ValueError, KeyError, TypeError):
        return State("begun")


def to_run(
    states: States,
    inputs: Mapping[Stage, Inputs],
    wanted: Sequence[Stage],
    *,
    from_stage: Stage | None = None,
    only: Stage | None = None,
    force: bool = False,
) -> list[Stage]:
    """The stages that have to run, in order.

    ``only`` runs that one whatever its state; ``from_stage`` and ``force`` run those from there
    on, or all. Raises UserError when a stage that is asked for is not part of this image, or
    ``only`` one that takes in what is not there yet.
    """
    for asked in (from_stage, only):
        if asked is not None and asked not in wanted:
            raise UserError(
                f"stage {asked.value} is no part of this image: it has no camera software",
                hint=f"its stages: {', '.join(stage.value for stage in wanted)}; set camera: true "
                "in the variant to have it",
            )
    if only is not None:
        absent = [
            stage.value
            for stage in only.needs
            if stage in wanted and not states.done(stage, inputs[stage])
        ]
        if absent:
            raise UserError(
                f"stage {only.value} takes in the results of {', '.join(absent)}, which "
                f"{'is' if len(absent) == 1 else 'are'} not there or out of date",
                hint=f"run with --from {absent[0]}, or without --only",
            )
        return [only]
    start = wanted.index(from_stage) if from_stage is not None else len(wanted)
    return [
        stage
        for position, stage in enumerate(wanted)
        if force or position >= start or not states.done(stage, inputs[stage])
    ]


def actions(
    stage: Stage, state: State, inputs: Inputs, wanted: Sequence[Stage], *, force: bool
) -> list[str]:
    """What the stage's script has to remove first: see sdk-stage.sh."""
    if stage is Stage.FIRMWARE:
        return [] if Stage.MEDIA in wanted else ["drop-media"]
    if state.state == "absent":
        return []
    if stage is Stage.ROOTFS:
        if force or not state.inputs:
            return ["wipe-output"]
        # A package whose build ended in the middle is built again from its sources: a file that
        # was cut short would look newer than what it is made from, and be taken for whole.
        cut = ["drop-unfinished"] if state.state != "done" else []
        return cut + rootfs_actions(state.inputs, inputs)
    same = all(state.inputs.get(name) == inputs[name] for name in ("format", "container", "board"))
    # make removes what it was making when a command fails, but not when it is killed itself.
    return ["clean-stage"] if force or state.state == "begun" or not same else []


def run_stage(
    site: Site,
    console: Console,
    stage: Stage,
    inputs: Inputs,
    todo: Sequence[str],
    *,
    seconds: Mapping[str, float],
    position: str,
    container_name: str,
    need_bytes: int,
) -> None:
    """Run one stage. Raises UserError with the lines that tell why, and the remedy if known."""
    lines: deque[str] = deque(maxlen=2000)
    follower = log.Follower(seconds)
    run = json.dumps({"key": stage_key(inputs), "inputs": inputs}, sort_keys=True)
    if todo:
        console.log(f"{stage.value}: first {' '.join(todo)}")
    with (
        console.step(f"Stage {stage.value} ({position})"),
        console.progress(stage.value, 0) as bar,
    ):
        ended = container_run.run(
            site.engine,
            console,
            Container(
                site.image,
                ["bash", SCRIPT, stage.value, *todo],
                site.mounts,
                {**site.env, "PICO_STATE": run, "PICO_NEED_KB": str(need_bytes // 1024)},
                network=stage.downloads and not console.offline,
                name=container_name,
            ),
            what=f"run the stage {stage.value}",
            on_line=lambda line: _follow(line, lines, follower, stage, bar),
        )
    if ended.status == 0:
        return
    if ended.status == NO_SPACE and any(line.startswith("@free ") for line in lines):
        raise no_space(list(lines), need_bytes)
    known = log.recognise(ended, list(lines))
    if known is not None and known.leaves_truncated_files:
        # The script could tell only that build.sh failed; the next run must not go on from it.
        content = f'{{"state": "begun", "outputs": {{}}, "run": {run}}}\n'.encode()
        with contextlib.suppress(UserError):
            site.files.put({f"{stage.value}.json": Entry(content)}, "states")
    package = f", package {follower.failed_package}" if follower.failed_package else ""
    raise log.explain(
        f"stage {stage.value}{package}",
        ended,
        list(lines),
        console.log_path,
        hint=f"--from {stage.value} does this stage again, `invoke shell` looks around in it",
    )


def _follow(
    line: str,
    lines: deque[str],
    follower: log.Follower,
    stage: Stage,
    bar: Progress,
) -> None:
    if not line.startswith(log.ORDER):
        lines.append(line)
    follower.feed(line)
    headline = follower.headline() if stage is Stage.ROOTFS else ""
    bar.note(f"{headline}  |  {follower.last}" if headline else follower.last)
