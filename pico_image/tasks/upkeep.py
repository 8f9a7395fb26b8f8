"""Check this machine, run tests and linters, clean up."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.base.cache import cache_dir, remove_cache
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, locked, output_dir, remove_tree
from pico_image.tasks.common import JSON, guarded, show


@task(
    help=JSON | {"context": "docker context of the engine to look at", "offline": "ask no server"}
)
@guarded
def doctor(_: Context, context: str = "", offline: bool = False, json: bool = False) -> None:
    """Tell whether this machine is fit to build, each finding with its remedy."""
    from pico_image import doctor as examination

    findings = examination.examine(context=context or None, online=not offline)
    show(examination.as_json(findings)) if json else print(examination.as_text(findings))
    if any(item.needed and not item.ok for item in findings):
        raise UserError("this machine is not fit yet; see the lines marked FAIL")


@task(
    help={
        "keyword": "only tests whose name matches (pytest -k)",
        "level": "fast: no engines, boots and slow tests; full; proofs: the long proofs too",
    }
)
@guarded
def test(context: Context, keyword: str = "", level: str = "full") -> None:
    """Run the test suite."""
    if level not in ("fast", "full", "proofs"):
        raise UserError(f"unknown level {level!r}", hint="allowed: fast, full, proofs")
    # One worker per core; tests/support/workers.py says what stays together and starts first.
    words = [sys.executable, "-m", "pytest", "-n", "auto", "--maxprocesses", "8"]
    if keyword:
        words += ["-k", keyword]
    if level == "fast":
        words += ["-m", "not slow and not qemu and not docker"]
    if level == "proofs":
        os.environ["PICO_PROOFS"] = "1"
    os.chdir(ROOT)
    os.execv(words[0], words)


@task
@guarded
def lint(_: Context) -> None:
    """Run the linters (they are tests too)."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "tests/test_linters.py"])


@task(
    help={
        "level": "out: results of builds; cache: downloads and built libraries too; "
        "all: the Python environment too; volumes: those of the SDK in the container engine",
        "dry_run": "only list what would be deleted",
        "context": "docker context of the engine whose volumes are removed",
    }
)
@guarded
def clean(_: Context, level: str = "out", dry_run: bool = False, context: str = "") -> None:
    """Delete what builds leave behind; results fetched from boards are kept."""
    if level == "volumes":
        from pico_image.sdk import workspace

        gone = workspace.remove_volumes(
            Console(), context=context or None, caches=True, dry_run=dry_run
        )
        for name in gone:
            print(f"{'would remove' if dry_run else 'removed'} {name}")
        return
    levels = {"out": 1, "cache": 2, "all": 3}
    if level not in levels:
        raise UserError(f"unknown level {level!r}", hint=f"allowed: volumes, {', '.join(levels)}")
    out = output_dir()
    kept = ("results", "reports", "verifications")
    doomed = [path for path in sorted(out.glob("*")) if path.name not in kept]
    if levels[level] >= 2:
        print(f"{'would delete' if dry_run else 'deleting'} {cache_dir()}")
        if not dry_run:
            remove_cache()
    if levels[level] >= 3:
        doomed.append(ROOT / ".venv")
    for path in doomed:
        print(f"{'would delete' if dry_run else 'deleting'} {path}")
        if not dry_run:
            with _unused(path):
                remove_tree(path)


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Refuse to remove the folder of a variant that is being built."""
    with contextlib.ExitStack() as stack:
        if (path / ".lock").is_file():
            what = f"the image folder of {path.name}"
            stack.enter_context(locked(path / ".lock", what, wait=False))
        yield
