"""Results of npu-bench and of the runners as typed data: the one definition of their format.

The JSON Schema of the board's programs is generated from these classes; after a change run
``python -m pico_image.results.result``. Docstrings of fields are their descriptions there.
Unknown fields are ignored: a newer minor version adds some. Times are microseconds, memory is KiB.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from pico_image.base.files import ROOT, write_text
from pico_image.results.statistics import usable

SCHEMA_FILE = ROOT / "app/bench/result.schema.json"
#: Readers refuse another major version; app/common/version.h says which minor one is written.
MAJOR = "1"
STAGES = ("decode", "prepare", "inference", "post")
TOTAL = "total"

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
#: None where there is no usable sample.
Time = Amount | None
UTC = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]


class Part(BaseModel):
    """What all parts of a result have in common: types are exact, NaN and infinity no figures."""

    model_config = ConfigDict(
        frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Program(Part):
    """The program that wrote the result."""

    name: str
    version: str


class Statistics(Part):
    """Samples and the figures that the board derives from them."""

    n: Count
    failed: Count
    """samples that are no times: a broken clock"""
    min: Time
    median: Time
    p90: Time
    p99: Time
    max: Time
    mean: Time
    stddev: Time
    """of the sample (n - 1); null below 2 samples"""
    cv: float | None
    """stddev / mean"""
    samples: list[Time]
    """every sample in the order of measuring"""

    @property
    def times(self) -> list[float]:
        """Usable samples, ascending."""
        return usable(self.samples)


class Stages(Part):
    """Statistics of each stage of a run, and of the whole run, measured by itself."""

    decode: Statistics
    prepare: Statistics
    inference: Statistics
    post: Statistics
    total: Statistics

    def of(self, stage: str) -> Statistics:
        statistics: Statistics = getattr(self, stage)
        return statistics


class Answer(Part):
    """One of the best classes."""

    index: Count = Field(alias="class")
    label: str
    score: float | None
    probability: float | None


class Memory(Part):
    """What a runner needed."""

    peak_kib: float
    """VmHWM of the runner; -1 unknown"""
    available_kib: float
    """least MemAvailable while the model was loaded; -1 unknown"""


class Xnnpack(Part):
    """How much of a network XNNPACK runs."""

    used: bool
    nodes: Count
    total_nodes: Size
    partitions: Count
    reason: str | None


class Engine(Part):
    """An engine, as it describes itself."""

    name: Literal["cpu", "npu"]
    runtime: str
    precision: str
    line: str
    xnnpack: Xnnpack | None = None


class Input(Part):
    """The input of a network."""

    width: Size
    height: Size
    channels: Size


class Difference(Part):
    """The NPU's answer to one golden vector beside the PC's."""

    name: str
    exact_bytes: Count
    bytes: Size
    largest_step: Count
    """in steps of the output's int8 grid"""
    cosine: float | None
    """of the dequantised answers; null when one is all zero"""
    top1_equal: bool


class Verification(Part):
    """The NPU's answers to golden vectors, beside those of rknn-toolkit2's simulator on the PC."""

    verdict: Literal["exact", "within-tolerance", "wrong"]
    line: str
    """the verdict in words"""
    simulated: bool
    """answered by a functional NPU simulator: no proof for a board"""
    model_sha256: str
    runtime: str
    toolkit: str
    tolerance_steps: Count
    run: Count
    listed: Size
    """vectors that golden.json has; ``run`` of them were run"""
    exact_bytes: Count
    bytes: Count
    largest_step: Count
    least_cosine: float | None
    top1_equal: Count
    vectors: list[Difference]


class VerifiedModel(Part):
    """The model that ``npu-runner --verify`` was given."""

    path: str


class Verified(Part):
    """The output of ``npu-runner --verify``."""

    program: Program
    ended: UTC
    clock_set: bool
    emulated: bool
    simulated_npu: bool
    model: VerifiedModel
    engine: Engine
    verification: Verification
    warnings: list[str]


