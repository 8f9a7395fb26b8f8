"""Who may log in to an image: a public key, a password, or one made at random and shown once.

No image has a known password. What the user gives (``--ssh-key``, ``--password-file``) or what is
made for them goes into a folder of private inputs, which ``board/luckfox-pico/post-build.sh`` reads
when the rootfs is complete. The folder is the user's alone (0700, files 0600), and building again
with the same access leaves it as it is, so that nothing is built twice for a new salt.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import string
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import atomic_write

KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
#: A file of public keys has some hundred bytes; a larger one is something else.
LARGEST_KEY_FILE = 64 * 1024
SHORTEST_PASSWORD = 8
#: Letters and digits that are not mistaken for one another: 20 of 55 are 115 bits.
ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lIo")))
GENERATED_LENGTH = 20
#: The two ways in which a password is hashed: openssl's option and the hash's prefix. uClibc may
#: be built without SHA in its crypt(3), and the vendor's image carries an MD5 hash; post-build.sh
#: takes the stronger one that the C library of the image knows.
METHODS = {"root.sha512": ("-6", "$6$"), "root.md5": ("-1", "$1$")}


@dataclass(frozen=True)
class Access:
    """The folder of private inputs, and the password to show now if one was just made."""

    inputs: Path
    new_password: str | None = None


def prepare(
    folder: Path,
    kept: Path,
    *,
    ssh_key: Path | None = None,
    password_file: Path | None = None,
    release: str | None = None,
) -> Access:
    """Fill ``folder`` with an image's private inputs, for post-build.sh.

    With neither key nor password a random password is made: it is returned, for the caller to
    show once, and written to ``kept`` (0600, beside the image); the next build uses it again.
    ``release`` becomes ``/etc/pico-image-release``.

    Raises UserError or ConfigError (file and line) for bad input, before anything is changed.
    """
    keys = read_keys(ssh_key) if ssh_key else None
    password = read_password(password_file) if password_file else None
    new_password = None
    if keys is not None or password is not None:
        kept.unlink(missing_ok=True)
    elif kept.is_file():
        password = read_password(kept)
    else:
        password = new_password = "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))
        _write(kept, password + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if keys is None:
        (folder / "authorized_keys").unlink(missing_ok=True)
    else:
        _write(folder / "authorized_keys", keys)
    for name, (option, prefix) in METHODS.items():
        path = folder / name
        if password is None:
            path.unlink(missing_ok=True)
        elif not _matches(path, option, prefix, password):
            _write(path, hash_password(password, option) + "\n")
    _write(folder / "permit-root-login", "prohibit-password\n" if password is None else "yes\n")
    if release is not None:
        _write(folder / "pico-image-release", release)
    return Access(folder, new_password)


def read_keys(path: Path) -> str:
    """The public keys in a file, one a line, in the form of ``authorized_keys``.

    Raises UserError for a file that is not there, ConfigError (file and line) for a private key,
    a key that is cut off, or anything else that sshd would not take.
    """
    text = _read(path, "the public key")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if "PRIVATE KEY" in line:
            raise ConfigError(
                path, number, "this is a private key, which must never go into an image",
                hint=f"give the public one, usually {path}.pub",
            )  # fmt: skip
        keys.append(_checked_key(path, number, line))
    if not keys:
        raise ConfigError(path, None, "there is no public key in this file", hint=_KEY_HINT)
    return "".join(f"{key}\n" for key in keys)


def read_password(path: Path) -> str:
    """The password in the first line of a file.

    Raises ConfigError when it is shorter than 8 characters, has control characters, or when
    more lines follow.
    """
    lines = _read(path, "root's password").splitlines()
    password = lines[0] if lines else ""
    if any(line.strip() for line in lines[1:]):
        raise ConfigError(path, 2, "expected the password alone, in the first line")
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(
            path, 1, f"the password has {len(password)} characters, {SHORTEST_PASSWORD} are needed",
            hint="leave out --password-file, and one is made for you",
        )  # fmt: skip
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in password):
        raise ConfigError(path, 1, "the password has a control character")
    if password != password.strip():
        raise ConfigError(path, 1, "the password begins or ends with a space")
    return password


def hash_password(password: str, option: str, salt: str | None = None) -> str:
    """A crypt(3) hash by openssl; ``option`` is -6 (SHA-512) or -1 (MD5).

    The password goes in by standard input, since every user of the machine can read arguments,
    and neither it nor the hash goes into the log.
    """
    command = ["openssl", "passwd", option, *(("-salt", salt) if salt else ()), "-stdin"]
    try:
        answer = subprocess.run(
            command, input=password + "\n", capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UserError(
            "could not find the program 'openssl', which is needed to hash root's password",
            hint="apt-get install openssl, or give --ssh-key",
        ) from error
    if answer.returncode != 0 or not answer.stdout.startswith("$"):
        raise UserError(f"openssl passwd {option} failed: {answer.stderr.strip()}")
    return answer.stdout.strip()


def _matches(path: Path, option: str, prefix: str, password: str) -> bool:
    """Whether ``path`` holds a hash of ``password`` already."""
    if not path.is_file():
        return False
    kept = path.read_text(encoding="ascii", errors="replace").strip()
    if not kept.startswith(prefix) or kept.count("$") != 3:
        return False
    return hash_password(password, option, kept.split("$")[2]) == kept


_KEY_HINT = "ssh-keygen -t ed25519 makes a pair; give the file that ends in .pub"


def _checked_key(path: Path, number: int, line: str) -> str:
    words = line.split(None, 2)
    if words[0] not in KEY_TYPES:
        raise ConfigError(
            path, number, f"{words[0][:40]!r} is no type of public key that OpenSSH takes",
            hint=f"known: {', '.join(KEY_TYPES)}; options before the type are not supported",
        )  # fmt: skip
    if len(words) < 2:
        raise ConfigError(path, number, "the key itself is missing", hint=_KEY_HINT)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(path, number, "the key is not base64", hint=_KEY_HINT) from None
    # RFC 4253, section 6.6: fields of four bytes of length and content, the type first.
    fields, at = [], 0
    while at + 4 <= len(blob):
        (length,) = struct.unpack_from(">I", blob, at)
        fields.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(blob) or len(fields) < 2:
        raise ConfigError(path, number, "the key is cut off or damaged", hint=_KEY_HINT)
    if fields[0].decode("latin-1") != words[0]:
        raise ConfigError(path, number, f"the key inside is not of the type {words[0]}")
    return line


def _read(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > LARGEST_KEY_FILE:
            raise UserError(f"{path} has {path.stat().st_size} bytes, too many for {what}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"could not read {what} from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file, so {what} is not in it") from error


def _write(path: Path, text: str) -> None:
    """Write for the user alone; a file that is right already keeps its time."""
    if path.is_file() and path.read_bytes() == text.encode():
        os.chmod(path, 0o600)
        return
    with atomic_write(path, "w", permissions=0o600) as stream:
        stream.write(text)
