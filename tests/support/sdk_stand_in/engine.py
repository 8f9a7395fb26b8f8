"""A real container engine of the tests' own: own data, own socket, own bridge, gone afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import docker

START_SECONDS = 300


def missing() -> str | None:
    """Why no engine can be started here, or None."""
    if os.geteuid() != 0:
        return "starting an engine needs root"
    for program in ("dockerd", "containerd", "runc", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def gateway(number: int) -> str:
    """Address of this machine on the bridge of this process's engine ``number``.

    A network for containers to reach servers on this machine; nothing leaves it. Each test run
    has its own, so that two at the same time do not meet.
    """
    place = 4 * os.getpid() + number
    return f"10.{200 + place // 256 % 50}.{place % 256}.1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dies_with_us() -> list[str]:
    """Words before a server's: it must not outlive a killed test run."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def write_context(folder: Path, name: str, url: str) -> None:
    """A context as ``docker context create NAME --docker host=URL`` writes it."""
    meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoint = {"Host": url, "SkipTLSVerify": False}
    content = {"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (meta / "meta.json").write_text(json.dumps(content))
    (folder / "config.json").write_text("{}")


class TestEngine:
    """dockerd, started by hand so that a test may kill it."""

    __test__ = False

    def __init__(self, number: int = 0, data: Path | None = None) -> None:
        # Not pytest's folder: the path of containerd's socket must stay under 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="pico-engine-"))
        self.data = data or self.folder / "data"
        self.bridge = f"pico{os.getpid()}n{number}"
        self.gateway = gateway(number)
        self.port = free_port()
        self.url = f"unix://{self.folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._drivers: tuple[str, ...] = ("overlay2", "vfs")
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, with the fast storage driver where the file system allows it.

        The driver stays the same for a second start: each has images of its own.
        """
        for driver in self._drivers:
            for _ in range(2):
                if self._start(driver):
                    self._drivers = (driver,)
                    return
                if len(self._drivers) > 1:  # nobody knows its port yet, which may be taken by now
                    self.port = free_port()
        log = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"dockerd did not start:\n{log}")

    def _start(self, driver: str) -> bool:
        words = [
            *("dockerd", "--data-root", self.data, "--exec-root", self.folder / "exec"),
            *("--pidfile", self.folder / "pid", "--storage-driver", driver),
            *("--host", self.url, "--host", self.tcp, "--tls=false"),
            *("--iptables=false", "--ip6tables=false", "--bridge", self.bridge),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*dies_with_us(), *map(str, words)], stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                return False
            if answers(self.url):
                return True
            time.sleep(0.05)
        return False

    @contextlib.contextmanager
    def client(self):  # type: ignore[no-untyped-def]
        """A short-lived client."""
        client = docker.DockerClient(base_url=self.url, version="auto", timeout=600)
        try:
            yield client
        finally:
            client.close()

    def kill_daemon(self) -> None:
        """As a crash of dockerd: what runs in containers goes on until dockerd is there again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """As a power cut: the engine and all that it runs are gone at once."""
        self.kill_daemon()
        # Until there is none: one may be started while they are looked for, and takes a while to
        # go. Those that the next dockerd still met would not be gone at once.
        while pids := processes_of(self.folder):
            for pid in pids:
                for child in (*_children(pid), pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        for name in ("pid", "docker.sock"):
            (self.folder / name).unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop answering, as behind a network that is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop, and remove everything."""
        if self._process is not None:
            with contextlib.suppress(Exception), self.client() as client:
                for container in client.containers.list(all=True, ignore_removed=True):
                    container.remove(force=True)
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def answers(url: str) -> bool:
    """Whether an engine answers at a socket now."""
    # Not with the SDK: its failed connections leave open sockets behind.
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(5)
        probe.connect(url.removeprefix("unix://"))
        probe.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        return b" 200 " in probe.recv(100)
    return False


def processes_of(engine: Path) -> list[int]:
    """Containerd and its shims, conmon: what runs with the engine's folder in its arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(engine).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]
    return []
