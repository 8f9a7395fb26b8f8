"""Doctor, removal of volumes, the matrix when something goes wrong, the menus' guard."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.project import NAME
from pico_image.image import paperwork, sizes
from pico_image.sdk import requirements, tools
from tests.sdk.conftest import VARIANT, Project
from tests.support.sdk_stand_in.fixtures import BASE
from tests.support.version import PROJECT_VERSION

pytestmark = pytest.mark.docker


def test_doctor(project: Project, console: Console) -> None:
    """Before the first build and with our image in the engine, each thing looked at once."""
    project.build(console, only="uboot")
    made = project.volume
    found = {item.name: item for item in requirements.findings(project.config)}
    assert found["container engine"].ok and found["engine's architecture"].ok
    assert found["file names in volumes"].detail == "case matters"
    assert found["PATH in the container"].detail == "clean"
    assert "GB free" in found["engine's disk"].detail
    assert "processors" in found["engine's memory"].detail
    assert found["SDK's repository"].ok
    assert found["SDK's pin"].detail == "the newest commit"
    # This machine's engine cannot reach a registry; the finding says so and what to do.
    assert found["container registry"].ok or "--base-image" in found["container registry"].remedy
    assert f"{NAME}-probe" not in [item.name for item in project.engine.client.volumes.list()]
    commit = project.config.source("luckfox-sdk").commit
    assert commit is not None
    project.edit("configs/sources.yml", "git://", "git://127.0.0.1:9/no/")
    project.edit("configs/sources.yml", commit, "0123456789" * 4)
    lost = {item.name: item for item in requirements.findings(project.config)}
    assert not lost["SDK's repository"].ok
    assert "--sdk-url" in lost["SDK's repository"].remedy
    assert f"docker volume rm {made}" in lost["volumes of other pins"].remedy


def test_removal_of_volumes(built_project: Project, console: Console) -> None:
    would = tools.remove_volumes(console, dry_run=True)
    assert f"volume {built_project.volume}" in would
    assert not any(name.endswith(("-git", "-dl", "-ccache")) for name in would)
    assert tools.remove_volumes(console) == would
    assert tools.remove_volumes(console) == []
    left = {str(item.name) for item in built_project.engine.client.volumes.list()}
    assert f"{NAME}-dl" in left and built_project.volume not in left
    assert built_project.engine.client.images.get(BASE)


def second_variant(project: Project) -> None:
    variant = project.root / "configs/variants/luckfox-pico-mini.yml"
    shutil.copy(variant, variant.with_name("second.yml"))


def test_one_of_a_matrix_fails(built_project: Project, console: Console) -> None:
    second_variant(built_project)
    built_project.knob("fail neon-runner")
    config = built_project.config
    chosen = [config.variant("second"), config.variant(VARIANT)]
    with pytest.raises(UserError, match="1 of 2 variants failed") as caught:
        tools.build_all(console, config, chosen, built_project.options)
    assert f"second: stage rootfs, package neon-runner-{PROJECT_VERSION}" in str(caught.value)
    assert console.log_path is not None
    assert f"{VARIANT}: done" in console.log_path.read_text()


def test_matrix_is_interrupted(built_project: Project, console: Console) -> None:
    second_variant(built_project)
    built_project.knob("hang uboot")
    config = built_project.config
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    over = threading.Event()

    def interrupt_when_it_hangs() -> None:
        logs = built_project.output / "second/logs"
        while not over.wait(0.1):
            if any("hanging in uboot" in log.read_text() for log in logs.glob("build-all-*")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt_when_it_hangs)
    watcher.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            tools.build_all(console, config, [config.variant("second")], built_project.options)
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGINT, before)
    # A busy engine may still be removing what it was told to remove.
    give_up = time.monotonic() + 600
    while built_project.engine.client.containers.list(all=True, ignore_removed=True):
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_shell_needs_a_terminal(built_project: Project, console: Console) -> None:
    with pytest.raises(UserError, match="need a terminal"):
        tools.shell(console, built_project.config, built_project.variant, built_project.options)
    with pytest.raises(UserError, match="unknown menu 'kernal'"):
        tools.sdk_config(
            console, built_project.config, built_project.variant, "kernal", built_project.options
        )


def in_terminal(project: Project, code: str) -> tuple[int, bytes]:
    """Run Python code in a process with a terminal; its status and what appeared there.

    The code has ``c``, ``t``, ``v`` and ``o``: configuration, console, variant and options.
    """
    if shutil.which("docker") is None:
        pytest.skip("the docker command line is not installed")
    prepared = (
        "import sys; from pathlib import Path\n"
        "from pico_image.base import console; from pico_image.config import configuration\n"
        "from pico_image.sdk import tools\n"
        "from pico_image.sdk.workspace import Options\n"
        "root, base, models = sys.argv[1:]\n"
        f"c = configuration.load(Path(root)); t = console.Console(); v = c.variant({VARIANT!r})\n"
        "o = Options(base_image=base, models={'efficientnet-lite0': Path(models)}, later_bytes=0)\n"
    )
    near, far = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", prepared + code, str(project.root), BASE, str(project.models)],
        cwd=Path(__file__).parents[2],
        stdin=far,
        stdout=far,
        stderr=far,
        close_fds=True,
    ) as child:
        os.close(far)
        text = b""
        while True:
            try:
                block = os.read(near, 4096)
            except OSError:
                break
            if not block:
                break
            text += block
        os.close(near)
    return child.returncode, text


def test_shell_in_a_terminal(built_project: Project) -> None:
    """Through the docker program, with everything as in a build: seen by what it prints."""
    status, text = in_terminal(
        built_project,
        "script = 'pwd; readlink .BoardConfig.mk; echo $BR2_EXTERNAL; exit 5'\n"
        "sys.exit(tools.shell(t, c, v, o, command=['bash', '-c', script]))\n",
    )
    assert status == 5, text
    assert b"/build/sdk\r\n/build/board/BoardConfig-npu-luckfox-pico-mini.mk\r\n" in text
    assert b"/src/br2-external" in text


def test_menus_in_a_terminal(built_project: Project) -> None:
    """What is changed in a menu comes back as lines."""
    for menu, lines in (
        ("kernel", b"['CONFIG_SWAP=y']"),
        ("buildroot", b"['extra_symbols:', '  BR2_PACKAGE_HTOP: y']"),
    ):
        status, text = in_terminal(
            built_project, f"print('lines:', tools.sdk_config(t, c, v, {menu!r}, o))\n"
        )
        assert status == 0, text
        assert b"lines: " + lines in text


def test_licences_and_bill_of_materials(
    built_project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Buildroot collected in the container comes out, without the sources."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(built_project.output))
    made, config, options = built_project.engine, built_project.config, built_project.options
    folder, notes = paperwork.legal_info(console, config, VARIANT, options, engine=made)
    text = (folder / "licences.csv").read_text()
    assert f"npu-runner,{PROJECT_VERSION},Apache-2.0,yes" in text
    assert any(note.startswith("rknn-runtime: PROPRIETARY") for note in notes)
    assert (folder / "buildroot/licenses/busybox-1.0/LICENSE").is_file()
    assert not (folder / "buildroot/sources").exists()
    path = paperwork.bill(console, config, VARIANT, options, engine=made)
    bill = json.loads(path.read_text())
    names = {component["name"] for component in bill["components"]}
    assert {"busybox", "rknn-runtime", "npu-runner", "luckfox-sdk"} <= names


def test_sizes_of_a_built_image_by_package(
    built_project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(built_project.output))
    owners = built_project.output / VARIANT / ".sdk/packages-file-list.txt"
    assert "npu-runner,./usr/bin/npu-runner\n" in owners.read_text()
    with pytest.raises(UserError, match="there is no root file system of variant luckfox-pico "):
        sizes.of_variant(console, built_project.config, "luckfox-pico")


def test_licences_before_a_build_say_what_to_do(project: Project, console: Console) -> None:
    with pytest.raises(UserError, match="has not been built"):
        paperwork.legal_info(
            console, project.config, VARIANT, project.options, engine=project.engine
        )
