"""Benchmark results: report, compare, list."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed
from pico_image.tasks.common import JSON, decimal, guarded, optional_path, show, takes_words


@task(
    iterable=["result"],
    help={
        "result": "result files, folders or names under out/results (default: the newest)",
        "output": "folder of the report",
    },
)
@guarded
def report(_: Context, result: list[str], output: str = "") -> None:
    """Make a page, Markdown and plots of results: report [RESULT ...]."""
    from pico_image.results.report import write_report

    print(write_report(Console(), result, optional_path(output)))


takes_words("report", "result")


@task(
    positional=["a", "b"],
    help=JSON
    | {
        "a": "the earlier result",
        "b": "the later result",
        "threshold": "slowdown in percent that counts as a regression",
        "across": "compare results that do not belong together, judging nothing",
    },
)
@guarded
def compare(
    _: Context, a: str, b: str, threshold: str = "5", across: bool = False, json: bool = False
) -> None:
    """Tell what is faster beyond noise; exit 1 on a regression."""
    from pico_image.results import compare as comparing

    comparison = comparing.compare(a, b, threshold=decimal("threshold", threshold), across=across)
    show(comparison.as_json()) if json else print(comparison.table())
    if comparison.regressions:
        raise CheckFailed(f"{len(comparison.regressions)} regressions")


@task(help=JSON | {"model": "only results of this model"})
@guarded
def history(_: Context, model: str = "", json: bool = False) -> None:
    """List all kept results."""
    from pico_image.results import history as past

    listed = past.history()
    if model:
        listed = listed.of_model(model)
    show(listed.as_json()) if json else print(listed.table())
