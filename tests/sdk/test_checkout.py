"""What a checkout of the user's is: told, hashed by folder; and the real tree, where there is one.

SDK_FORK_DIR names a work tree of a fork of the vendor's SDK. Only read, and copied by hard links.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.engine import run, volumes
from pico_image.engine.client import Container, Engine, Mount
from pico_image.engine.volumes import Volume
from pico_image.sdk import checkout
from pico_image.sdk.checkout import Origin
from pico_image.sdk.inputs import Stage, rootfs_actions, stage_key
from tests.sdk.test_inputs import inputs, tree
from tests.support.sdk_stand_in import repository
from tests.support.sdk_stand_in.fixtures import BASE

NAME = "pico-test-checkout"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def volume(engine: Engine) -> Iterator[Volume]:
    volumes.ensure(engine, NAME, {}, what="a test")
    yield Volume(engine, BASE, NAME)
    engine.client.volumes.get(NAME).remove(force=True)


def said(console: Console) -> str:
    assert console.log_path is not None
    return console.log_path.read_text()


@pytest.mark.docker
def test_what_a_reader_of_the_result_must_know(
    tmp_path: Path, console: Console, volume: Volume
) -> None:
    path = tmp_path / "my-sdk"
    pin = repository.make_repository(path)
    # As in tests/sdk/test_build.py.
    (path / ".git/info/attributes").write_text("* -text\n")
    origin = Origin("https://example.org/sdk.git", pin, path)
    found, sdk = checkout.copy_path(console, volume, origin)
    assert (found.commit, found.changed) == (pin, 0) and found.key == origin.key
    assert "SDK at" not in said(console)
    assert set(sdk) == set(checkout.READ_BY)
    (path / "sysdrv/out").mkdir()
    (path / "sysdrv/out/vmlinux").write_text("product\n")
    (path / "sysdrv/source/kernel/main.o").write_text("product\n")
    os.mkfifo(path / "pipe")
    (path / "sysdrv/source/kernel/drivers").mkdir(exist_ok=True)
    (path / "sysdrv/source/kernel/drivers/mine").symlink_to(tmp_path)
    (path / "sysdrv/source/kernel/drivers/ours").symlink_to("../net")
    (path / "project/build.sh").unlink()
    (path / "build.sh").unlink()
    (path / "build.sh").write_text("#!/bin/sh\n")
    found, changed = checkout.copy_path(console, volume, Origin(origin.url, "0" * 40, path))
    assert (found.commit, found.changed) == (pin, 4)
    text = said(console)
    first = "build.sh, project/build.sh, sysdrv/source/kernel/drivers/mine and 1 more"
    assert f"4 files differ from its commit: {first}" in text
    assert "left out as neither files nor links: pipe" in text
    links = f"sysdrv/source/kernel/drivers/mine -> {tmp_path}"
    assert f"links lead out of it, to nothing in the container: {links}\n" in text
    assert f"at commit {pin[:12]}, and this project is made for 000000000000 (the pin" in text
    assert {name for name in sdk if sdk[name] != changed[name]} == {
        *("project/build.sh", "sysdrv/source/kernel/"),
    }
    # Without git: the same files, and what is no file of the SDK's is told apart by name alone.
    shutil.rmtree(path / ".git")
    found, _ = checkout.copy_path(console, volume, origin)
    assert (found.commit, found.changed) == ("", 0)
    assert "is at commit unknown (no git), and this" in said(console)
    script = "cd /build/sdk && ls sysdrv sysdrv/source/kernel/*.o; cat build.sh"
    mounts = [Mount(NAME, "/build")]
    container = Container(BASE, ["bash", "-c", script], mounts)
    lines = run.output_of(volume.engine, console, container, what="look into the volume")
    assert "out" not in lines and "#!/bin/sh" in lines
    assert "sysdrv/source/kernel/main.o" in lines, "known by .gitignore alone"


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """The fork by hard links: nothing in it may be written in place."""
    given = os.environ.get("SDK_FORK_DIR")
    if not given:
        pytest.skip("SDK_FORK_DIR names no work tree of a fork of the SDK")
    subprocess.run(["cp", "-al", given, tmp_path / "fork"], check=True)
    archive = tmp_path / "fork/sysdrv/tools/board/buildroot/buildroot-2023.02.6.tar.gz"
    if not archive.exists():
        archive.write_bytes(b"too large for the tree at hand")
    return tmp_path / "fork"


@pytest.mark.external
@pytest.mark.docker
def test_the_real_tree(fork: Path, console: Console, volume: Volume) -> None:
    """A kernel's file, one that no stage reads, one that is only touched; seconds in the log."""
    checkout.check_path(fork)
    origin = Origin("", "0" * 40, fork)
    before: dict[str, str] = {}

    def stages() -> set[str]:
        nonlocal before
        began = time.monotonic()
        _, sdk = checkout.copy_path(console, volume, origin)
        console.log(f"took {time.monotonic() - began:.1f} s")
        print(f"took {time.monotonic() - began:.1f} s")
        old, new = (inputs(tree(), sdk=each) for each in (before or sdk, sdk))
        before = sdk
        assert "wipe-output" not in rootfs_actions(old[Stage.ROOTFS], new[Stage.ROOTFS])
        return {each.value for each in Stage if stage_key(old[each]) != stage_key(new[each])}

    assert stages() == set()
    assert len({*before.values()}) == len(before), "a folder is empty, or not there"
    time.sleep(2.1)  # until nothing is new: see copies.SETTLED_NS
    assert stages() == set() and stages() == set()
    driver = fork / "sysdrv/source/kernel/drivers/rknpu/rknpu_drv.c"
    text = driver.read_bytes()
    driver.unlink()
    driver.write_bytes(text)
    assert stages() == set()
    driver.write_bytes(text + b"\n")
    assert stages() == {"kernel", "rootfs"}
    (fork / "README.md").unlink()
    assert stages() == set()
    uboot = fork / "sysdrv/source/uboot/u-boot/make.sh"
    uboot.unlink()
    assert stages() == {"uboot"}
