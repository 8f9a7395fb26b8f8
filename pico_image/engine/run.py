"""Run a program in a container: output line by line, cancelled or lost within ten seconds."""

from __future__ import annotations

import contextlib
import queue
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import docker.errors
import requests
from docker.models.containers import Container
from docker.types import CancellableStream

from pico_image.base.console import Console
from pico_image.base.errors import CommandError
from pico_image.engine.client import ANSWER_SECONDS, CAPABILITIES, INTERRUPTED, Engine, Mount
from pico_image.engine.leftovers import remove_leftover

#: With no output for this long the engine is asked whether it is there; two unanswered
#: questions (PING_SECONDS each) and it counts as lost: 2 * (1.5 + 3) = 9 s.
QUIET_SECONDS = 1.5
#: A longer last line counts as missed, and the whole output is asked for once more.
LAST_LINE_BYTES = 65536
#: For each of two attempts to kill and remove a container, so that Ctrl-C never takes over 10 s.
DISCARD_SECONDS = 4
#: Two streams reach us as two pipes filled them: Podman cut lines of one with pieces of the other,
#: and Docker showed a compiler's error before the line of make that had started it.
ONE_STREAM = 'exec "$@" 2>&1'


@dataclass(frozen=True)
class Ended:
    """How a container's program ended."""

    status: int
    out_of_memory: bool


