"""Is this machine fit to build? Findings, each with its remedy."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pico_image import sources
from pico_image.base.cache import cache_dir
from pico_image.base.errors import Finding, UserError
from pico_image.base.files import ROOT, output_dir
from pico_image.config.configuration import Config, load

#: The emulator image with its compiled libraries and model environments, measured: 3.1 GB.
EMULATOR_BYTES = 5 * 10**9


def examine(*, context: str | None = None, online: bool = True) -> list[Finding]:
    """Everything that can be told without building; never raises for what it finds.

    ``context`` names the engine to look at; ``online`` False asks no server.
    """
    checks: list[Callable[[], list[Finding]]] = [
        _python,
        lambda: _programs(ROOT / "requirements"),
        _space,
        _path_variable,
        _mirrors,
        _configuration,
        lambda: _container(context, online),
    ]
    return [finding for check in checks for finding in check()]


def as_text(findings: list[Finding]) -> str:
    """A line for each finding: ok, FAIL, or note where only some tasks are concerned."""
    lines = []
    for item in findings:
        mark = "ok  " if item.ok else ("FAIL" if item.needed else "note")
        remedy = "" if item.ok else f"  -> {item.remedy}"
        lines.append(f"{mark}  {item.name}: {item.detail}{remedy}")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def _python() -> list[Finding]:
    version = platform.python_version()
    ok = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return [Finding("Python", ok, version, "use Python 3.10 to 3.13: PYTHON=python3.11 ./inv")]


def _programs(requirements: Path) -> list[Finding]:
    """What ./inv installs for tasks that need more than Python."""
    findings = []
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    for listing in sorted(requirements.glob("system-*.txt")):
        title, *lines = listing.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            thing, packages = line.split()
            path = Path(thing)
            if path.is_absolute():  # a file, or a pattern of files
                found = next(map(str, Path("/").glob(str(path.relative_to("/")))), None)
            else:
                found = shutil.which(thing, path=search)
            tasks = title.removeprefix("# For ")
            remedy = f"apt-get install {packages.replace('|', ' or ')} (for {tasks})"
            detail = found or "missing"
            findings.append(Finding(path.name, found is not None, detail, remedy, needed=False))
    return findings


def _space() -> list[Finding]:
    findings = []
    for name, folder, want in (
        ("space in the cache", cache_dir, EMULATOR_BYTES),
        ("space for results", output_dir, EMULATOR_BYTES // 5),
    ):
        try:
            path = folder()
            while not path.exists():
                path = path.parent
            free = shutil.disk_usage(path).free
        except (OSError, UserError) as error:
            findings.append(Finding(name, False, str(error), "name a folder with PICO_CACHE_DIR"))
            continue
        text = f"{free / 1e9:.1f} GB free at {path}"
        findings.append(Finding(name, free >= want, text, f"free {want / 1e9:.0f} GB"))
    return findings


def _path_variable() -> list[Finding]:
    bad = [part for part in os.environ.get("PATH", "").split(os.pathsep) if " " in part]
    remedy = (
        "Buildroot refuses such a PATH (luckfox-pico issue 312); on WSL: appendWindowsPath=false"
    )
    detail = f"has spaces: {bad[0]}" if bad else "no spaces"
    return [Finding("PATH", not bad, detail, remedy, needed=False)]


def _mirrors() -> list[Finding]:
    sites = sources.apt_sites()
    remedy = "sources then come from upstream or from Debian's snapshot archive only"
    return [
        Finding(
            "distribution mirror", bool(sites), ", ".join(sites) or "none", remedy, needed=False
        )
    ]


def _configuration() -> list[Finding]:
    try:
        config: Config = load()
    except UserError as error:
        return [Finding("configs/", False, error.message, error.hint or "mend the file")]
    return [Finding("configs/", True, f"{len(config.variants)} variants")]


def _container(context: str | None, online: bool) -> list[Finding]:
    """What images for boards need; the emulator does without."""
    from pico_image.sdk import requirements

    config = None
    with contextlib.suppress(UserError):  # configs/ has a finding of its own
        config = load()
    return requirements.findings(config, context=context, online=online)
