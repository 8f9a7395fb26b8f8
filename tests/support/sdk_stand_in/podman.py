"""A real Podman of the tests' own behind its Docker-compatible socket: own data, own bridge."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import docker

from tests.support.sdk_stand_in.engine import (
    START_SECONDS,
    answers,
    dies_with_us,
    free_port,
    gateway,
    processes_of,
)

#: Podman asks for more open files than a test machine that is a container itself may grant. Soft
#: and hard are the same number: Podman 4.3 swaps the two for whoever comes through this socket.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{networks}"
"""


def missing() -> str | None:
    """Why no Podman can be started here, or None."""
    if os.geteuid() != 0:
        return "starting an engine needs root"
    for program in ("podman", "conmon", "runc", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not Path("/usr/lib/cni/bridge").exists():
        return "its network plugins are not those that these tests configure (CNI)"
    return None


class TestPodman:
    """``podman system service``, started by hand so that a test may kill it."""

    __test__ = False

    def __init__(self, number: int = 2) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pico-podman-"))
        self.bridge = f"pico{os.getpid()}p{number}"
        self.gateway = gateway(number)
        self.url = f"unix://{self.folder}/podman.sock"
        #: Where it takes a registry without TLS, as Docker does on all ports of this machine.
        self.registry_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        networks = self.folder / "networks"
        networks.mkdir()
        # Without masquerading, which would change this machine's firewall.
        ranges = [[{"subnet": f"{self.gateway.rpartition('.')[0]}.0/24"}]]
        addresses = {"type": "host-local", "dataDir": str(self.folder / "ipam"), "ranges": ranges}
        bridge = {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipam": addresses}
        network = {"cniVersion": "0.4.0", "name": "podman", "plugins": [bridge]}
        (networks / "87-podman.conflist").write_text(json.dumps(network))
        (self.folder / "containers.conf").write_text(CONFIGURATION.format(networks=networks))
        registry = f'[[registry]]\nlocation = "127.0.0.1:{self.registry_port}"\ninsecure = true\n'
        (self.folder / "registries.conf").write_text(registry)
        # Before the first container makes it: servers of the tests listen on its address.
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)

    def _podman(self) -> list[str]:
        folders = (("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp"))
        return ["podman", *(word for flag, name in folders for word in (flag, self._path(name)))]

    def _path(self, name: str) -> str:
        return str(self.folder / name)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_CONF": self._path("containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": self._path("registries.conf"),
        }

    def start(self) -> None:
        words = [*dies_with_us(), *self._podman(), "system", "service", "--time=0", self.url]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            if answers(self.url):
                return
            time.sleep(0.05)
        text = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"podman did not start:\n{text}")

    @contextlib.contextmanager
    def client(self):  # type: ignore[no-untyped-def]
        """A short-lived client."""
        client = docker.DockerClient(base_url=self.url, version="auto", timeout=600)
        try:
            yield client
        finally:
            client.close()

    def kill(self) -> None:
        """The service is gone at once; unlike dockerd's, its containers live on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop, and remove everything."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        subprocess.run(
            [*self._podman(), "rm", "--all", "--force", "--time=0"],
            env=self._environment(), capture_output=True, check=False,
        )  # fmt: skip
        for pid in processes_of(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        for place in sorted(Path(self._path("root")).glob("overlay*")):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
