"""Can this machine and its engine build with the Luckfox SDK? Findings, each with its remedy."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import docker.errors
import requests
from docker.auth import resolve_repository_name

from pico_image.base.console import Console
from pico_image.base.errors import Finding, UserError
from pico_image.base.project import NAME
from pico_image.config.configuration import Config
from pico_image.engine import run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.sdk.workspace import FIRST_BYTES

#: cc1plus takes up to 1.3 GB for XNNPACK's largest files; below this, one job at a time is left.
MEMORY_BYTES = 4 * 10**9
NETWORK_SECONDS = 15
#: Prints free KiB, then whether two names that differ in case are two files.
PROBE = (
    "df -Pk /probe | awk 'NR == 2 { print $4 }'; cd /probe && rm -f xt_DSCP xt_dscp && "
    "touch xt_DSCP && if [ -e xt_dscp ]; then echo one; else echo two; fi; rm -f xt_DSCP; "
    "case $PATH in *[[:space:]]*) echo spaces ;; *) echo clean ;; esac"
)


def findings(
    config: Config | None, *, context: str | None = None, online: bool = True
) -> list[Finding]:
    """What the SDK's backend needs; never raises for what it finds.

    ``config`` None leaves out what depends on it, ``online`` False what asks servers.
    """
    found = _wsl()
    try:
        with contextlib.closing(Engine.connect(NAME, context)) as engine:
            found = [*_engine(engine, config), *found]
            if online and config is not None:
                found.append(_registry(engine, config))
    except UserError as error:
        found.insert(0, Finding("container engine", False, error.message, error.hint or ""))
    if online and config is not None:
        found += _repository(config)
    return [replace(finding, needed=False) for finding in found]


def _engine(engine: Engine, config: Config | None) -> list[Finding]:
    kind = "Podman" if engine.podman else "version"
    memory = f"{engine.memory_bytes / 1e9:.1f} GB for {engine.cpus} processors"
    found = [
        Finding("container engine", True, f"{kind} {engine.version} at {engine.address}"),
        Finding(
            "engine's architecture",
            engine.platform is None,
            engine.architecture,
            "use an engine on an x86-64 machine (docker context), or --allow-emulation; "
            "docs/building.md says what a native build would take",
        ),
        Finding(
            "engine's memory",
            engine.memory_bytes >= MEMORY_BYTES,
            memory,
            "build with --jobs 1, or give the engine 4 GB (Docker Desktop: Settings, Resources)",
        ),
    ]
    try:
        found += _volume(engine)
        found += _other_pins(engine, config) if config is not None else []
    except (UserError, docker.errors.DockerException, requests.RequestException) as error:
        detail = f"the check failed: {str(error).splitlines()[0]}"
        remedy = f"see that `{engine.program} info` answers"
        found.append(Finding("engine's volumes", False, detail, remedy))
    return found


def _volume(engine: Engine) -> list[Finding]:
    """Space and file names in a volume, checked in a container of ours if there is an image."""
    images = engine.client.images.list(filters={"label": f"{NAME}=image"})
    if not images:
        root = Path(str(engine.info("DockerRootDir") or "/nonexistent"))
        if engine.address.socket is None or not root.exists():
            detail = "not known before the first build has made its container"
            return [Finding("engine's disk", True, detail)]
        return [_disk(shutil.disk_usage(root).free)]
    name = f"{NAME}-probe"
    volumes.ensure(engine, name, {}, what="a check of the engine's disk")
    try:
        lines = run.output_of(
            engine,
            Console(),
            Container(str(images[0].id), ["bash", "-c", PROBE], [Mount(name, "/probe")]),
            what="check the engine's disk",
        )
    except UserError as error:
        return [Finding("engine's volumes", False, error.message, error.hint or "")]
    finally:
        with contextlib.suppress(docker.errors.APIError, requests.RequestException):
            engine.client.volumes.get(name).remove()
    free, files, path = lines[-3:]
    detail = "case matters" if files == "two" else "xt_DSCP.c and xt_dscp.c are one file there"
    remedy = (
        "keep the engine's data on a Linux file system: files of the kernel differ in case only"
    )
    spaces = "Buildroot refuses spaces in PATH (issue 312): mend the image's ENV PATH"
    return [
        _disk(int(free) * 1024),
        Finding("file names in volumes", files == "two", detail, remedy),
        Finding("PATH in the container", path == "clean", path, spaces),
    ]


def _disk(free: int) -> Finding:
    return Finding(
        "engine's disk",
        free >= FIRST_BYTES,
        f"{free / 1e9:.1f} GB free",
        f"a first build takes {FIRST_BYTES / 1e9:.0f} GB: `docker system df` tells what to free",
    )


def _other_pins(engine: Engine, config: Config) -> list[Finding]:
    """Volumes of commits that configs/sources.yml no longer names: 10 GB and more each."""
    source = config.sources.get("luckfox-sdk")
    pin = (source.commit or "")[:12] if source else ""
    label = f"{NAME}.sdk"
    old = [
        str(volume.name)
        for volume in engine.client.volumes.list(filters={"label": label})
        if (made := (volume.attrs.get("Labels") or {}).get(label)) != pin
        and not str(made).startswith("path-")
    ]
    if not old:
        return []
    remedy = f"if you do not go back to them: {engine.program} volume rm {' '.join(old)}"
    return [Finding("volumes of other pins", False, ", ".join(old), remedy)]


def _wsl() -> list[Finding]:
    release, here = platform.release().lower(), str(Path.cwd())
    if "microsoft" not in release:
        return []
    remedy = "move it from /mnt/... into WSL's own file system: modes and links get lost there"
    return [
        Finding("WSL", "microsoft-standard" in release, release, "wsl --set-version NAME 2"),
        Finding("project's folder", not here.startswith("/mnt/"), here, remedy),
    ]


def _registry(engine: Engine, config: Config) -> Finding:
    """Whether the engine, not this machine, can reach the base image."""
    source = config.sources.get("sdk-container")
    reference = (source.image if source else None) or "ubuntu:22.04"
    remedy = (
        "check the engine's network and proxy; --ubuntu or --base-image builds on another image"
    )
    client = engine.watch_for(NETWORK_SECONDS)
    try:
        if engine.podman:
            # Podman lacks Docker's request (/distribution), and its own takes no name without a
            # registry unless it is configured to.
            whole = quote("/".join(resolve_repository_name(reference)), safe="")
            answer = client.api.get(
                f"{client.api.base_url}/v4.0.0/libpod/manifests/{whole}/json",
                timeout=NETWORK_SECONDS,
            )
            if answer.status_code != 200:
                raise docker.errors.DockerException(str(answer.json().get("message")))
            return Finding("container registry", True, f"{reference} is there")
        data = client.images.get_registry_data(reference)
    except (docker.errors.DockerException, requests.RequestException, ValueError) as error:
        reason = str(getattr(error, "explanation", None) or error).splitlines()[0]
        return Finding("container registry", False, f"{reference}: {reason}", remedy)
    return Finding("container registry", True, f"{reference} is {data.id}")


def _repository(config: Config) -> list[Finding]:
    source = config.sources.get("luckfox-sdk")
    if source is None or source.repository is None:
        return []
    name = "SDK's repository"
    remedy = "check network and proxy; --sdk-url names a mirror, --sdk-path a checkout of yours"
    if shutil.which("git") is None:
        return [Finding(name, False, "git is not installed", "apt-get install git")]
    try:
        answer = subprocess.run(
            ["git", "ls-remote", source.repository, "HEAD"],
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            timeout=NETWORK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Finding(name, False, f"{source.repository} did not answer", remedy)]
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no reason given"]
        return [Finding(name, False, f"{source.repository}: {lines[-1]}", remedy)]
    newest = answer.stdout[:40]
    current = newest == source.commit
    detail = "the newest commit" if current else f"the SDK has moved on to {newest[:12]}"
    remedy = "nothing needs to be done; to move, change luckfox-sdk in configs/sources.yml"
    return [
        Finding(name, True, source.repository),
        Finding("SDK's pin", current, detail, remedy),
    ]
