"""No default password: in our overlay, what is rendered, what a build hands in, and the result."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from pico_image.config import configuration, render
from pico_image.image import access
from tests.support.secrets_check import VENDORS, known_ways_in

BOARD = ROOT / "board/luckfox-pico"


@pytest.mark.parametrize("option", ["-1", "-5", "-6"])
def test_the_search_finds_the_vendors_password_in_every_scheme(tmp_path: Path, option: str) -> None:
    known = access.hash_password(VENDORS, option)
    (tmp_path / "hidden").write_text(f"x='{known}'\n")
    (tmp_path / "another").write_text(access.hash_password("luckfoxes", option))
    assert known_ways_in(tmp_path) == [f"hidden: the hash of {VENDORS!r}"]


def test_the_search_finds_accounts_without_a_password(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\nnobody:x:1:1::/:/bin/no\n")
    (tmp_path / "etc/shadow").write_text("root:*:1::::::\npico::1::::::\n")
    (tmp_path / "defconfig").write_text('BR2_TARGET_GENERIC_ROOT_PASSWD="luckfox"\n')
    (tmp_path / "users.txt").write_text("# name ...\npico 1 p 1 =secret /home - - me\n")
    assert known_ways_in(tmp_path) == [
        "defconfig: ROOT_PASSWD=luckfox",
        "etc/passwd: root has no password",
        "etc/shadow: pico has no password",
        "users.txt: pico has the password =secret",
    ]


def test_nothing_of_ours_lets_everybody_in(tmp_path: Path) -> None:
    assert known_ways_in(BOARD) == []
    assert known_ways_in(ROOT / "br2-external") == []
    loaded = configuration.load()
    for variant in render.renderable(loaded):
        for name, text in render.files(loaded, variant).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    assert list(tmp_path.rglob("*_defconfig"))
    assert known_ways_in(tmp_path) == []


def test_what_a_build_hands_in_opens_with_nothing_known(tmp_path: Path) -> None:
    made = access.prepare(tmp_path / "inputs", tmp_path / "root-password.txt")
    assert made.new_password and known_ways_in(made.inputs) == []


@pytest.mark.parametrize("given", ["key", "password", "nothing"])
def test_the_hook_leaves_no_account_open(tmp_path: Path, given: str) -> None:
    """Even where Buildroot left root without a password, as it does by default."""
    target = tmp_path / "target"
    (target / "etc/ssh").mkdir(parents=True)
    (target / "etc/shadow").write_text("root::::::::\ndaemon:*:::::::\n")
    (target / "etc/ssh/sshd_config").write_text("PermitEmptyPasswords yes\n")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    if given != "nothing":
        key = None
        if given == "key":
            if shutil.which("ssh-keygen") is None:
                pytest.skip("ssh-keygen is not installed")
            key = tmp_path / "id"
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(command, check=True)
            key = key.with_suffix(".pub")
        inputs = access.prepare(tmp_path / "inputs", tmp_path / "kept", ssh_key=key).inputs
        environment["PICO_IMAGE_INPUTS"] = str(inputs)
    done = subprocess.run(
        ["sh", str(BOARD / "post-build.sh"), str(target)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert known_ways_in(target) == []
