"""Where the container engine is: a context, ``DOCKER_HOST``, or one of the usual sockets."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker.errors
from docker.context import ContextAPI
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env

from pico_image.base.errors import UserError

#: ssh gives up on a host that does not answer within this time.
SSH_SECONDS = 15
#: A terminated ssh ends at once unless the machine is busy.
END_SECONDS = 2


@dataclass(frozen=True)
class Tunnel:
    """An ssh that forwards the socket file in ``folder``."""

    folder: Path
    ssh: subprocess.Popen[str]

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.ssh.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.ssh.wait(END_SECONDS)
        if self.ssh.stderr is not None:
            self.ssh.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Address:
    """An engine's URL, and what named it: for messages."""

    url: str
    origin: str
    tls: TLSConfig | None = None
    #: The docker command line for the same engine.
    command: tuple[str, ...] = ("docker",)
    #: The user's ssh:// URL, where ``url`` is our tunnel to it.
    written: str = ""
    tunnel: Tunnel | None = None

    def __str__(self) -> str:
        return f"{self.written or self.url} ({self.origin})"

    def close(self) -> None:
        """End the tunnel, if there is one."""
        if self.tunnel is not None:
            self.tunnel.close()

    @property
    def socket(self) -> Path | None:
        """The socket file of a local engine."""
        return Path(urlsplit(self.url).path) if self.url.startswith("unix:") else None


def usual_sockets() -> list[Path]:
    """Sockets of Docker, rootless Docker, Docker Desktop, Colima, Rancher and Podman, in order."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    home = Path.home()
    return [
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        home / ".docker/run/docker.sock",
        home / ".docker/desktop/docker.sock",
        home / ".colima/default/docker.sock",
        home / ".rd/docker.sock",
        runtime / "podman/podman.sock",
        Path("/run/podman/podman.sock"),
    ]


def find(context: str | None = None) -> Address:
    """The engine to use: ``context``, else DOCKER_HOST, else the current context, else a socket."""
    if context is None and (host := os.environ.get("DOCKER_HOST")):
        tls = kwargs_from_env().get("tls")
        return _reachable(host, "from DOCKER_HOST", tls if isinstance(tls, TLSConfig) else None)
    context = context or os.environ.get("DOCKER_CONTEXT")
    try:
        chosen = ContextAPI.get_context(context)
    except docker.errors.DockerException as error:
        raise UserError(f"cannot read the docker context {context or ''}: {error}") from error
    if context is not None and chosen is None:
        known = ", ".join(sorted(item.Name for item in ContextAPI.contexts()))
        raise UserError(
            f"there is no docker context {context!r}",
            hint=f"known: {known}; see `docker context ls`",
        )
    if chosen is not None and (context is not None or chosen.Name != "default"):
        tls = chosen.TLSConfig if isinstance(chosen.TLSConfig, TLSConfig) else None
        return _reachable(
            str(chosen.Host), f"context {chosen.Name}", tls, ("docker", "--context", chosen.Name)
        )
    sockets = usual_sockets()
    for path in sockets:
        if path.is_socket():
            return Address(
                f"unix://{path}", "a usual socket", command=("docker", "-H", f"unix://{path}")
            )
    looked = "\n".join(f"    {path}" for path in sockets)
    raise UserError(
        f"found no container engine, which is needed to build an image; looked for\n{looked}",
        hint="install one (Debian and Ubuntu: `sudo apt install docker.io`; others: Docker or "
        "Podman with its socket), or name one with DOCKER_HOST or --context",
    )


def unreachable(address: Address, error: Exception) -> UserError:
    """The error for an engine that cannot be used, with the remedy that fits."""
    text = str(error)
    socket = address.socket
    if "Permission denied" in text or (
        socket and socket.exists() and not os.access(socket, os.W_OK)
    ):
        user = getpass.getuser()
        return UserError(
            f"user {user} may not use the container engine's socket {socket or address}",
            hint=f"run `sudo usermod -aG docker {user}`, log in again, then retry; or use rootless "
            "Docker or Podman",
        )
    if socket is not None:
        return UserError(
            f"no container engine answers at {address}, which is needed to build an image",
            hint="start it (`sudo systemctl start docker`, or Docker Desktop; Podman: "
            "`systemctl --user start podman.socket`)",
        )
    # The libraries wrap one error in another; the innermost is the system's.
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    reason = system[1] if system else (text.splitlines()[0] if text else repr(error))
    return UserError(
        f"no container engine answers at {address}: {reason}",
        hint="check that it listens there, the network and the certificates; `docker info` with "
        "the same DOCKER_HOST or context shows more",
    )


def _reachable(
    url: str, origin: str, tls: TLSConfig | None, command: tuple[str, ...] = ("docker",)
) -> Address:
    if url.startswith("ssh://"):
        tunnel = _tunnel(url)
        return Address(f"unix://{tunnel.socket}", origin, None, command, url, tunnel)
    if url.startswith("unix://") and command == ("docker",):
        command = ("docker", "-H", url)
    return Address(url, origin, tls, command)


def _tunnel(url: str) -> Tunnel:
    """Forward the engine's socket over ssh.

    The Docker SDK's own ssh transports need Paramiko, or cannot follow a container's output
    (docker-py 7: the streams of ``use_ssh_client`` lack the attribute that it reads from).
    """
    parts = urlsplit(url)
    if shutil.which("ssh") is None:
        raise UserError(f"the program ssh is needed to reach the engine {url}")
    remote = parts.path if parts.path not in ("", "/") else "/var/run/docker.sock"
    target = f"{parts.username}@{parts.hostname}" if parts.username else str(parts.hostname)
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    ssh = subprocess.Popen(
        [
            *("ssh", "-nNT", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"),
            *("-o", f"ConnectTimeout={SSH_SECONDS}", "-o", "ServerAliveInterval=3"),
            *("-p", str(parts.port)) * bool(parts.port),
            *("-L", f"{folder}/docker.sock:{remote}", target),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    tunnel = Tunnel(folder, ssh)
    give_up = time.monotonic() + SSH_SECONDS
    try:
        # A socket file is not enough: ssh makes it before it listens.
        while not _accepts(tunnel.socket):
            if ssh.poll() is not None or time.monotonic() > give_up:
                ssh.terminate()
                answer = ssh.stderr.read().strip() if ssh.stderr else ""
                raise UserError(
                    f"could not reach the engine {url}: {answer or 'ssh gave no answer'}",
                    hint=f"`ssh {target} docker info` has to work without a question",
                )
            time.sleep(0.05)
    except BaseException:
        tunnel.close()
        raise
    return tunnel


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
