"""Signatures of an image by its builder's SSH key: ``SHA256SUMS.sig`` beside ``SHA256SUMS``.

``SHA256SUMS`` shows damage; signed, it also shows a forger. OpenSSH does the work (``ssh-keygen
-Y``, since 8.1): its users have a key already, and ``allowed_signers`` is its own format (see
ssh-keygen(1)).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import atomic_write
from pico_image.card.image_file import is_for_emmc
from pico_image.card.parts import PARTS
from pico_image.card.verify import SIGNATURE, SUMS, read_sums

#: A signature that the same key made for another purpose does not count.
NAMESPACE = "luckfox-pico-npu"
PROGRAM = "ssh-keygen"


def check_key(key: Path) -> None:
    """Raise UserError for a key that cannot sign; ask before a long build."""
    if not key.is_file():
        raise UserError(
            f"there is no key {key} to sign the image with",
            hint="give your private key, usually ~/.ssh/id_ed25519 (or, with ssh-agent, the .pub)",
        )
    _ssh_keygen("-Y", "sign", "-n", NAMESPACE, "-f", str(key), given=b"", key=key)


def sign(images: Path, key: Path) -> Path:
    """Write ``SHA256SUMS.sig`` in an image's folder and return its path.

    A key with a passphrase is asked for at the terminal, or signs through ssh-agent. Raises
    UserError when there is nothing to sign, or the key cannot.
    """
    sums = images / SUMS
    if not sums.is_file():
        raise UserError(
            f"there is no {sums}, which is what gets signed",
            hint="build the image first with: invoke build-image",
        )
    if not key.is_file():
        check_key(key)
    command = ("-Y", "sign", "-n", NAMESPACE, "-f", str(key))
    signature = _ssh_keygen(*command, given=sums.read_bytes(), key=key)
    path = images / SIGNATURE
    with atomic_write(path) as stream:
        stream.write(signature)
    return path


def verify(path: Path, signers: Path) -> str:
    """Who signed the image (or the folder that holds it), by a file of allowed signers.

    This checks ``SHA256SUMS`` alone; ``card.verify`` compares it with the image.

    Raises CheckFailed for a signature by another key, of other sums, or of sums that do not list
    this image; UserError when there is no signature or it cannot be checked.
    """
    folder = path if path.is_dir() else path.parent
    sums, signature = folder / SUMS, folder / SIGNATURE
    if not signers.is_file():
        raise UserError(
            f"there is no file of allowed signers {signers}",
            hint="a line of it: NAME KEYTYPE KEY, as in `echo me $(cat id_ed25519.pub)`",
        )
    for needed in (sums, signature):
        if not needed.is_file():
            raise UserError(
                f"there is no {needed.name} in {folder}, so nobody is known to have signed it",
                hint=f"copy {SUMS} and {SIGNATURE} together with the image",
            )
    principals = _run("-Y", "find-principals", "-s", str(signature), "-f", str(signers))
    names = principals.stdout.decode(errors="replace").splitlines()
    if principals.returncode != 0 or not names:
        raise CheckFailed(f"{signature} is by no key in {signers}: {_last(principals.stderr)}")
    checked = _run(
        *("-Y", "verify", "-n", NAMESPACE, "-I", names[0], "-f", str(signers)),
        *("-s", str(signature)),
        given=sums.read_bytes(),
    )
    if checked.returncode != 0:
        said = _last(checked.stdout + checked.stderr)
        raise CheckFailed(
            f"{sums} is not what {names[0]} signed: {said}\n  do not trust this image"
        )
    if path.is_dir():
        parts = [f"{name}.img" for name in PARTS] if is_for_emmc(path) else ["sdcard.img"]
    else:
        parts = [path.name]
    listed = read_sums(sums)
    for name in parts:
        if name not in listed:
            raise CheckFailed(
                f"{sums}, which {names[0]} signed, does not list {name}: nobody signed this image"
            )
    return names[0]


def _ssh_keygen(*arguments: str, given: bytes, key: Path) -> bytes:
    done = _run(*arguments, given=given)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise UserError(
            f"could not sign with {key}: {_last(done.stderr)}",
            hint="the key must be a private one of yours; one with a passphrase signs through "
            "ssh-agent (ssh-add), given its .pub",
        )
    return done.stdout


def _run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """ssh-keygen, fed by a file: it opens /dev/tty for a passphrase, where there is one."""
    with tempfile.TemporaryFile() as stream:
        stream.write(given)
        stream.seek(0)
        try:
            return subprocess.run(
                [PROGRAM, *arguments], stdin=stream, capture_output=True, check=False,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        except FileNotFoundError as error:
            raise UserError(
                f"could not find the program {PROGRAM}, which is needed for signatures",
                hint="apt-get install openssh-client",
            ) from error


def _last(text: bytes) -> str:
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "ssh-keygen gave no reason"
