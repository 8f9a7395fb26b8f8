"""Boot a card image in QEMU as the board would boot it, and talk to its console.

Kernel, initramfs and command line come out of the card itself (``bootloader.load``). The card
given to the machine is a working copy, so the built image stays as it is.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pico_image.base.console import Console, terminate_group
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, scratch_folder
from pico_image.emulator.bootloader import Loaded, load, working_copy

RAM_MIB = 64
#: A boot takes 5 s, a shutdown 2, most commands none; a busy machine may need ten times as
#: long, and a dead guest usually prints an error or exits first.
BOOT_SECONDS = 300.0
POWEROFF_SECONDS = 180.0
COMMAND_SECONDS = 300.0
#: The address of the machine in the network that QEMU makes (its `user` back end).
GUEST = "10.0.2.15"
#: Words before our process id and a command: the command ends when this process ends. The shell
#: checks that this process is still its parent, for setpriv only reports a later death.
LEASH = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ $PPID = "$0" ] && exec "$@"')
#: The kernel's last line of a shutdown.
POWERED_OFF = "reboot: Power down"
#: The initramfs's line to its end: the console brings it in pieces, and its end has the reason.
DEAD = re.compile(r"Kernel panic|initramfs: FAILED: .*\n")


class MachineEnded(UserError):
    """The machine stopped, or did not print the expected text in time."""


class Machine:
    """A running QEMU. Its console goes to a log file and to ``transcript()``."""

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        self._child = child
        self.log = log
        self._text = ""
        self._seen = 0
        self._changed = threading.Condition()
        self._echo: IO[bytes] | None = None
        self._commands = 0
        self.began = time.monotonic()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def transcript(self) -> str:
        """All text of the console since power-on."""
        with self._changed:
            return self._text

    def wait_for(
        self, pattern: str, timeout: float = BOOT_SECONDS, *, what: str = ""
    ) -> re.Match[str]:
        """Wait until the console prints ``pattern`` (a regular expression; ^ and $ match at lines).

        Looks only at what came after the last match; for a pattern that ends with ``$``, only at
        lines that are whole: half a line was once taken for the name of a result. Raises
        MachineEnded with the console's last lines when the machine stops, panics, or ``timeout``
        seconds go by; ``what`` names what was waited for.
        """
        expected = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                end = len(self._text)
                if pattern.endswith("$") and self._reader.is_alive():
                    end = self._text.rfind("\n") + 1
                match = expected.search(self._text, self._seen, max(end, self._seen))
                if match:
                    self._seen = match.end()
                    return match
                dead = DEAD.search(self._text)
                if dead:
                    raise self._ended(what or pattern, f"it says: {dead[0].strip()}")
                if not self._reader.is_alive():
                    raise self._ended(what or pattern, "it stopped")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._ended(what or pattern, f"nothing of it in {timeout:.0f} s")
                self._changed.wait(min(left, 0.5))

    def send(self, text: str) -> None:
        """Type a line."""
        self.write((text + "\n").encode())

    def write(self, data: bytes) -> None:
        """Type bytes as they are (byte 3 is Ctrl-C)."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
            self._child.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._ended("typing on its console", "it stopped") from error

    def run(self, command: str, timeout: float = COMMAND_SECONDS) -> tuple[int, str]:
        """Run a shell command on the console; its exit status and what it printed.

        The end is found by a mark that the echo of the typed line does not contain.
        """
        self._commands += 1
        begin, end = f"begin-{self._commands}-", f"end-{self._commands}-"
        self.send(f"echo {begin[:-1]}''-; {command}\necho {end[:-1]}''-$?")
        self.wait_for(rf"^{begin}\r?$", timeout, what=f"the start of `{command}`")
        start = self._seen
        match = self.wait_for(rf"{end}(\d+)\r?$", timeout, what=f"the end of `{command}`")
        text = self.transcript()[start : match.start()].replace("\r", "")
        echoed = re.compile(rf"^.*echo {end[:-1]}''-\$\?\n", re.MULTILINE)
        return int(match[1]), echoed.sub("", text).lstrip("\n")

    def wait_for_shell(self) -> None:
        """Wait for the console's first prompt."""
        self.wait_for(r"root@[\w.-]+:\S*# ?", BOOT_SECONDS, what="a shell on the console")

    def poweroff(self) -> None:
        """Shut down through the console's shell. Raises MachineEnded when that does not work."""
        self.send("poweroff")
        deadline = time.monotonic() + POWEROFF_SECONDS
        while self.running and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(0.1)
        if self.running:
            raise self._ended("its power-off", f"it still runs after {POWEROFF_SECONDS:.0f} s")
        self._reader.join(5)
        if POWERED_OFF not in self.transcript():
            raise self._ended("its power-off", "it ended without one")

    def kill(self) -> None:
        """Cut the power: what QEMU had not yet written to the card's file is lost."""
        self._child.kill()
        self._child.wait()
        self._reader.join(5)

    def interact(self) -> int:
        """Connect this terminal to the console until the machine ends; QEMU's exit status.

        Raises MachineEnded when something killed QEMU.
        """
        with self._changed:
            shown = self._text[self._seen :]
        status = _attach(self._child, self._set_echo, shown.encode())
        if status < 0:
            self._reader.join(5)
            raise self._ended("its power-off", f"QEMU was killed by signal {-status}")
        return status

    def close(self) -> None:
        """End QEMU if it still runs."""
        if self.running:
            terminate_group(self._child)  # type: ignore[arg-type]
        self._reader.join(5)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _set_echo(self, stream: IO[bytes] | None) -> None:
        with self._changed:
            self._echo = stream

    def _read(self) -> None:
        assert self._child.stdout is not None
        handle = self._child.stdout.fileno()
        # A read may end inside a character: the table's "·" came out as two question marks.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self.log.open("ab", buffering=0) as log:
            while data := os.read(handle, 65536):
                with contextlib.suppress(OSError):  # a full disk must not stop the machine
                    log.write(data)
                with self._changed:
                    self._text += decoder.decode(data)
                    echo = self._echo
                    self._changed.notify_all()
                if echo is not None:
                    with contextlib.suppress(OSError):
                        echo.write(data)
                        echo.flush()
        with self._changed:
            self._changed.notify_all()

    def _ended(self, what: str, why: str) -> MachineEnded:
        tail = "\n".join(f"    {line.rstrip()}" for line in self._text.splitlines()[-15:])
        return MachineEnded(
            f"the emulated machine did not give {what}: {why}\n{tail}\n  console log: {self.log}"
        )


