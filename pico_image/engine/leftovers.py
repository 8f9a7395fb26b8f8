"""Containers that a killed run of ours left in the engine; another machine's are let alone."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import docker.errors

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.engine.client import PROJECT, Engine

#: dockerd itself waits 10 s for a container's programs before it kills them, a busy one longer.
REMOVE_SECONDS = 60.0


def remove_orphans(engine: Engine, console: Console) -> None:
    """Remove containers without a name of their own that dead processes of this machine left.

    A run that is killed while it hands files to a volume leaves the container that it did this
    with: never started, it stayed for ever and kept its volumes from being removed.
    """
    with engine.guard("look for containers that an earlier run left"):
        # Not by a filter for the state: Podman refuses "dead", which it does not have.
        ours = {"label": f"{PROJECT}=container"}
        for item in engine.client.api.containers(all=True, filters=ours):
            if item["State"] not in ("created", "exited", "dead"):
                continue
            client = str(item["Labels"].get(f"{PROJECT}.client", ""))
            host, _, pid = client.rpartition(":")
            if host == socket.gethostname() and pid.isdecimal() and not _alive(int(pid)):
                console.log(f"removing the container {item['Id'][:12]} that process {pid} left")
                with contextlib.suppress(docker.errors.APIError):  # another run removes it, too
                    engine.client.api.remove_container(item["Id"], force=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True


def remove_leftover(engine: Engine, console: Console, name: str) -> None:
    """Remove the container ``name`` that a killed run of ours left; refuse another machine's."""
    try:
        container = engine.client.containers.get(name)
    except docker.errors.NotFound:
        return
    client = str(container.labels.get(f"{PROJECT}.client", ""))
    host, _, pid = client.rpartition(":")
    user = ""
    if host and host != socket.gethostname():
        user = f"from the machine {host}"
    elif pid.isdecimal() and int(pid) != os.getpid() and _alive(int(pid)):
        # The lock of a build tells two names of one engine (a context, a socket) for two.
        user = f"by process {pid} of this machine"
    if container.status == "running" and user:
        raise UserError(
            f"{name} is being used {user}: its container is running on the engine at "
            f"{engine.address}",
            hint=f"wait for it to end, or stop it with `{engine.program} rm -f {name}`",
        )
    console.info(f"removing the container {name} that an earlier run left")
    give_up = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            container.remove(force=True)
            return
        except docker.errors.NotFound:
            return
        except docker.errors.APIError:
            # 409: an earlier request is still being carried out.
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
