"""One board over the system's ``ssh``: run a command, read a file, send files.

Keys only: ssh never asks for input (BatchMode). Host keys are kept in a file of our own, so that a
newly flashed card, which makes a new host key, does not disturb the user's known hosts, and the
hint can give the exact command.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import output_dir

CONNECT_SECONDS = 15
#: A server that is silent for a minute is lost; an emulated one may be busy for seconds.
ALIVE_SECONDS, ALIVE_TIMES = 10, 6
#: ssh's own exit status when anything but the script on the board failed.
SSH_FAILED = 255
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:%-]*[A-Za-z0-9])?")


class Unreachable(UserError):
    """No connection or no login. ``lost``: an earlier command on the connection succeeded."""

    def __init__(self, message: str, *, hint: str | None = None, lost: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.lost = lost


@dataclass
class Connection:
    """How to reach a board. Each command is a connection of its own."""

    console: Console
    host: str
    user: str = "root"
    port: int = 22
    identity: Path | None = None
    known_hosts: Path = field(default_factory=lambda: output_dir() / "ssh" / "known_hosts")
    reached: bool = False

    def __post_init__(self) -> None:
        """Take ``user@host`` apart; refuse what ssh would take for an option or could not use."""
        user, at, host = self.host.rpartition("@")
        if at:
            self.user, self.host = user, host
        for name, value in (("host", self.host), ("user", self.user)):
            if not NAME.fullmatch(value):
                raise UserError(f"{value!r} cannot be the name of a {name}")
        if not 0 < self.port < 65536:
            raise UserError(f"the port must be from 1 to 65535, not {self.port}")
        if self.identity is not None and not self.identity.expanduser().is_file():
            raise UserError(
                f"there is no private key at {self.identity}, which is needed to log in to "
                f"{self.host}",
                hint="--identity names the private key whose public half the image got with "
                "--ssh-key",
            )

    @property
    def flags(self) -> str:
        """The flags of our tasks that lead to the same board, for hints."""
        words = ["--host", self.host if self.user == "root" else f"{self.user}@{self.host}"]
        words += ["--port", str(self.port)] if self.port != 22 else []
        words += ["--identity", str(self.identity)] if self.identity is not None else []
        return shlex.join(words)

    def by_hand(self, command: str) -> str:
        """What to type to run a command on the same board, for hints."""
        words = ["ssh"] + (["-p", str(self.port)] if self.port != 22 else [])
        words += ["-i", str(self.identity)] if self.identity is not None else []
        return shlex.join([*words, f"{self.user}@{self.host}", command])

    def command(self, script: str) -> list[str]:
        """The command line of ssh that runs a shell script on the board."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self.known_hosts).replace("%", "%%"),
            "GlobalKnownHostsFile": "none",
            "HashKnownHosts": "no",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": str(ALIVE_SECONDS),
            "ServerAliveCountMax": str(ALIVE_TIMES),
            "ForwardAgent": "no",
            "ClearAllForwardings": "yes",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-T", "-p", str(self.port), "-l", self.user]
        for name, value in options.items():
            quoted = f'"{value}"' if " " in value else value
            words += ["-o", f"{name}={quoted}"]
        if self.identity is not None:
            words += ["-o", "IdentitiesOnly=yes", "-i", str(self.identity.expanduser())]
        return [*words, "--", self.host, script]

    def run(
        self, script: str, *, what: str, stdin: bytes | None = None, timeout: float | None = 120
    ) -> bytes:
        """Run a shell script on the board to its end; what it wrote to stdout.

        Raises Unreachable when the board cannot be reached or entered, CommandError (with what
        it said) when the command fails there.
        """
        status, output, errors = self.attempt(script, what=what, stdin=stdin, timeout=timeout)
        if status != 0:
            raise CommandError(
                f"on {self.host}: {what}", status, (errors or output.decode("utf-8", "replace")),
                self.console.log_path,
            )  # fmt: skip
        return output

    def attempt(
        self, script: str, *, what: str, stdin: bytes | None = None, timeout: float | None = 120
    ) -> tuple[int, bytes, str]:
        """Like ``run``, but a failing command is an answer: exit status, stdout, stderr."""
        words = self._logged_command(script)
        try:
            done = subprocess.run(words, input=stdin or b"", capture_output=True, timeout=timeout)
        except FileNotFoundError as error:
            raise _no_ssh() from error
        except subprocess.TimeoutExpired as error:
            raise Unreachable(
                f"{self.host} did not {what} within {timeout:.0f} s",
                hint="is the board busy? try again",
                lost=self.reached,
            ) from error
        errors = done.stderr.decode("utf-8", "replace").strip()
        if errors:
            self.console.log(errors)
        if done.returncode == SSH_FAILED:
            raise self._explained(errors)
        self.reached = True
        return done.returncode, done.stdout, errors

    def lines(self, script: str) -> Generator[str, None, None]:
        """Run a script and yield each line that it prints; close the generator to hang up.

        Raises Unreachable when the connection fails, and when the script or the connection ends.
        """
        words = self._logged_command(script)
        with tempfile.TemporaryFile() as errors:
            try:
                child = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
                )
            except FileNotFoundError as error:
                raise _no_ssh() from error
            with child:
                try:
                    assert child.stdout is not None
                    for raw in child.stdout:
                        self.reached = True
                        line = raw.decode("utf-8", "replace").rstrip("\r\n")
                        self.console.log(line)
                        yield line
                    child.wait()
                finally:
                    child.terminate()
            errors.seek(0)
            text = errors.read().decode("utf-8", "replace").strip()
            raise self._explained(text or "the connection ended")

    def read(self, path: str, *, what: str) -> bytes:
        """A file of the board, whole: its hash is taken there and compared here."""
        name = shlex.quote(path)
        output = self.run(f"sha256sum <{name} && cat {name}", what=what, timeout=300)
        head, _, content = output.partition(b"\n")
        if head.split(b" ")[0].decode("ascii", "replace") != hashlib.sha256(content).hexdigest():
            raise Unreachable(
                f"{path} did not arrive whole from {self.host} ({len(content)} bytes)",
                hint="nothing was kept; try again",
                lost=True,
            )
        return content

    def free_kib(self, folder: str) -> int:
        """Free space of the file system that a folder of the board is on, in KiB."""
        text = self.run(f"df -Pk {shlex.quote(folder)}", what=f"tell the space in {folder}")
        fields = text.decode("utf-8", "replace").strip().splitlines()[-1].split()
        try:
            return int(fields[3])
        except (IndexError, ValueError) as error:
            raise UserError(f"{self.host} did not tell the free space of {folder}") from error

    def release(self) -> dict[str, str]:
        """``/etc/pico-image-release`` of the board. Raises UserError when it is none of ours."""
        status, output, _ = self.attempt(
            "cat /etc/pico-image-release", what="tell which image runs there"
        )
        if status != 0:
            raise UserError(
                f"{self.host} runs none of our images: it has no /etc/pico-image-release",
                hint="flash one (invoke build-image, invoke flash), or check the name",
            )
        pairs = (line.partition("=") for line in output.decode("utf-8", "replace").splitlines())
        return {key: value.strip('"') for key, sign, value in pairs if sign}

    def has_program(self, name: str) -> bool:
        return self.attempt(f"command -v {name}", what=f"look for {name}")[0] == 0

    def runs_program(self, name: str) -> bool:
        return self.attempt(f"pidof {name}", what=f"look for a running {name}")[0] == 0

    def warn_about_twins(self) -> None:
        """Warn when a multicast name has several addresses: maybe two boards have one name."""
        if not self.host.endswith(".local"):
            return
        with contextlib.suppress(OSError):
            infos = socket.getaddrinfo(self.host, self.port, socket.AF_INET, socket.SOCK_STREAM)
            addresses = sorted({str(info[4][0]) for info in infos})
            if len(addresses) > 1:
                self.console.warn(
                    f"{self.host} has {len(addresses)} addresses ({', '.join(addresses)}): one "
                    "board on two networks, or two boards with one name; give an address to be sure"
                )

    def _logged_command(self, script: str) -> list[str]:
        self.known_hosts.parent.mkdir(parents=True, exist_ok=True)
        words = self.command(script)
        self.console.log("+ " + shlex.join(words))
        return words

    def _explained(self, errors: str) -> Unreachable:
        """What ssh's message means and what to do about it."""
        target = f"{self.user}@{self.host}" + (f" port {self.port}" if self.port != 22 else "")
        message, hint = f"could not reach {target}", "is the board on, and on this network?"
        for pattern, what, remedy in _MEANINGS:
            if re.search(pattern, errors, re.IGNORECASE):
                message, hint = what.format(target=target, host=self.host), remedy
                break
        name = f"[{self.host}]:{self.port}" if self.port != 22 else self.host
        forget = shlex.join(["ssh-keygen", "-f", str(self.known_hosts), "-R", name])
        said = "\n".join(f"    {line}" for line in errors.splitlines()[-4:])
        return Unreachable(
            f"{message}\n{said}" if said else message,
            hint=hint.format(forget=forget),
            lost=self.reached,
        )


