"""Doctor, removal of volumes, the matrix when something goes wrong, the menus' guard."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.project import NAME
from pico_image.config.target import Target
from pico_image.image import build, licences, sizes
from pico_image.models import convert
from pico_image.sdk import backend, requirements, workspace
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
    would = workspace.remove_volumes(console, dry_run=True)
    assert f"volume {built_project.volume}" in would
    assert not any(name.endswith(("-git", "-dl", "-ccache")) for name in would)
    assert workspace.remove_volumes(console) == would
    assert workspace.remove_volumes(console) == []
    left = {str(item.name) for item in built_project.engine.client.volumes.list()}
    assert f"{NAME}-dl" in left and built_project.volume not in left
    assert built_project.engine.client.images.get(BASE)


def second_variant(project: Project) -> None:
    variant = project.root / "configs/variants/luckfox-pico-mini.yml"
    shutil.copy(variant, variant.with_name("second.yml"))


def test_one_of_a_matrix_fails(
    built_project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_variant(built_project)
    built_project.knob("fail neon-runner")
    monkeypatch.setattr(convert, "convert", lambda *_: built_project.models)
    with pytest.raises(UserError, match="1 of 2 variants failed") as caught:
        build.build_all(console, built_project.config, ["second", VARIANT], built_project.options)
    assert f"second: stage rootfs, package neon-runner-{PROJECT_VERSION}" in str(caught.value)
    assert console.log_path is not None
    assert f"{VARIANT}: done" in console.log_path.read_text()


def test_shell_needs_a_terminal(
    built_project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "convert", lambda *_: built_project.models)
    target, options = built_project.target, built_project.options
    with pytest.raises(UserError, match="need a terminal"):
        backend.shell(console, target, options)
    with pytest.raises(UserError, match="unknown menu 'kernal'"):
        backend.sdk_config(console, target, "kernal", options)
    with pytest.raises(UserError, match="built without Buildroot"):
        backend.shell(console, Target.of(built_project.config, "emulator"), options)


def in_terminal(project: Project, code: str) -> tuple[int, bytes]:
    """Run Python code in a process with a terminal; its status and what appeared there.

    The code has ``c``, ``t`` and ``o``: console, target and options.
    """
    if shutil.which("docker") is None:
        pytest.skip("the docker command line is not installed")
    prepared = (
        "import sys; from pathlib import Path\n"
        "from pico_image.base.console import Console; from pico_image.config import configuration\n"
        "from pico_image.config.target import Target; from pico_image.models import convert\n"
        "from pico_image.sdk import backend; from pico_image.sdk.workspace import Options\n"
        "root, base, models = sys.argv[1:]; convert.convert = lambda *_: Path(models)\n"
        f"c = Console(); t = Target.of(configuration.load(Path(root)), {VARIANT!r})\n"
        "o = Options(base_image=base, later_bytes=0)\n"
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
        "sys.exit(backend.shell(c, t, o, command=['bash', '-c', script]))\n",
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
            built_project, f"print('lines:', backend.sdk_config(c, t, {menu!r}, o))\n"
        )
        assert status == 0, text
        assert b"lines: " + lines in text


def test_licences_and_bill_of_materials(
    built_project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Buildroot collected in the container comes out, without the sources."""
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(built_project.output))
    monkeypatch.setattr(convert, "convert", lambda *_: built_project.models)
    target, options = built_project.target, built_project.options
    folder, notes = licences.legal_info(console, target, options)
    text = (folder / "licences.csv").read_text()
    assert f"npu-runner,{PROJECT_VERSION},Apache-2.0,yes" in text
    assert any(note.startswith("rknn-runtime: PROPRIETARY") for note in notes)
    assert (folder / "buildroot/licenses/busybox-1.0/LICENSE").is_file()
    assert not (folder / "buildroot/sources").exists()
    path = licences.bill(console, target, options)
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
        sizes.of_target(Target.of(built_project.config, "luckfox-pico"))


def test_licences_before_a_build_say_what_to_do(
    project: Project, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "convert", lambda *_: project.models)
    with pytest.raises(UserError, match="has not been built"):
        licences.legal_info(console, project.target, project.options)
