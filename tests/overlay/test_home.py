"""/etc/profile.d/RkEnv.sh: a login keeps its home."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT

FILE = ROOT / "board/luckfox-pico/overlay/etc/profile.d/RkEnv.sh"


def login(tmp_path: Path) -> dict[str, str]:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    # The file names /oem; its copy names a folder of the test.
    copy = tmp_path / "RkEnv.sh"
    copy.write_text(FILE.read_text().replace("/oem", f"{tmp_path}/oem"))
    (tmp_path / "bin").mkdir(exist_ok=True)
    if not (tmp_path / "bin/ls").exists():
        (tmp_path / "bin/ls").symlink_to(busybox)
    done = subprocess.run(
        [busybox, "ash", "-c", f'. {copy}; echo "$HOME $PATH ${{LD_LIBRARY_PATH-unset}}"'],
        env={"HOME": "/home/pico", "PATH": f"{tmp_path}/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    home, path, libraries = done.stdout.split()
    return {"HOME": home, "PATH": path, "LD_LIBRARY_PATH": libraries}


def test_a_login_keeps_its_home(tmp_path: Path) -> None:
    """The vendor's file sets HOME=/oem for everybody: keys and history went astray."""
    assert login(tmp_path) == {
        "HOME": "/home/pico",
        "PATH": f"{tmp_path}/bin",
        "LD_LIBRARY_PATH": "unset",
    }


def test_the_vendors_programs_come_last_and_its_libraries_only_where_there_are_any(
    tmp_path: Path,
) -> None:
    (tmp_path / "oem/usr/bin").mkdir(parents=True)
    (tmp_path / "oem/usr/lib").mkdir()  # the SDK makes it for every image
    found = login(tmp_path)
    assert found["PATH"] == f"{tmp_path}/bin:{tmp_path}/oem/usr/bin"
    assert found["LD_LIBRARY_PATH"] == "unset"
    (tmp_path / "oem/usr/lib/librockit.so").write_text("")
    found = login(tmp_path)
    assert found["LD_LIBRARY_PATH"] == f"/lib:/usr/lib:{tmp_path}/oem/usr/lib"
    assert found["HOME"] == "/home/pico"