class RunnerModel(Part):
    """The model that a runner was given."""

    name: str
    path: str
    classes: Count
    macs: float | None
    input: Input


class Effort(Part):
    """How long is measured, and the rules that are the same in every result."""

    unit: Literal["us"]
    percentiles: str
    warmup_runs: Count
    min_runs: Count
    min_secs: Amount
    max_secs: Amount
    threads: Count


class RunnerPicture(Part):
    """One picture as a runner prepared and classified it."""

    path: str
    format: Literal["JPEG", "PNG", "RGB"]
    width: Size
    height: Size
    decode_scale: Literal[1, 2, 4, 8]
    crop: Annotated[list[float], Field(min_length=4, max_length=4)]
    first: dict[str, Time] | None
    runs: Count
    failed: Count
    loop: Amount
    """wall time from the first timed run to the last"""
    stages: Stages
    top: list[Answer]
    expected: list[Count] | None
    correct: bool | None
    logits: list[float | None] = []


class Runner(Part):
    """The output of npu-runner or neon-runner: one model on one engine."""

    program: Program
    ended: UTC
    clock_set: bool
    emulated: bool
    simulated_npu: bool
    model: RunnerModel
    engine: Engine
    protocol: Effort
    load: Time
    memory: Memory
    pictures: Annotated[list[RunnerPicture], Field(min_length=1)]
    warnings: list[str]


class Picture(Part):
    """One picture in one configuration."""

    path: str
    title: str
    expected: list[Count] | None
    correct: bool | None
    failed: Count
    stages: Stages
    loops: list[Amount] = []
    """wall time of the timed runs of each round, which --min-secs limits"""
    first: Stages
    """first inference after loading; only the first picture of a round has one"""
    giga_operations_per_second: float | None
    """2 x MACs / median inference time"""
    share_of_npu_peak: float | None = None
    """0 to 1: operations a second / (2 x 512 x NPU clock); only for a real NPU of known clock"""
    top: list[Answer]

    @property
    def label(self) -> str:
        return self.title or PurePosixPath(self.path).stem

    def times(self, stage: str) -> list[float]:
        """Usable samples of a stage, ascending."""
        return self.stages.of(stage).times

    @property
    def broken(self) -> int:
        """Samples of the total that are no times (a broken clock)."""
        return len(self.stages.total.samples) - len(self.times(TOTAL))

    @property
    def answer(self) -> str:
        """The best class as text, "" when none is known."""
        return f"{self.top[0].label or 'class'} ({self.top[0].index})" if self.top else ""


