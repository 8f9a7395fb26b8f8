"""A booted emulator image with an SSH server, and lines to it that can be cut."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.board import ssh
from pico_image.board.ssh import Connection
from pico_image.config import configuration
from pico_image.config.schema import Variant
from pico_image.config.target import Target
from pico_image.emulator.backend import Backend
from pico_image.emulator.bootloader import working_copy
from pico_image.emulator.qemu import Machine, MachineEnded, boot
from pico_image.image.build import Login, make_image
from tests.support import port_scan
from tests.support.model_cards import model_folder

FAST = ("--quick",)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def key_pair(folder: Path, name: str) -> Path:
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@dataclass(frozen=True)
class Board:
    """A booted emulator image with an SSH server, and how to reach it."""

    connection: Connection
    machine: Machine
    folder: Path
    programs: Path
    #: The board's TCP ports that lead out, and where to.
    forwards: dict[int, int]

    def sh(self, command: str) -> str:
        return self.connection.run(command, what="prepare a test").decode()

    def over(self, port: int) -> Connection:
        """The same board through another port, whose key is learnt anew."""
        return replace(self.connection, port=port, reached=False)


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Board]:
    """Build the image, boot it, wait for its shell."""
    console, config = Console(), configuration.load()
    key = key_pair(folder, "key")
    variant = Variant(
        name="emulator-ssh",
        title="the emulator with an SSH server and a small model",
        board="emulator",
        packages=["npu-runner", "neon-runner", "npu-bench"],
        hostname="pico-ssh",
        bench_at_boot=False,
    )
    backend = Backend(console)
    models = {"colours": model_folder(folder / "models" / "colours", npu=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_OUTPUT_DIR", str(folder / "out"))
        images = make_image(
            console,
            backend,
            Target.of(config, variant),
            models,
            login=Login(key.with_suffix(".pub")),
        ).folder
        card = working_copy(images / "sdcard.img", folder)
        # An emulated board whose processor others take as well may be long over a key exchange.
        patch.setattr(ssh, "CONNECT_SECONDS", 120)
        with _at_its_shell(console, card) as (machine, forwards):
            connection = Connection(console, "127.0.0.1", port=forwards[22], identity=key)
            binaries = backend.materials(config, ssh_server=False)["programs"] / "bin"
            yield Board(connection, machine, folder, binaries, forwards)


@contextlib.contextmanager
def _at_its_shell(console: Console, card: Path) -> Iterator[tuple[Machine, dict[int, int]]]:
    """The booted machine and its forwarded ports: others when one of them is taken by then."""
    with contextlib.ExitStack() as stack:
        for tries_left in (2, 1, 0):
            forwards = dict(zip(port_scan.PORTS, free_ports(len(port_scan.PORTS)), strict=True))
            there = [(outside, inside) for inside, outside in forwards.items()]
            machine = stack.enter_context(boot(console, card, forward=there))
            try:
                machine.wait_for_shell()
                break
            except MachineEnded as error:
                if not tries_left or "host forwarding rule" not in str(error):
                    raise
        yield machine, forwards


class Line:
    """A port of ours that leads to ``port``, until it is cut or ``limit`` bytes went down it.

    ``upstream``: the limit counts what goes to the board, else what comes from it.
    """

    def __init__(self, port: int, limit: int | None = None, *, upstream: bool = True) -> None:
        self._target = port
        self._left = limit
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._done = threading.Event()

    def __enter__(self) -> Line:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._threads[0].join()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()
        for end in [*self._ends, self._listener]:
            end.close()

    def cut(self) -> None:
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while not self._done.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                continue
            client.settimeout(None)
            server = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [client, server]
            for source, target, counted in (
                (client, server, self._upstream),
                (server, client, not self._upstream),
            ):
                thread = threading.Thread(target=self._pump, args=(source, target, counted))
                thread.start()
                self._threads.append(thread)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if counted and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def kept(board: Board) -> list[Path]:
    return sorted((board.folder / "out" / "results").glob("*"))
