"""Signed images with the real ssh-keygen: the right key, another, other sums, nothing there."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from invoke.exceptions import Exit

import tasks
from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed, UserError
from pico_image.card.compose import compose
from pico_image.card.verify import write_sums
from pico_image.image import signing
from tests.support import card_images


def new_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    folder = tmp_path_factory.mktemp("keys")
    return {name: new_key(folder / name) for name in ("mine", "other")}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small card image that `invoke verify` finds whole."""
    folder = tmp_path / "images"
    parts, table = card_images.make_parts(tmp_path / "parts")
    folder.mkdir()
    composed = compose(Console(), parts, table, folder / "sdcard.img")
    write_sums(folder, ["sdcard.img"], composed.sums)
    return folder


def signers(tmp_path: Path, key: Path, options: str = "") -> Path:
    path = tmp_path / "allowed_signers"
    path.write_text(f"me@home {options}{key.with_suffix('.pub').read_text()}")
    return path


def test_a_signed_image_names_its_signer(
    images: Path, tmp_path: Path, keys: dict[str, Path]
) -> None:
    assert signing.sign(images, keys["mine"]) == images / "SHA256SUMS.sig"
    allowed = signers(tmp_path, keys["mine"])
    assert signing.verify(images, allowed) == "me@home"
    assert signing.verify(images / "sdcard.img", allowed) == "me@home"
    write_sums(images, ["sdcard.img"])
    assert signing.verify(images, allowed) == "me@home", "the same sums keep their signature"
    signing.sign(images, keys["mine"])  # again, over the old one
    # Limited to our namespace, as ssh-keygen(1) recommends.
    assert signing.verify(
        images, signers(tmp_path, keys["mine"], f'namespaces="{signing.NAMESPACE}" ')
    )


