"""A container engine (Docker, or Podman's Docker socket): find it, check it, make containers.

Nothing here needs a folder of this machine inside a container: files go in and come out as tar
streams through the engine's socket, so an engine on another machine works like a local one.
Containers are never privileged and get no bind mount, only named volumes. Knows nothing of what
is built. ``container_run`` runs programs, ``container_image`` makes images and ``volumes`` keeps
files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
import requests
import urllib3
from docker.models.containers import Container
from docker.types import LogConfig
from docker.types import Mount as ApiMount

from pico_image.base.errors import UserError
from pico_image.engine import address as engine_address

#: Prefix of everything that we make in an engine: images, volumes, containers, labels.
PROJECT = "luckfox-pico-npu"
#: Engine API of Docker 19.03 and Podman 3; older ones lack what put_archive on volumes needs.
MINIMUM_API = (1, 40)
#: Longest wait for an ordinary answer, and for the "are you there" while a container works.
ANSWER_SECONDS = 120
PING_SECONDS = 3
#: What a root user in a build needs; the engine's own default set is larger.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "SETFCAP",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)
#: Set inside when it is set here, so that downloads work behind a proxy.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


#: Set, it ends what every engine of this process runs: Ctrl-C while several work at once.
INTERRUPTED = threading.Event()


class EngineLost(UserError):
    """The engine stopped answering while we used it."""


class EngineFull(UserError):
    """The engine's disk is full."""


@dataclass(frozen=True)
class Mount:
    """A named volume and where a container sees it."""

    volume: str
    target: str
    read_only: bool = False