def run(
    engine: Engine,
    console: Console,
    image: str,
    command: Sequence[str],
    *,
    what: str,
    name: str | None = None,
    mounts: Sequence[Mount] = (),
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    network: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a program as root in a container to its end; each line goes to the log and ``on_line``.

    ``name`` makes it the only one of that name in the engine. The container is removed
    whatever happens; on Ctrl-C, SIGTERM or SIGHUP its programs are killed first.

    Raises EngineLost within 10 s when the engine is gone, KeyboardInterrupt when cancelled.
    """
    environment = dict(env or {})
    console.log(shown(engine, image, command, mounts, environment, workdir, network))
    with engine.guard(what), _signals_interrupt():
        if name is not None:
            remove_leftover(engine, console, name)
        container = engine.create(
            image,
            ["sh", "-c", ONE_STREAM, "-", *command],
            name=name,
            mounts=mounts,
            env=environment,
            workdir=workdir,
            network=network,
        )
        try:
            container.start()
            _follow(engine, console, container, what, on_line)
            answer = container.wait(timeout=ANSWER_SECONDS)
            container.reload()
            killed = bool(container.attrs["State"].get("OOMKilled"))
            return Ended(int(answer["StatusCode"]), killed)
        finally:
            _discard(engine, console, container)


def killed(status: int) -> str | None:
    """The hint for the status of a container whose first program got SIGKILL; None for another."""
    if status != 128 + signal.SIGKILL:
        return None
    return (
        "its container was killed from outside (`docker kill`, an engine that was stopped, a "
        "machine without memory): run the same command again, what was finished is kept"
    )


def output_of(
    engine: Engine,
    console: Console,
    image: str,
    command: Sequence[str],
    *,
    what: str,
    mounts: Sequence[Mount] = (),
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """The lines that a short program prints. Raises CommandError when it fails."""
    lines: list[str] = []
    ended = run(
        engine, console, image, command, what=what, mounts=mounts, env=env, on_line=lines.append
    )
    if ended.status != 0:
        raise CommandError(
            what, ended.status, "\n".join(lines[-5:]), console.log_path, hint=killed(ended.status)
        )
    return lines


def _follow(
    engine: Engine,
    console: Console,
    container: Container,
    what: str,
    on_line: Callable[[str], None] | None,
) -> None:
    """Hand on the container's lines until it ends; notice a lost engine and a cancellation.

    The stream is read by a thread of its own: a read from an engine that has vanished
    behind a network never returns.
    """
    chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream: CancellableStream[bytes] = container.logs(stream=True, follow=True)

    def read() -> None:
        try:
            for chunk in stream:
                chunks.put(chunk)
        except Exception as error:  # a broken stream ends like a closed one: wait() tells which
            console.log(f"the container's output ended: {error}")
        finally:
            chunks.put(None)

    def missed(received: int, last: bytes) -> bytes:
        container.wait(timeout=ANSWER_SECONDS)
        if last.endswith(container.logs(tail=1)):
            return b""
        whole: bytes = container.logs()
        return whole[received:]

    reader = threading.Thread(target=read, name=f"output of {what}", daemon=True)
    reader.start()
    try:
        for line in _lines(engine, chunks, missed):
            console.log(line)
            if on_line is not None:
                on_line(line)
    finally:
        # Ends the thread's read, and with it the connection.
        with contextlib.suppress(Exception):
            stream.close()
        reader.join(1)


def _lines(
    engine: Engine,
    chunks: queue.SimpleQueue[bytes | None],
    missed: Callable[[int, bytes], bytes],
) -> Iterator[str]:
    """Whole lines out of chunks, until None; raises when cancelled or the engine is lost.

    ``missed`` is asked at the end for what follows that many bytes, of which it gets the last:
    an engine under load was seen to close the stream before a program's last words.
    """
    rest, recent, received = b"", b"", 0
    heard = time.monotonic()
    while True:
        if engine.cancelled.is_set() or INTERRUPTED.is_set():
            raise KeyboardInterrupt
        try:
            chunk = chunks.get(timeout=0.2)
        except queue.Empty:
            if time.monotonic() - heard > QUIET_SECONDS:
                _ping(engine)
                heard = time.monotonic()
            continue
        heard = time.monotonic()
        ended = chunk is None
        chunk = missed(received, recent) if chunk is None else chunk
        received += len(chunk)
        recent = (recent + chunk)[-LAST_LINE_BYTES:]
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            # A progress bar redraws its line with carriage returns: the last state counts.
            yield raw.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
        if ended:
            if rest:
                yield rest.decode(errors="replace")
            return


def _ping(engine: Engine) -> None:
    try:
        engine.watch.ping()
    except (docker.errors.DockerException, requests.RequestException):
        time.sleep(QUIET_SECONDS)
        engine.watch.ping()


def _discard(engine: Engine, console: Console, container: Container) -> None:
    """Kill and remove; never waits longer than two short questions to the engine."""
    give_up = time.monotonic() + 2 * DISCARD_SECONDS
    unanswered = 0
    while unanswered < 2 and (left := give_up - time.monotonic()) > 0:
        try:
            patient = engine.watch_for(min(DISCARD_SECONDS, 1 + int(left)))
            patient.api.remove_container(str(container.id), force=True)
            return
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            # 409: a busy engine is still at what it did not answer in time.
            console.log(f"container {container.id} could not be removed yet: {error}")
            time.sleep(0.2)
        except requests.RequestException as error:
            console.log(f"container {container.id} could not be removed yet: {error}")
            unanswered += 1


def shown(
    engine: Engine,
    image: str,
    command: Sequence[str],
    mounts: Sequence[Mount],
    env: Mapping[str, str],
    workdir: str | None,
    network: bool,
    *,
    interactive: bool = False,
) -> str:
    """The same as a ``docker run`` command line, for the log."""
    return shlex.join(
        command_line(engine, image, command, mounts, env, workdir, network, interactive=interactive)
    )


def command_line(
    engine: Engine,
    image: str,
    command: Sequence[str],
    mounts: Sequence[Mount],
    env: Mapping[str, str],
    workdir: str | None,
    network: bool,
    *,
    interactive: bool = False,
) -> list[str]:
    """Words of the ``docker run`` that does the same; shells and menus really use it."""
    words = [*engine.command, "run", "--rm", *(["-it"] if interactive else [])]
    words += [] if network else ["--network", "none"]
    words += ["--platform", engine.platform] if engine.platform else []
    words += ["--cap-drop", "ALL", *(f"--cap-add={name}" for name in CAPABILITIES)]
    words += ["--security-opt", "no-new-privileges", "--user", "0:0", "--entrypoint", ""]
    for mount in mounts:
        words += ["-v", f"{mount.volume}:{mount.target}{':ro' if mount.read_only else ''}"]
    for key, value in env.items():
        # Longer ones are data for a script of ours, kept out of the log's way.
        words += ["-e", f"{key}={value if len(value) < 200 else '...'}"]
    words += ["-w", workdir] if workdir else []
    return [*words, image, *command]


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP act like Ctrl-C, so that a closed terminal leaves no container behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
