"""Run a program in a container: output line by line, cancelled or lost within ten seconds.

Containers that killed runs left are removed; those of other machines are not touched.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType

import docker.errors
import requests
from docker.models.containers import Container as ApiContainer
from docker.types import CancellableStream

from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.engine.client import ANSWER_SECONDS, CAPABILITIES, Container, Engine

#: After this time without output the engine gets a ping; after two without an answer (PING_SECONDS
#: each) it counts as lost: 2 * (1.5 + 3) = 9 s.
QUIET_SECONDS = 1.5
#: A longer last line counts as missed, and the whole output is read once more.
LAST_LINE_BYTES = 65536
#: For each of two attempts to kill and remove a container, so that Ctrl-C never takes over 10 s.
DISCARD_SECONDS = 4
#: With two streams, Podman cut lines of one with pieces of the other, and Docker showed a
#: compiler's error before the line of make that had started it.
ONE_STREAM = 'exec "$@" 2>&1'
#: dockerd itself waits 10 s for a container's programs before it kills them, a busy one longer.
REMOVE_SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """How the program of a container ended."""

    status: int
    out_of_memory: bool


def run(
    engine: Engine,
    console: Console,
    container: Container,
    *,
    what: str,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """Run a container to its end; each line of its output goes to the log and ``on_line``.

    The container is removed in any case; Ctrl-C, SIGTERM and SIGHUP kill its programs first.

    Raises EngineLost within 10 s when the engine is gone, KeyboardInterrupt when cancelled.
    """
    console.log(shlex.join(command_line(engine, container)))
    with engine.guard(what), _signals_interrupt():
        if container.name is not None:
            remove_leftover(engine, console, container.name)
        made = engine.create(
            replace(container, command=["sh", "-c", ONE_STREAM, "-", *container.command])
        )
        try:
            made.start()
            _follow(engine, console, made, what, on_line)
            answer = made.wait(timeout=ANSWER_SECONDS)
            made.reload()
            return Ended(int(answer["StatusCode"]), bool(made.attrs["State"].get("OOMKilled")))
        finally:
            _discard(engine, console, made)


def killed(status: int) -> str | None:
    """The hint for the status of a container whose first program got SIGKILL; None for another."""
    if status != 128 + signal.SIGKILL:
        return None
    return (
        "its container was killed from outside (`docker kill`, an engine that was stopped, a "
        "machine without memory): run the same command again, finished work is kept"
    )


def output_of(engine: Engine, console: Console, container: Container, *, what: str) -> list[str]:
    """The lines that a short program prints. Raises CommandError when it fails."""
    lines: list[str] = []
    ended = run(engine, console, container, what=what, on_line=lines.append)
    if ended.status != 0:
        raise CommandError(
            what, ended.status, "\n".join(lines[-5:]), console.log_path, hint=killed(ended.status)
        )
    return lines


def _follow(
    engine: Engine,
    console: Console,
    container: ApiContainer,
    what: str,
    on_line: Callable[[str], None] | None,
) -> None:
    """Pass on the container's lines until it ends; notice a lost engine and a cancellation.

    A thread of its own reads the stream: a read from an engine behind a network that is gone
    never returns.
    """
    chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream: CancellableStream[bytes] = container.logs(stream=True, follow=True)

    def read() -> None:
        try:
            for chunk in stream:
                chunks.put(chunk)
        except Exception as error:  # wait() tells a broken stream from one that ended
            console.log(f"the container's output ended: {error}")
        finally:
            chunks.put(None)

    def ended() -> bool:
        try:
            state = engine.watch.api.inspect_container(str(container.id))["State"]["Status"]
        except docker.errors.NotFound:
            return True
        except (docker.errors.DockerException, requests.RequestException):
            return False  # a lost engine is the pings' business
        return state in ("exited", "stopped", "dead")

    def missed(received: int, last: bytes) -> bytes:
        container.wait(timeout=ANSWER_SECONDS)
        if last.endswith(container.logs(tail=1)):
            return b""
        whole: bytes = container.logs()
        return whole[received:]

    reader = threading.Thread(target=read, name=f"output of {what}", daemon=True)
    reader.start()
    try:
        for line in _lines(engine, console, chunks, ended, missed):
            console.log(line)
            if on_line is not None:
                on_line(line)
    finally:
        # This ends the read of the thread and closes the connection.
        with contextlib.suppress(Exception):
            stream.close()
        reader.join(1)


def _lines(
    engine: Engine,
    console: Console,
    chunks: queue.SimpleQueue[bytes | None],
    ended: Callable[[], bool],
    missed: Callable[[int, bytes], bytes],
) -> Iterator[str]:
    """Whole lines out of chunks, until None; raises when cancelled or the engine is lost.

    A stream that is quiet although its container has ``ended`` counts as ended, too: Podman looks
    whether the container runs and then waits for the event of its end, and never closes the stream
    of a program that ends in between (by all signs why a test hung for an hour; not provoked).

    ``missed`` returns the rest of the output, from the number of bytes received and the last of
    them: an engine under load was seen to close the stream before the program's last line.
    """
    rest, recent, received = b"", b"", 0
    heard = time.monotonic()
    over = False
    while True:
        if console.cancelled.is_set():
            raise KeyboardInterrupt
        try:
            chunk = chunks.get(timeout=0.2)
        except queue.Empty:
            if time.monotonic() - heard <= QUIET_SECONDS:
                continue
            _ping(engine)
            if not over:
                over = ended()
                heard = time.monotonic()
                continue
            console.log("the engine keeps the output of a container open that has ended")
            chunk = None
        heard = time.monotonic()
        last = chunk is None
        chunk = missed(received, recent) if chunk is None else chunk
        received += len(chunk)
        recent = (recent + chunk)[-LAST_LINE_BYTES:]
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            # A progress bar redraws its line with carriage returns; keep the last state.
            yield raw.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
        if last:
            if rest:
                yield rest.decode(errors="replace")
            return


def _ping(engine: Engine) -> None:
    try:
        engine.watch.ping()
    except (docker.errors.DockerException, requests.RequestException):
        time.sleep(QUIET_SECONDS)
        engine.watch.ping()


def _discard(engine: Engine, console: Console, container: ApiContainer) -> None:
    """Kill and remove; waits for two short answers of the engine at most."""
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
            # 409: a busy engine still works on the request that timed out.
            console.log(f"container {container.id} could not be removed yet: {error}")
            time.sleep(0.2)
        except requests.RequestException as error:
            console.log(f"container {container.id} could not be removed yet: {error}")
            unanswered += 1


def command_line(
    engine: Engine, container: Container, *, workdir: str = "", interactive: bool = False
) -> list[str]:
    """Words of the ``docker run`` that does the same: for the log, for shells and menus."""
    words = [*engine.command, "run", "--rm", *(["-it"] if interactive else [])]
    words += [] if container.network else ["--network", "none"]
    words += ["--platform", engine.platform] if engine.platform else []
    words += ["--cap-drop", "ALL", *(f"--cap-add={name}" for name in CAPABILITIES)]
    words += ["--security-opt", "no-new-privileges", "--user", "0:0", "--entrypoint", ""]
    for mount in container.mounts:
        words += ["-v", f"{mount.volume}:{mount.target}{':ro' if mount.read_only else ''}"]
    for key, value in container.env.items():
        # Longer values are data for a script of ours, which would only clutter the log.
        words += ["-e", f"{key}={value if len(value) < 200 else '...'}"]
    words += ["-w", workdir] if workdir else []
    return [*words, container.image, *container.command]


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP act like Ctrl-C, so that a closed terminal leaves no container."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- what killed runs left ---------------------------------------------------------------


def remove_orphans(engine: Engine, console: Console) -> None:
    """Remove stopped containers of processes of this machine that no longer run.

    A run that was killed while it wrote to a volume left the container that it used: never
    started, it stayed for ever, and its volumes could not be removed.
    """
    with engine.guard("look for containers that an earlier run left"):
        # No filter by state: Podman refuses "dead", which it does not have.
        ours = {"label": f"{engine.owner}=container"}
        for item in engine.client.api.containers(all=True, filters=ours):
            if item["State"] not in ("created", "exited", "dead"):
                continue
            client = str(item["Labels"].get(f"{engine.owner}.client", ""))
            host, _, pid = client.rpartition(":")
            if host == socket.gethostname() and pid.isdecimal() and not _alive(int(pid)):
                console.log(f"removing the container {item['Id'][:12]} that process {pid} left")
                with contextlib.suppress(docker.errors.APIError):  # another run removes it, too
                    engine.client.api.remove_container(item["Id"], force=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True


def remove_leftover(engine: Engine, console: Console, name: str) -> None:
    """Remove the container ``name`` of a killed run. Raises UserError when it is in use."""
    try:
        container = engine.client.containers.get(name)
    except docker.errors.NotFound:
        return
    client = str(container.labels.get(f"{engine.owner}.client", ""))
    host, _, pid = client.rpartition(":")
    user = ""
    if host and host != socket.gethostname():
        user = f"from the machine {host}"
    elif pid.isdecimal() and int(pid) != os.getpid() and _alive(int(pid)):
        # The lock of a build takes two names of one engine (a context, a socket) for two engines.
        user = f"by process {pid} of this machine"
    if container.status == "running" and user:
        raise UserError(
            f"{name} is being used {user}: its container is running on the engine at "
            f"{engine.address}",
            hint=f"wait for it to end, or stop it with `{engine.program} rm -f {name}`",
        )
    console.info(f"removing the container {name} that an earlier run left")
    give_up = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            container.remove(force=True)
            return
        except docker.errors.NotFound:
            return
        except docker.errors.APIError:
            # 409: the engine still carries out an earlier request.
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