class Engine:
    """A connection to one engine.

    ``client`` talks to it; ``watch`` does the same with a short timeout, to notice that it has
    gone. ``cancelled``, set from any thread, ends whatever runs through this connection.
    """

    def __init__(self, address: engine_address.Address, client: docker.DockerClient) -> None:
        self.address = address
        self.client = client
        self.cancelled = threading.Event()
        self._version: dict[str, Any] = client.version()
        self._info: dict[str, Any] = client.info()
        self.watch = docker.DockerClient(
            base_url=address.url, tls=address.tls or False, timeout=PING_SECONDS, version="auto"
        )

    @classmethod
    def connect(cls, context: str | None = None) -> Engine:
        """The engine of ``context``, of ``DOCKER_HOST``, of the current context or a usual socket.

        Raises UserError when there is none, it may not be used, or it is too old.
        """
        address = engine_address.find(context)
        try:
            client = docker.DockerClient(
                base_url=address.url,
                tls=address.tls or False,
                timeout=ANSWER_SECONDS,
                version="auto",
            )
            engine = cls(address, client)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise engine_address.unreachable(address, error) from error
        engine._check_version()
        return engine

    def _check_version(self) -> None:
        api = tuple(int(part) for part in str(self._version["ApiVersion"]).split(".")[:2])
        if api < MINIMUM_API:
            needed = ".".join(map(str, MINIMUM_API))
            raise UserError(
                f"the engine at {self.address} is too old: version {self.version}, API "
                f"{self._version['ApiVersion']}; API {needed} is needed to hand files to volumes",
                hint="install Docker 20.10 or newer, or Podman 4 or newer",
            )

    def info(self, name: str) -> Any:
        """One of the facts that ``docker info`` shows."""
        return self._info.get(name)

    def watch_for(self, seconds: int) -> docker.DockerClient:
        """The short-tempered connection, a little more patient."""
        self.watch.api.timeout = seconds
        return self.watch

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.watch.close()

    # -- facts ----------------------------------------------------------------------

    @property
    def version(self) -> str:
        return str(self._version.get("Version", "unknown"))

    @property
    def podman(self) -> bool:
        """Whether it is Podman behind Docker's interface."""
        parts = self._version.get("Components") or []
        return any(str(part.get("Name", "")).startswith("Podman") for part in parts)

    @property
    def command(self) -> tuple[str, ...]:
        """Words of the command line that talks to this engine: docker's, or podman's."""
        if self.podman and shutil.which("podman") is not None:
            return ("podman", "--url", self.address.url)
        return self.address.command

    @property
    def program(self) -> str:
        """Whose commands a hint names."""
        return "podman" if self.podman else "docker"

    @property
    def name(self) -> str:
        """What the engine calls the machine that it runs on."""
        return str(self._info.get("Name", "unknown"))

    @property
    def architecture(self) -> str:
        """Machine name of the engine's host, as ``uname -m`` says it."""
        return str(self._info.get("Architecture", "unknown"))

    @property
    def memory_bytes(self) -> int:
        return int(self._info.get("MemTotal", 0))

    @property
    def cpus(self) -> int:
        return int(self._info.get("NCPU", 1))

    def require_amd64(self, *, what: str, allow_emulation: bool = False) -> None:
        """Refuse an engine that would have to emulate x86-64, unless told otherwise."""
        if self.architecture in ("x86_64", "amd64") or allow_emulation:
            return
        raise UserError(
            f"the engine at {self.address} runs on {self.architecture}; {what} has programs for "
            "x86-64 only, and under emulation make's job server was seen to hang",
            hint="use an engine on an x86-64 machine (`docker context create ...`, then "
            "--context), or pass --allow-emulation and expect hours",
        )

    @property
    def platform(self) -> str | None:
        """Platform to ask for: only where the engine would not take x86-64 by itself."""
        return None if self.architecture in ("x86_64", "amd64") else "linux/amd64"

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turn the ways in which an engine fails into errors that say what was being done."""
        try:
            yield
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,  # in the middle of a file's stream
            urllib3.exceptions.HTTPError,
            BrokenPipeError,
            ConnectionError,
        ) as error:
            raise EngineLost(
                f"the container engine at {self.address} stopped answering while we wanted to "
                f"{what}",
                hint=f"see that it runs (`{self.program} info`), then run the same command again; "
                "what was finished is kept",
            ) from error
        except docker.errors.APIError as error:
            text = str(error.explanation or error)
            if "no space left on device" in text.lower():
                raise full(what) from error
            raise UserError(
                f"the container engine at {self.address} could not {what}: {text.strip()}",
                hint=f"the engine's own log tells more (`journalctl -u {self.program}`)",
            ) from error

    def create(
        self,
        image: str,
        command: Sequence[str],
        *,
        name: str | None,
        mounts: Sequence[Mount],
        env: Mapping[str, str],
        workdir: str | None,
        network: bool,
        labels: Mapping[str, str] | None = None,
    ) -> Container:
        """A container that is not started yet: root inside, not privileged, volumes only."""
        proxies = {
            spelled: os.environ[spelled]
            for variable in PROXY_VARIABLES
            for spelled in (variable, variable.upper())
            if network and spelled in os.environ
        }
        return self.client.containers.create(
            image,
            list(command),
            name=name,
            entrypoint=[],
            user="0:0",
            environment={**proxies, **env},
            working_dir=workdir,
            mounts=[
                ApiMount(mount.target, mount.volume, type="volume", read_only=mount.read_only)
                for mount in mounts
            ],
            network_mode=None if network else "none",
            network_disabled=False,
            privileged=False,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="json-file"),
            labels={
                PROJECT: "container",
                f"{PROJECT}.client": f"{socket.gethostname()}:{os.getpid()}",
                **(labels or {}),
            },
            platform=self.platform,
        )

    @contextlib.contextmanager
    def holder(self, image: str, mounts: Sequence[Mount]) -> Iterator[Container]:
        """A container that never starts: a handle to put files into volumes or take them out."""
        with self.guard("open a volume"):
            container = self.create(
                image,
                ["true"],
                name=None,
                mounts=mounts,
                env={},
                workdir=None,
                network=False,
            )
        try:
            yield container
        finally:
            with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                container.remove(force=True)


def full(what: str) -> EngineFull:
    """The error for a full disk on the engine's side."""
    return EngineFull(
        f"the engine's disk is full: could not {what}",
        hint="free space there (`docker system df`, `invoke clean --level volumes`), then run "
        "the same command again; what was finished is kept",
    )


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do when it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def findings(context: str | None = None) -> list[Finding]:
    """Is there an engine that can build? Never raises for what it finds."""
    try:
        engine = Engine.connect(context)
    except UserError as error:
        return [Finding("container engine", False, error.message, error.hint or "")]
    kind = "Podman" if engine.podman else "version"
    found = [Finding("container engine", True, f"{kind} {engine.version} at {engine.address}")]
    native = engine.platform is None
    found.append(
        Finding(
            "engine's architecture",
            native,
            engine.architecture,
            "use an engine on an x86-64 machine (docker context), or --allow-emulation",
        )
    )
    return found