class ModelFile(Part):
    """The file that was measured; ``sha256`` is that of its card."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: float | None = None
    verified: Literal["yes", "no", "unknown"]


class Configuration(Part):
    """One model on one engine in one precision."""

    title: Literal["CPU float32", "CPU int8", "NPU int8"]
    engine: Literal["cpu", "npu"]
    precision: Literal["float32", "int8"]
    simulated: bool
    """a functional NPU simulator: none of its times means anything"""
    file: ModelFile
    failure: str | None
    rounds: Count
    facts: Engine | None
    load: Statistics
    memory: Memory
    pictures: list[Picture]
    verification: Verification | None = None
    """of the NPU, once before measuring; null without golden vectors"""
    verification_failure: str | None = None
    """why the answers could not be compared"""

    @property
    def runtime(self) -> str:
        return self.facts.runtime if self.facts else ""

    @property
    def line(self) -> str:
        return self.facts.line if self.facts else ""

    @property
    def beside_pc(self) -> str:
        """The verdict on its answers in words; "" where none was asked for or made."""
        if self.verification_failure:
            return f"NPU = PC: not compared: {self.verification_failure}"
        if self.verification is None:
            return ""
        if self.verification.simulated:
            return f"SIMULATED NPU = PC: {self.verification.line}; no proof for a board"
        return f"NPU = PC: {self.verification.line}"

    @property
    def unlike_pc(self) -> bool:
        """Were its answers compared, and found wrong?"""
        return self.verification is not None and self.verification.verdict == "wrong"

    def times(self, stage: str) -> list[float]:
        """Usable samples of a stage over all pictures, ascending."""
        return sorted(t for picture in self.pictures for t in picture.times(stage))

    @property
    def runs(self) -> int:
        return len(self.times(TOTAL))

    @property
    def measured(self) -> bool:
        """Is there a time above 0?"""
        return any(self.times(TOTAL))

    @property
    def failed(self) -> int:
        return sum(p.failed + p.broken for p in self.pictures)

    def picture(self, path: str) -> Picture | None:
        return next((p for p in self.pictures if p.path == path), None)


class Comparison(Part):
    """Answers and times of two configurations, named by their titles, for one picture."""

    of: str
    against: str
    picture: str
    speedup_inference: float | None
    """median of "against" / median of "of"; null when one is emulated or simulated"""
    speedup_total: float | None
    top1_equal: bool
    top5_shared: Annotated[int, Field(ge=0, le=5)]
    cosine: float | None
    """of all scores"""


class Model(Part):
    """One network; ``macs`` multiply-accumulates for one inference."""

    name: str
    title: str
    input: Input
    classes: Count
    macs: float | None
    macs_source: str | None
    configurations: list[Configuration]
    comparisons: list[Comparison]

    def find(self, engine: str, precision: str) -> Configuration | None:
        return next(
            (c for c in self.configurations if (c.engine, c.precision) == (engine, precision)),
            None,
        )

    @property
    def measured(self) -> list[Configuration]:
        return [c for c in self.configurations if c.measured]


class Options(Effort):
    """What npu-bench was asked for."""

    quick: bool
    mlperf_style: bool = False
    rounds: Count
    order: str


class Kernel(Part):
    """From uname."""

    release: str
    machine: str


class Cpu(Part):
    """From /proc/cpuinfo."""

    model: str | None = None
    hardware: str | None = None


class Image(Part):
    """From /etc/pico-image-release."""

    variant: str | None = Field(default=None, alias="VARIANT")
    version: str | None = Field(default=None, alias="VERSION")
    commit: str | None = Field(default=None, alias="COMMIT")
    build_date: str | None = Field(default=None, alias="BUILD_DATE")


class System(Part):
    """What ran."""

    kernel: Kernel
    command_line: str | None
    board: str | None = None
    cpu: Cpu
    image: Image | None
    deployed: str | None = None
    """what invoke deploy sent after the image was built"""
    memory_kib: float | None
    cma_kib: float | None = None
    npu_driver: str | None = None
    emulated: bool
    emulated_because: str


class State(Part):
    """Clocks and disturbances, before or after measuring."""

    governor: str | None
    cpu_mhz_sysfs: float | None
    cpu_mhz_measured: Amount
    """from a loop of dependent additions; in an emulator no clock at all"""
    npu_frequency: str | None = None
    npu_mhz: float | None = None
    temperature_celsius: float | None
    available_kib: float | None
    swap_used_kib: Amount
    load_1min: float | None
    uptime_s: float | None
    rkipc_runs: bool


class Governor(Part):
    """The CPU's governor before and while measuring."""

    found: str | None
    used: str | None


class Bench(Part):
    """The result of npu-bench."""

    program: Program
    started: UTC
    ended: UTC
    clock_set: bool
    """false: the clock was not set, so the dates are wrong"""
    emulated: bool
    """true: an emulated CPU; no time says anything about a board"""
    simulated_npu: bool
    outcome: Literal["ok", "failed"]
    options: Options
    system: System
    before: State
    after: State
    governor: Governor
    models: Annotated[list[Model], Field(min_length=1)]
    warnings: list[str]
    failures: list[str]

    @property
    def label(self) -> str:
        """``EMULATED CPU``, ``SIMULATED NPU``, both, or "" for a board's own."""
        words = ["EMULATED CPU"] if self.emulated else []
        words += ["SIMULATED NPU"] if self.simulated_npu else []
        return " · ".join(words)

    @property
    def image(self) -> Image:
        return self.system.image or Image()

    @property
    def board(self) -> str:
        """What ran, for headings."""
        return "QEMU (Cortex-A7)" if self.emulated else self.system.board or "unknown board"


