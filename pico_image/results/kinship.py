"""Do two results belong together, and what about them explains a difference?"""

from __future__ import annotations

from collections.abc import Iterator

from pico_image.results.result import Configuration, Model, Result


def mixture(a: Result, b: Result) -> list[str]:
    """Why the two are of different kinds; empty when they are of one."""
    reasons = []
    if a.emulated != b.emulated:
        emulated, board = (a, b) if a.emulated else (b, a)
        reasons.append(f"EMULATED CPU ({emulated.name}) against a board ({board.name})")
    if a.simulated_npu != b.simulated_npu and _has_npu(a) and _has_npu(b):
        simulated, real = (a, b) if a.simulated_npu else (b, a)
        reasons.append(f"SIMULATED NPU ({simulated.name}) against a real one ({real.name})")
    names = {model.name for model in a.models} & {model.name for model in b.models}
    if not names:
        reasons.append(
            f"other models: {', '.join(m.name for m in a.models) or 'none'} and "
            f"{', '.join(m.name for m in b.models) or 'none'}"
        )
    for name in sorted(names):
        reasons += [
            f"other weights: {name} {old.title} is {old.sha256[:12]} in {a.name} and "
            f"{new.sha256[:12]} in {b.name}"
            for old, new in common(model_of(a, name), model_of(b, name))
            if old.sha256 and new.sha256 and old.sha256 != new.sha256
        ]
    return reasons


def _has_npu(result: Result) -> bool:
    return any(c.engine == "npu" for model in result.models for c in model.configurations)


def joint_label(a: Result, b: Result) -> str:
    """What must be said of both: the label that they share."""
    return a.label if a.label == b.label else ""


def model_of(result: Result, name: str) -> Model:
    return next(model for model in result.models if model.name == name)


def common(a: Model, b: Model) -> Iterator[tuple[Configuration, Configuration]]:
    for old in a.configurations:
        new = b.find(old.engine, old.precision)
        if new is not None:
            yield old, new


def changed_context(a: Result, b: Result) -> list[str]:
    """Facts that explain a difference before any change of ours does."""
    if a.raw == b.raw:
        return ["A and B are the same measurement"]
    notes = []
    for title, path in (
        ("board", "system.board"),
        ("kernel", "system.kernel.release"),
        ("NPU driver", "system.npu_driver"),
        ("governor", "governor.used"),
        ("NPU clock", "after.npu_frequency"),
        ("deployed since the image", "system.deployed"),
        ("quick suite", "options.quick"),
        ("MLPerf's manner", "options.mlperf_style"),
        ("warm-up runs", "options.warmup_runs"),
        ("threads", "options.threads"),
        ("schema", "schema"),
    ):
        old, new = a.fact(path), b.fact(path)
        if old != new:
            notes.append(f"{title}: {old} in A, {new} in B")
    old_clock, new_clock = a.number("after.cpu_mhz_measured"), b.number("after.cpu_mhz_measured")
    # Emulated clocks are the host's load of the moment.
    if (
        old_clock
        and new_clock
        and not (a.emulated or b.emulated)
        and abs(new_clock / old_clock - 1) > 0.02
    ):
        notes.append(f"CPU clock: {old_clock:.0f} MHz in A, {new_clock:.0f} MHz in B")
    return notes