@contextlib.contextmanager
def boot(
    console: Console,
    card: Path,
    *,
    append: str = "",
    forward: Sequence[tuple[int, int]] = (),
    ethernet: bool = False,
) -> Iterator[Machine]:
    """Power on a machine with ``card`` (a working copy: it is written to) in its slot.

    ``append`` is added to the kernel's command line. ``forward`` makes (host port, guest port)
    pairs reachable on the loopback address (the machine itself reaches nothing). ``ethernet``
    gives it an interface without; else there is no network. The end of the block ends QEMU if it
    still runs.
    """
    name = f"console-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log = output_dir() / "emulator" / "logs" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder("pico-boot-") as place:
        loaded = load(console, card, place)
        command = _command(card, loaded, append, forward if forward or ethernet else None)
        console.log("+ " + " ".join(command))
        if shutil.which(command[0]) is None:
            raise UserError(
                f"could not find {command[0]}, which is needed to boot the image",
                hint="apt-get install qemu-system-arm",
            )
        console.info(f"console log: {log}")
        # Its own session: Ctrl-C ends this program, which then ends QEMU in order. Where this
        # program is killed, the kernel does: a forgotten machine takes a whole core for ever.
        leash = [*LEASH, str(os.getpid())] if shutil.which(LEASH[0]) else []
        child = subprocess.Popen(
            [*leash, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
        machine = Machine(child, log)
        try:
            yield machine
        finally:
            machine.close()


def _command(
    card: Path, loaded: Loaded, append: str, forward: Sequence[tuple[int, int]] | None
) -> list[str]:
    """``forward`` None: no network interface."""
    network = ["-nic", "none"]
    if forward:
        append = f"{append} pico.address={GUEST}"
    if forward is not None:
        rules = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for host, guest in forward)
        network = [
            "-netdev",
            f"user,id=net0,restrict=on{rules}",
            "-device",
            "virtio-net-device,netdev=net0",
        ]
    file = str(card).replace(",", ",,")
    return [
        *("qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a7", "-m", str(RAM_MIB)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(loaded.kernel), "-initrd", str(loaded.ramdisk)),
        *("-append", f"{loaded.command_line} {append}".strip()),
        *("-drive", f"if=none,id=card,format=raw,file={file}"),
        *("-device", "sdhci-pci", "-device", "sd-card,drive=card"),
        *("-device", "virtio-rng-device"),
        *network,
        # mux: Ctrl-A X ends QEMU; Ctrl-C is the guest's.
        *("-chardev", "stdio,id=console,mux=on,signal=off"),
        *("-serial", "chardev:console", "-mon", "chardev=console"),
    ]


def interactive(
    console: Console,
    image: Path,
    *,
    forward: Sequence[tuple[int, int]] = (),
    ethernet: bool = False,
) -> int:
    """Boot a working copy of ``image`` with its console on this terminal; the exit status.

    ``forward`` and ``ethernet`` as for ``boot``. 0 when the guest powered off or the user left
    with Ctrl-A X.
    """
    with scratch_folder("pico-emulate-") as place:
        card = working_copy(image, place)
        console.info(
            "a copy of the image is booted; what it writes is gone at the end\n"
            "end it with `poweroff` on its console, or at once with Ctrl-A X "
            "(Ctrl-C goes to the machine)"
        )
        with boot(console, card, forward=forward, ethernet=ethernet) as machine:
            return machine.interact()


def _attach(
    child: subprocess.Popen[bytes],
    set_echo: Callable[[IO[bytes] | None], None],
    shown: bytes = b"",
) -> int:
    """Pass what is typed (or piped in) to ``child`` until it ends; its exit status.

    ``set_echo`` connects the child's output to a stream. When standard input ends, the child
    runs on to its own end. ``shown`` is printed first: earlier text of the console.
    """
    out = sys.stdout.buffer
    out.write(shown)
    out.flush()
    set_echo(out)
    try:
        with _raw(sys.stdin):
            _pump(child)
        return child.wait()
    finally:
        set_echo(None)


def _pump(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    handle = sys.stdin.fileno()
    while child.poll() is None:
        ready, _, _ = select.select([handle], [], [], 0.2)
        if not ready:
            continue
        data = os.read(handle, 4096)
        if not data:
            return
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(data)
            child.stdin.flush()


@contextlib.contextmanager
def _raw(stream: IO[str]) -> Iterator[None]:
    if not stream.isatty():
        yield
        return
    handle = stream.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setraw(handle)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