_MEANINGS: Sequence[tuple[str, str, str]] = (
    (
        r"REMOTE HOST IDENTIFICATION|Host key verification failed|host key .*changed",
        "{host} is not the board that had this name before: its host key changed",
        "a newly flashed card has a new key, and two boards can have one name (give "
        "its address instead). If it is the right board: {forget}",
    ),
    (
        r"Could not resolve|Name or service not known|nodename nor servname",
        "there is no host with the name {host}",
        "over USB the board is 172.32.0.93; its name is the variant's hostname with .local, and "
        "needs mDNS on this machine (avahi on Linux)",
    ),
    (
        r"UNPROTECTED PRIVATE KEY|bad permissions",
        "ssh refuses the private key: others may read it",
        "chmod 600 the key file",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "{target} refuses the login: no key fits",
        "the image must have been built with --ssh-key PUBLIC_KEY, and --identity must name its "
        "private half (or an agent hold it)",
    ),
    (
        r"Connection refused",
        "{target} is there, but no SSH server answers",
        "is it still booting? An image without --ssh-key has no SSH server in the emulator",
    ),
    (
        r"closed by|reset by|Broken pipe|connection ended|not responding|lost connection",
        "the connection to {target} was lost",
        "is the board still on? It may not have finished booting; try again",
    ),
    (
        r"timed out|No route to host|Network is unreachable",
        "{target} does not answer",
        "is the board on, has it booted, and is it on this network? Over USB it is 172.32.0.93",
    ),
)


def _no_ssh() -> UserError:
    return UserError(
        "could not find the program ssh, which is needed to reach a board",
        hint="apt-get install openssh-client",
    )
