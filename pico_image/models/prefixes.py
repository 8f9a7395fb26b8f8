"""Prefixes of a model: the network cut after each of its layers, for the search of a wrong one.

A board whose NPU answers one prefix rightly and the next wrongly computes the layer between them
wrongly. Each prefix is judged by golden vectors of its own, the toolkit's simulator's answers.
`invoke verify-board --bisect` makes the few prefixes that its search asks for (7 or 8 of the 51 of
EfficientNet-Lite0, up to 14 s of CPU time each); `invoke convert-models --bisect` makes all ahead.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.files import output_dir
from pico_image.config.configuration import Config
from pico_image.models import convert, papers, pipeline
from pico_image.models.pipeline import Plan, Stages
from pico_image.models.worker.jobs import Cut, Quantities, read_json

#: Steps that the functional simulator may be off in a layer; an NPU may be off by
#: ``papers.TOLERANCE_STEPS``. TFLite's weights are symmetric, the toolkit's are not: in twelve of
#: EfficientNet-Lite0's layers up to 59 steps were measured, at a cosine of 0.993 or more, which
#: therefore decides there.
SIMULATED_STEPS = 96


def layer(cut: Cut) -> str:
    """What the last layer of a prefix is: its name in ONNX and TFLite, operators, shapes."""
    operators = " + ".join(step.operator for step in cut.steps)
    source = cut.steps[0].inputs[0] if cut.steps[0].inputs else []
    return f"{cut.tensor}: {operators}, {_size(source)} to {_size(cut.steps[-1].output)}"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of one model, the shortest first; the last is the whole network.

    Each is converted when it is asked for, and then kept in the cache.
    """

    console: Console
    plan: Plan
    stages: Stages
    rknn: Path
    cuts: list[Cut]

    @classmethod
    def of(cls, console: Console, config: Config, name: str) -> Prefixes:
        """Of a model of the configuration, which is converted first unless the cache has it.

        Raises UserError for an unknown model, and where rknn-toolkit2 does not run.
        """
        plan = convert.plan(console, config, name)
        convert.check_versions(config)
        convert.wants_npu(console, plan.spec, True)
        stages = pipeline.run_stages(console, plan, with_npu=True)
        assert stages.rknn is not None
        cuts = pipeline.find_cuts(console, plan, stages.prepared)
        return cls(console, plan, stages, stages.rknn, cuts)

    def write(self, number: int, folder: Path, *, simulated: bool) -> None:
        """Put ``model.rknn`` and ``golden/`` of prefix ``number`` (from 0) into ``folder``.

        ``simulated``: for a board with the functional simulator, which needs two files more.
        """
        console, plan, tensor = self.console, self.plan, self.cuts[number].tensor
        prefix = pipeline.make_prefix(console, plan, self.stages.prepared, self.rknn, tensor)
        shutil.copyfile(prefix / papers.FILES["npu"], folder / papers.FILES["npu"])
        steps = SIMULATED_STEPS if simulated else papers.TOLERANCE_STEPS
        papers.write_golden(plan.spec, prefix, folder, steps)
        if simulated:
            cut = pipeline.cut_tflite(console, plan, self.stages.tflite, tensor)
            shutil.copyfile(cut / papers.FILES["int8"], folder / papers.FILES["int8"])
            quantities = read_json(Quantities, prefix / "quantities.json")
            papers.write_sidecar(plan.spec, quantities, folder)

    def publish(self) -> list[Path]:
        """Make every prefix for an NPU, and put each below ``out/models/NAME/prefixes``."""
        target = output_dir() / "models" / self.plan.name / "prefixes"
        target.parent.mkdir(parents=True, exist_ok=True)
        names = [f"{number + 1:03d}" for number in range(len(self.cuts))]
        with tempfile.TemporaryDirectory(prefix=".new.", dir=target.parent) as scratch:
            for number, (name, cut) in enumerate(zip(names, self.cuts, strict=True)):
                self.console.info(f"{name} of {len(self.cuts)}, {layer(cut)}")
                folder = Path(scratch, "prefixes", name)
                folder.mkdir(parents=True)
                self.write(number, folder, simulated=False)
            shutil.rmtree(target, ignore_errors=True)
            Path(scratch, "prefixes").rename(target)
        return [target / name for name in names]
