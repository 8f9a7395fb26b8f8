"""A container engine (Docker, or Podman's Docker socket): connect to it, make containers.

No container needs a folder of this machine: files go in and come out as tar streams through the
engine's socket, so an engine on another machine works like a local one. Containers are never
privileged and get no bind mount, only named volumes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors
import requests
import urllib3
from docker.models.containers import Container as ApiContainer
from docker.types import LogConfig
from docker.types import Mount as ApiMount

from pico_image.base.errors import UserError
from pico_image.engine.address import Address, find, unreachable

#: Engine API of Docker 19.03 and Podman 3; in older ones put_archive does not reach volumes.
MINIMUM_API = (1, 40)
#: Longest wait for an ordinary answer, and for a ping while a container works.
ANSWER_SECONDS = 120
PING_SECONDS = 3
#: What root needs in a build; the engine's own default set is larger.
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
#: Passed on from our environment, so that downloads work behind a proxy.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


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


@dataclass(frozen=True)
class Container:
    """A program in a container: as root, not privileged, with nothing but volumes.

    ``name`` makes it the only one of that name in the engine.
    """

    image: str
    command: Sequence[str]
    mounts: Sequence[Mount] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    name: str | None = None


class Engine:
    """A connection to one engine.

    ``client`` talks to it; ``watch`` does the same with a short timeout, to notice a lost engine.
    ``owner`` is the program that uses the engine: the prefix of its images and labels.
    """

    def __init__(self, owner: str, address: Address, client: docker.DockerClient) -> None:
        self.owner = owner
        self.address = address
        self.client = client
        self._version: dict[str, Any] = client.version()
        self._info: dict[str, Any] = client.info()
        self.watch = docker.DockerClient(
            base_url=address.url, tls=address.tls or False, timeout=PING_SECONDS, version="auto"
        )

    @classmethod
    def connect(cls, owner: str, context: str | None = None) -> Engine:
        """The engine of ``context``, of ``DOCKER_HOST``, of the current context or a usual socket.

        Raises UserError when there is none, it may not be used, or it is too old.
        """
        address = find(context)
        try:
            client = docker.DockerClient(
                base_url=address.url,
                tls=address.tls or False,
                timeout=ANSWER_SECONDS,
                version="auto",
            )
            engine = cls(owner, address, client)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            address.close()
            raise unreachable(address, error) from error
        try:
            engine._check_version()
        except UserError:
            engine.close()
            raise
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
        """The connection with the short timeout, with a longer one."""
        self.watch.api.timeout = seconds
        return self.watch

    def close(self) -> None:
        """Close the connections, and the tunnel to an engine behind SSH."""
        self.client.close()
        self.watch.close()
        self.address.close()

    # -- facts ----------------------------------------------------------------------

    @property
    def version(self) -> str:
        return str(self._version.get("Version", "unknown"))

    @property
    def podman(self) -> bool:
        """Whether it is Podman, which has Docker's interface too."""
        parts = self._version.get("Components") or []
        return any(str(part.get("Name", "")).startswith("Podman") for part in parts)

    @property
    def command(self) -> tuple[str, ...]:
        """The docker or podman command line for this engine."""
        if self.podman and shutil.which("podman") is not None:
            return ("podman", "--url", self.address.url)
        return self.address.command

    @property
    def program(self) -> str:
        """The program whose commands a hint names."""
        return "podman" if self.podman else "docker"

    @property
    def architecture(self) -> str:
        """Machine name of the engine's host, as of ``uname -m``."""
        return str(self._info.get("Architecture", "unknown"))

    @property
    def memory_bytes(self) -> int:
        return int(self._info.get("MemTotal", 0))

    @property
    def cpus(self) -> int:
        return int(self._info.get("NCPU", 1))

    def require_amd64(self, *, what: str, allow_emulation: bool = False) -> None:
        """Refuse an engine that would emulate x86-64, unless ``allow_emulation``."""
        if self.architecture in ("x86_64", "amd64") or allow_emulation:
            return
        raise UserError(
            f"the engine at {self.address} runs on {self.architecture}; {what} has programs for "
            "x86-64 only, and under emulation make's job server was seen to hang",
            hint="use an engine on an x86-64 machine (`docker context create ...`, then "
            "--context), or pass --allow-emulation and expect hours; docs/building.md says what a "
            "native build would take",
        )

    @property
    def platform(self) -> str | None:
        """Platform to ask for, where x86-64 is not the engine's own."""
        return None if self.architecture in ("x86_64", "amd64") else "linux/amd64"

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turn errors of the engine's library into ours, which say what failed."""
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
                f"the container engine at {self.address} stopped answering while it was "
                f"asked to {what}",
                hint=f"check that it runs (`{self.program} info`), then run the command again; "
                "finished work is kept",
            ) from error
        except docker.errors.APIError as error:
            text = str(error.explanation or error)
            if "no space left on device" in text.lower():
                raise full(what) from error
            raise UserError(
                f"the container engine at {self.address} could not {what}: {text.strip()}",
                hint=f"the engine's own log shows more (`journalctl -u {self.program}`)",
            ) from error

    def create(self, container: Container) -> ApiContainer:
        """Make the container, without starting it."""
        proxies = {
            spelled: os.environ[spelled]
            for variable in PROXY_VARIABLES
            for spelled in (variable, variable.upper())
            if container.network and spelled in os.environ
        }
        return self.client.containers.create(
            container.image,
            list(container.command),
            name=container.name,
            entrypoint=[],
            user="0:0",
            environment={**proxies, **container.env},
            mounts=[
                ApiMount(mount.target, mount.volume, type="volume", read_only=mount.read_only)
                for mount in container.mounts
            ],
            network_mode=None if container.network else "none",
            network_disabled=False,
            privileged=False,
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="json-file"),
            labels={
                self.owner: "container",
                f"{self.owner}.client": f"{socket.gethostname()}:{os.getpid()}",
            },
            platform=self.platform,
        )

    @contextlib.contextmanager
    def holder(self, image: str, mount: Mount) -> Iterator[ApiContainer]:
        """A container that never starts: a handle to put files into a volume or take them out."""
        with self.guard("open a volume"):
            container = self.create(Container(image, ["true"], [mount]))
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
        "the same command again; finished work is kept",
    )
