"""What a build does on the machine it is started from, and that the engine may be another one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image import doctor
from pico_image.base.console import Console
from pico_image.base.project import NAME
from pico_image.engine.client import Engine
from tests.sdk.conftest import VARIANT, Project, result
from tests.support.sdk_stand_in import engine as engines
from tests.support.sdk_stand_in import repository
from tests.support.sdk_stand_in.fixtures import BASE

pytestmark = pytest.mark.docker
ALL = ["uboot", "kernel", "rootfs"]

#: As `invoke build-image` does it, with the stand-in's base and a converted model.
BUILD = """
import sys
from pathlib import Path
from pico_image.base.console import Console
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.image import build
from pico_image.models import convert
from pico_image.sdk.workspace import Options
root, base, models, key, sdk = sys.argv[1:6]
options = Options(
    base_image=base, first_bytes=50_000_000, later_bytes=10_000_000,
    sdk_path=Path(sdk) if sdk else None,
)
convert.convert = lambda *_: Path(models)
target = Target.of(configuration.load(Path(root)), sys.argv[6])
build.build_image(Console(), target, options, build.Login(Path(key)))
"""


def snapshot_of(*folders: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below: mode, time, and content or target."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            status = path.lstat()
            if path.is_symlink():
                what = os.readlink(path)
            elif path.is_file():
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = "folder"
            found[str(path)] = (status.st_mode, status.st_mtime_ns, what)
    return found


def test_nothing_is_written_but_results_and_cache(
    project: Project, sdk_server: tuple[str, str, Path], tmp_path: Path
) -> None:
    """Neither our tree, nor the user's SDK, home, current or temporary folder."""
    checkout = tmp_path / "my-sdk"
    repository.git(tmp_path, "clone", "--quiet", str(sdk_server[2]), str(checkout))
    # One of its files breaks its own rules for line ends, which git sees or not, as times fall.
    (checkout / ".git/info/attributes").write_text("* -text\n")
    assert repository.git(checkout, "status", "--porcelain") == ""
    for name in ("home", "temporary", "current"):
        (tmp_path / name).mkdir()
    key = tmp_path / "home/key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    watched = [
        project.root, project.models, checkout,
        *(tmp_path / name for name in ("home", "current")),
    ]  # fmt: skip
    before = snapshot_of(*watched)
    beside = set(tmp_path.iterdir())
    environment = {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [sys.executable, "-c", BUILD, project.root, BASE, project.models, f"{key}.pub"]
    for sdk_path in ("", str(checkout)):
        subprocess.run(
            [*map(str, words), sdk_path, VARIANT],
            cwd=tmp_path / "current", env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert (project.images / "sdcard.img").is_file()
    after = snapshot_of(*watched)
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == set()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert set(tmp_path.iterdir()) - beside <= {project.output, tmp_path / "cache"}
    assert repository.git(checkout, "status", "--porcelain", "--ignored") == ""


def test_doctor_looks_at_the_engine_too(engine_process: engines.TestEngine, engine: Engine) -> None:
    """`invoke doctor` knew of all this and asked for two things only, until somebody looked."""
    found = {item.name: item for item in doctor.examine(online=False)}
    for name in ("container engine", "engine's architecture", "engine's memory", "engine's disk"):
        assert name in found and not found[name].needed
    assert engine_process.url in found["container engine"].detail
    assert "SDK's repository" not in found


@pytest.mark.external
def test_engine_behind_ssh_builds_the_same(
    ssh_config: Path,
    engine_process: engines.TestEngine,
    project: Project,
    console: Console,
    golden: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real sshd between us and the engine."""
    remote = engine_process.url.removeprefix("unix://")
    monkeypatch.setenv("DOCKER_HOST", f"ssh://root@pico-engine{remote}")
    # Closing ends the tunnel, so the fixture gets its own engine back to remove the volumes.
    with contextlib.closing(Engine.connect(NAME)) as engine, monkeypatch.context() as patch:
        patch.setattr(project, "engine", engine)
        assert "ssh://root@pico-engine" in str(engine.address)
        assert project.build(console) == ALL
        assert result(project.images) == golden
        assert project.build(console) == []


@pytest.fixture
def ssh_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An sshd of the test's own, and an ssh that knows it."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if sshd is None or os.geteuid() != 0:
        # ./inv does not install it: its package starts a server on whoever runs the tests.
        pytest.skip("needs root and an installed openssh-server (.ci/run has it)")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "me"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/me.pub\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\n"
    )
    command: list[str | Path] = [sshd, "-D", "-e", "-f", folder / "sshd_config", "-p"]
    server, port = _listening(command, folder / "log")
    (folder / "config").write_text(
        f"Host pico-engine\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/me\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {folder}/known\n"
        " StrictHostKeyChecking accept-new\n"
    )
    # ssh takes the home folder from the password file, so HOME would not lead it to this one.
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    try:
        yield folder / "config"
    finally:
        server.terminate()
        server.wait()


def _listening(command: list[str | Path], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The server that ``command`` and a port start, when it listens, and its port."""
    for _ in range(3):  # between the choice and the server's own binding a port may be taken
        port = engines.free_port()
        with log.open("ab") as stream:
            server = subprocess.Popen([*command, str(port)], stderr=stream)
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return server, port
            time.sleep(0.05)
    raise AssertionError(f"the SSH server did not start:\n{log.read_text()}")