class Result(Bench):
    """A result of npu-bench, the name that it is kept under, and the JSON that it was read from."""

    name: str
    version: str = Field(alias="schema")
    raw: dict[str, Any] = Field(repr=False)


class Finding(Part):
    """What npu-doctor looked at."""

    level: Literal["ok", "note", "problem"]
    name: str
    text: str
    remedy: str | None
    """what helps, in words; null when all is well"""


class Newest(Part):
    """The newest result of npu-bench on the board."""

    file: str
    bytes: float
    content: dict[str, Any] | None
    """the result; null when it is no whole one, or longer than 2 MiB"""
    broken: str
    """why there is no content; "" when there is"""


class Desk(Part):
    """What invoke collect adds."""

    collected: UTC
    version: str
    """of this project on the machine that collected"""
    commit: str
    known_wrong: list[str]


class Doctor(Part):
    """The output of npu-doctor: facts of a board, without what identifies it or its owner."""

    program: Program
    gathered: UTC
    emulated: bool
    recorded: bool
    """of the files of another board (--root)"""
    findings: Annotated[list[Finding], Field(min_length=1)]
    known_wrong: list[str]
    """faults of this chip, driver or runtime that are reported in public"""
    not_read: list[str]
    """files that ended their reader or did not answer"""
    facts: dict[str, Any]
    texts: dict[str, list[str] | None]
    """files of the kernel, in lines"""
    result: Newest | None
    desk: Desk | None = None


#: What the board's programs write, by its ``kind``.
KINDS: dict[str, type[Part]] = {
    "bench": Bench,
    "runner": Runner,
    "verification": Verified,
    "doctor": Doctor,
}


def schema_text() -> str:
    """The JSON Schema of everything that the board's programs write."""
    _, parts = models_json_schema(
        [(kind, "validation") for kind in KINDS.values()], ref_template="#/$defs/{model}"
    )
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:luckfox-pico-npu:result:{MAJOR}",
        "title": "Output of npu-bench, neon-runner, npu-runner or npu-doctor",
        "description": "Generated by pico_image/results/result.py, do not edit. Times are "
        "microseconds, memory is KiB. Readers ignore fields that they do not know and refuse "
        'another major version of "schema". docs/results.md explains each field.',
        "type": "object",
        "required": ["schema", "kind"],
        "properties": {
            "schema": {"type": "string", "pattern": rf"^{MAJOR}\.[0-9]+$"},
            "kind": {"enum": list(KINDS)},
        },
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}},
                "then": {"$ref": f"#/$defs/{kind.__name__}"},
            }
            for name, kind in KINDS.items()
        ],
        "$defs": {name: _plain(part) for name, part in parts["$defs"].items()},
    }
    return _layout(whole) + "\n"


def _plain(node: Any) -> Any:
    """Without defaults and made-up titles; ``X or null`` as one list of types where X has one."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _plain(value)
        for key, value in node.items()
        if key != "default" and not (key == "title" and isinstance(value, str))
    }
    some, *others = kept.get("anyOf", [None])
    if others == [{"type": "null"}] and "type" in some:
        del kept["anyOf"]
        kept = {**some, "type": [some["type"], "null"], **kept}
    return kept


def _layout(node: Any, indent: str = "") -> str:
    """JSON with what fits into one line on one line."""
    line = json.dumps(node, ensure_ascii=False)
    inner = indent + "  "
    if len(indent) + len(line) <= 100 or not isinstance(node, (dict, list)):
        return line
    if isinstance(node, list):
        return "[\n" + ",\n".join(inner + _layout(n, inner) for n in node) + f"\n{indent}]"
    items = (f"{inner}{json.dumps(k)}: {_layout(value, inner)}" for k, value in node.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


if __name__ == "__main__":
    write_text(SCHEMA_FILE, schema_text())