def test_a_key_that_only_the_agent_has(
    images: Path, tmp_path: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a passphrase or a hardware token: only the public key lies in a file."""
    for name in ("ssh-agent", "ssh-add"):
        card_images.tool(name, "openssh-client")
    public = tmp_path / "id.pub"
    shutil.copy(keys["mine"].with_suffix(".pub"), public)
    with pytest.raises(UserError, match="could not sign with .*id.pub"):
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        signing.check_key(public)
    socket = tmp_path / "agent"
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL
    ) as agent:
        try:
            while not socket.exists():
                assert agent.poll() is None
                time.sleep(0.05)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            subprocess.run(["ssh-add", "-q", str(keys["mine"])], check=True)
            signing.check_key(public)
            signing.sign(images, public)
        finally:
            agent.terminate()
    assert signing.verify(images, signers(tmp_path, keys["mine"])) == "me@home"


def test_another_key_is_refused(images: Path, tmp_path: Path, keys: dict[str, Path]) -> None:
    signing.sign(images, keys["other"])
    with pytest.raises(CheckFailed, match=r"SHA256SUMS\.sig is by no key in .*allowed_signers"):
        signing.verify(images, signers(tmp_path, keys["mine"]))


def test_changed_sums_are_refused(images: Path, tmp_path: Path, keys: dict[str, Path]) -> None:
    signing.sign(images, keys["mine"])
    signature = (images / "SHA256SUMS.sig").read_bytes()
    (images / "sdcard.img").write_bytes(b"evil" * 4096)
    write_sums(images, ["sdcard.img"])
    # Building again takes an old signature away; a forger puts it back.
    assert not (images / "SHA256SUMS.sig").exists()
    (images / "SHA256SUMS.sig").write_bytes(signature)
    with pytest.raises(CheckFailed, match="is not what me@home signed"):
        signing.verify(images, signers(tmp_path, keys["mine"]))


def test_an_image_beside_signed_sums_is_not_signed(
    images: Path, tmp_path: Path, keys: dict[str, Path]
) -> None:
    """Without its line in the sums nothing would compare it with anything that was signed."""
    signing.sign(images, keys["mine"])
    allowed = signers(tmp_path, keys["mine"])
    shutil.copy(images / "sdcard.img", images / "other.img")
    with pytest.raises(CheckFailed, match=r"does not list other\.img: nobody signed this image"):
        signing.verify(images / "other.img", allowed)
    write_sums(images, ["sdcard.img.bmap"])
    signing.sign(images, keys["mine"])
    with pytest.raises(CheckFailed, match=r"does not list sdcard\.img"):
        signing.verify(images, allowed)


def test_a_signature_for_something_else_is_refused(
    images: Path, tmp_path: Path, keys: dict[str, Path]
) -> None:
    """The same key signs git commits and files, too."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(keys["mine"])]
    subprocess.run([*command, str(images / "SHA256SUMS")], check=True)
    with pytest.raises(CheckFailed, match="is not what me@home signed"):
        signing.verify(images, signers(tmp_path, keys["mine"]))


def test_damaged_and_missing_files(images: Path, tmp_path: Path, keys: dict[str, Path]) -> None:
    allowed = signers(tmp_path, keys["mine"])
    with pytest.raises(UserError, match=r"no SHA256SUMS\.sig in .*nobody is known to have signed"):
        signing.verify(images, allowed)
    (images / "SHA256SUMS.sig").write_text("-----BEGIN SSH SIGNATURE-----\n!!\n")
    with pytest.raises(CheckFailed, match="is by no key"):
        signing.verify(images, allowed)
    with pytest.raises(UserError, match="no file of allowed signers"):
        signing.verify(images, tmp_path / "absent")
    allowed.write_text("what is this\n")
    with pytest.raises(CheckFailed, match="is by no key"):
        signing.verify(images, allowed)
    with pytest.raises(UserError, match="no key"):
        signing.sign(images, tmp_path / "absent")
    (images / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="what gets signed"):
        signing.sign(images, keys["mine"])


def test_a_key_that_cannot_sign_is_refused_before_the_build(
    tmp_path: Path, keys: dict[str, Path]
) -> None:
    signing.check_key(keys["mine"])
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    damaged.chmod(0o600)
    with pytest.raises(UserError, match="could not sign with .*damaged"):
        signing.check_key(damaged)


def test_without_ssh_keygen(
    images: Path, tmp_path: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = signers(tmp_path, keys["mine"])
    signing.sign(images, keys["mine"])
    monkeypatch.setenv("PATH", str(tmp_path))
    for work in (
        lambda: signing.sign(images, keys["mine"]),
        lambda: signing.verify(images, allowed),
        lambda: signing.check_key(keys["mine"]),
    ):
        with pytest.raises(UserError, match="could not find the program ssh-keygen") as caught:
            work()
        assert "openssh-client" in str(caught.value)


def test_the_tasks(
    images: Path, tmp_path: Path, keys: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit codes: 0, 1 for a bad signature, 2 for what the user can mend."""
    allowed = str(signers(tmp_path, keys["mine"]))
    tasks.sign.body(None, str(images), key=str(keys["mine"]))
    tasks.verify.body(None, str(images), signers=allowed)
    assert "ok  signed by me@home" in capsys.readouterr().out
    tasks.sign.body(None, str(images), key=str(keys["other"]))
    with pytest.raises(Exit) as caught:
        tasks.verify.body(None, str(images), signers=allowed)
    assert caught.value.code == 1
    (images / "SHA256SUMS.sig").unlink()
    with pytest.raises(Exit) as caught:
        tasks.verify.body(None, str(images), signers=allowed)
    assert caught.value.code == 2
    with pytest.raises(Exit) as caught:
        tasks.build_image.body(None, "emulator", sign_key=str(tmp_path / "absent"))
    assert caught.value.code == 2 and "no key" in str(caught.value)
    with pytest.raises(Exit) as caught:
        tasks.sign.body(None, str(images))
    assert caught.value.code == 2 and "no key is given" in str(caught.value)
