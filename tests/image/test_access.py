"""Keys and passwords: what goes into an image, what is refused, and the hook that puts it in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.image import access

HOOK = ROOT / "board/luckfox-pico/post-build.sh"
SHADOW = "root:*:::::::\ndaemon:*:::::::\n"


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub")


def password_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "password"
    path.write_text(text)
    return path


def prepare(tmp_path: Path, **options: Any) -> access.Access:
    return access.prepare(tmp_path / "inputs", tmp_path / "root-password.txt", **options)


def hashed(folder: Path, name: str, password: str) -> bool:
    kept = (folder / name).read_text().strip()
    return access.hash_password(password, access.METHODS[name][0], kept.split("$")[2]) == kept


def test_a_random_password_is_shown_once_and_kept_for_the_user_alone(tmp_path: Path) -> None:
    made = prepare(tmp_path)
    password = made.new_password
    assert password is not None and len(password) == 20
    kept = tmp_path / "root-password.txt"
    assert kept.read_text() == password + "\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert made.inputs.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.inputs.iterdir()} == {0o600}
    assert all(hashed(made.inputs, name, password) for name in access.METHODS)
    # What the build container gets has hashes, never the password.
    assert not any(password in path.read_text() for path in made.inputs.iterdir())
    before = {path: path.stat().st_mtime_ns for path in made.inputs.iterdir()}
    assert prepare(tmp_path).new_password is None
    assert before == {path: path.stat().st_mtime_ns for path in made.inputs.iterdir()}
    (tmp_path / "other").mkdir()
    assert prepare(tmp_path / "other").new_password != password


def test_a_key_alone_leaves_root_without_a_password(tmp_path: Path, key: Path) -> None:
    prepare(tmp_path)
    folder = prepare(tmp_path, ssh_key=key).inputs
    assert (folder / "authorized_keys").read_text() == key.read_text()
    assert (folder / "permit-root-login").read_text() == "prohibit-password\n"
    assert not list(folder.glob("root*"))
    assert not (tmp_path / "root-password.txt").exists()


def test_a_password_file_and_a_changed_password(tmp_path: Path) -> None:
    first = password_file(tmp_path, "correct horse\n")
    folder = prepare(tmp_path, password_file=first).inputs
    assert hashed(folder, "root.sha512", "correct horse")
    kept = (folder / "root.sha512").read_text()
    prepare(tmp_path, password_file=first)
    assert (folder / "root.sha512").read_text() == kept, "a new salt makes a new build"
    prepare(tmp_path, password_file=password_file(tmp_path, "battery staple"))
    assert hashed(folder, "root.sha512", "battery staple")
    assert not (tmp_path / "root-password.txt").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", r"key:1: this is a private key"),
        ("", "no public key in this file"),
        ("# only a comment\n", "no public key in this file"),
        ("\nssh-dss AAAA me\n", r"key:2: 'ssh-dss' is no type"),
        ("ssh-ed25519\n", r"key:1: the key itself is missing"),
        ("ssh-ed25519 !!!! me\n", r"key:1: the key is not base64"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me\n", r"key:1: the key is cut off"),
        ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAAA== me\n", r"key:1: the key inside is not of the type"),
    ],
)
def test_bad_key_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path, ssh_key=path)
    assert not (tmp_path / "inputs").exists(), "bad input changed something"


def test_key_files_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not read the public key"):
        prepare(tmp_path, ssh_key=tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        access.read_keys(tmp_path / "binary")
    (tmp_path / "large").write_bytes(b"x" * 70000)
    with pytest.raises(UserError, match="70000 bytes"):
        access.read_keys(tmp_path / "large")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 characters"),
        ("luckfox\n", "has 7 characters"),
        ("good enough\nmore\n", "alone"),
        ("with\ttab here", "control character"),
        (" leading space", "begins or ends"),
    ],
)
def test_bad_password_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"password:[12]: .*{message}"):
        access.read_password(password_file(tmp_path, text))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    (folder / "etc/ssh").mkdir(parents=True)
    (folder / "etc/shadow").write_text(SHADOW)
    (folder / "etc/ssh/sshd_config").write_text("#PermitRootLogin no\nPermitRootLogin yes\nX y\n")
    return folder


def run_hook(target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    busybox = shutil.which("busybox")
    shell = [busybox, "ash"] if busybox else ["sh"]
    return subprocess.run(
        [*shell, str(HOOK), str(target)], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )  # fmt: skip


@pytest.mark.parametrize("sha512", [True, False, None])
def test_the_hook_takes_the_hash_that_the_libc_knows(
    tmp_path: Path, target: Path, sha512: bool | None
) -> None:
    secret = password_file(tmp_path, "correct horse")
    inputs = prepare(tmp_path, password_file=secret, release="VARIANT=mini\n").inputs
    staging = tmp_path / "staging"
    if sha512 is not None:
        bits = staging / "usr/include/bits"
        bits.mkdir(parents=True)
        option = "__UCLIBC_HAS_SHA512_CRYPT_IMPL__"
        line = f"#define {option} 1" if sha512 else f"#undef {option}"
        (bits / "uClibc_config.h").write_text(f"#define __UCLIBC_HAS_CRYPT__ 1\n{line}\n")
    answer = run_hook(target, PICO_IMAGE_INPUTS=str(inputs), STAGING_DIR=str(staging))
    assert answer.returncode == 0, answer.stderr
    root, daemon = (target / "etc/shadow").read_text().splitlines()
    option, prefix = access.METHODS["root.md5" if sha512 is False else "root.sha512"]
    kept = root.split(":")[1]
    assert kept.startswith(prefix)
    assert access.hash_password("correct horse", option, kept.split("$")[2]) == kept
    assert daemon == "daemon:*:::::::"
    assert (target / "etc/shadow").stat().st_mode & 0o777 == 0o600
    assert (target / "etc/pico-image-release").read_text() == "VARIANT=mini\n"
    assert (target / "etc/ssh/sshd_config").read_text() == (
        "X y\nPermitRootLogin yes\nPermitEmptyPasswords no\n"
    )


def test_the_hook_installs_keys(tmp_path: Path, target: Path, key: Path) -> None:
    inputs = prepare(tmp_path, ssh_key=key).inputs
    for _ in range(2):  # Buildroot runs it again on every make
        assert run_hook(target, PICO_IMAGE_INPUTS=str(inputs)).returncode == 0
    for home in ("root", "home/pico"):
        path = target / home / ".ssh/authorized_keys"
        assert path.read_text() == key.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (target / "etc/shadow").read_text() == SHADOW
    assert "PermitRootLogin prohibit-password" in (target / "etc/ssh/sshd_config").read_text()


def test_the_hook_without_inputs_leaves_root_locked_and_says_so(target: Path) -> None:
    answer = run_hook(target)
    assert answer.returncode == 0 and "stays locked" in answer.stderr
    assert (target / "etc/shadow").read_text() == SHADOW


def test_the_hook_stops_when_it_cannot_do_its_work(tmp_path: Path, target: Path) -> None:
    answer = run_hook(target, PICO_IMAGE_INPUTS=str(tmp_path / "absent"))
    assert answer.returncode == 1 and "is not a folder" in answer.stderr
    inputs = prepare(tmp_path).inputs
    (target / "etc/shadow").write_text("daemon:*:::::::\n")
    answer = run_hook(target, PICO_IMAGE_INPUTS=str(inputs))
    assert answer.returncode == 1 and "no line for root" in answer.stderr
