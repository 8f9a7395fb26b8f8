"""Run the benchmark on a board over SSH and fetch its result whole or not at all.

On the board it runs on its own: when the connection is lost, it ends and keeps its result there,
and `invoke bench --host HOST --last` fetches that.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir
from pico_image.board.ssh import Connection, Unreachable
from pico_image.results import store

RESULTS = "/userdata/bench"
#: A result with thousands of samples is some hundred KB.
LEAST_KIB = 2048
WAIT_SECONDS = 900.0
LOG = "/tmp/npu-bench-ssh.log"
#: A session of its own, so that a lost connection does not end it; `tail` shows what it prints.
#: busybox looks at the file once a second; nobody waits for the `sleep`, see `on_line`.
SCRIPT = r"""
log={log}
: >"$log" || exit 1
setsid sh -c '"$@"; echo "npu-bench: exit $?"' sh {command} >"$log" 2>&1 </dev/null &
pid=$!
echo "npu-bench: pid $pid"
tail -n +1 -f "$log" &
tail=$!
wait "$pid"
sleep 10
kill "$tail"
"""


def bench(connection: Connection, *, options: Sequence[str] = (), last: bool = False) -> store.Run:
    """Run npu-bench (with ``options``) on a board, or take its ``last`` result; keep it here.

    Raises Unreachable (a UserError) for all that is wrong with name, key or connection, UserError
    when the board lacks the program or space or its result is broken, CheckFailed when the
    benchmark itself failed.
    """
    console = connection.console
    connection.warn_about_twins()
    release = connection.release()
    console.info(f"{connection.host} runs {release.get('VARIANT', 'an image')}")
    if last:
        path, printed = _newest(connection), ""
    else:
        _check_ready(connection)
        _wait_for_other_run(connection)
        path, printed = _run(connection, options)
    content = connection.read(path, what=f"fetch {path}")
    result = store.parse(content, f"{connection.host}:{path}")
    if last and (run := store.find_run(result)) is not None:
        return run
    return store.keep(console, result, printed, _images_of(release))


def _check_ready(connection: Connection) -> None:
    if not connection.has_program("npu-bench"):
        raise UserError(
            f"{connection.host} has no npu-bench",
            hint="its variant leaves the package out; invoke deploy --programs installs it",
        )
    connection.run(f"mkdir -p {RESULTS}", what=f"make {RESULTS}")
    free = connection.free_kib(RESULTS)
    if free < LEAST_KIB:
        raise UserError(
            f"{connection.host} has {free} KiB left in {RESULTS}; a result needs {LEAST_KIB}",
            hint="delete old results there: " + connection.by_hand(f"rm {RESULTS}/*.json"),
        )


def _wait_for_other_run(connection: Connection) -> None:
    """Two benchmarks on one core would measure each other."""
    deadline = time.monotonic() + WAIT_SECONDS
    with connection.console.progress("wait for the benchmark that runs there", 0) as bar:
        while connection.runs_program("npu-bench"):
            if time.monotonic() > deadline:
                raise UserError(
                    f"a benchmark runs on {connection.host} for {WAIT_SECONDS:.0f} s and more",
                    hint=connection.by_hand("killall npu-bench"),
                )
            bar.note("(started at boot?)")
            time.sleep(3)


def _run(connection: Connection, options: Sequence[str]) -> tuple[str, str]:
    """Run it; the result's path on the board and all that was printed."""
    lines: list[str] = []
    pid = 0
    command = shlex.join(["npu-bench", *options])
    with connection.console.progress(f"npu-bench on {connection.host}", 0) as bar:

        def on_line(line: str) -> bool:
            nonlocal pid
            match = re.fullmatch(r"npu-bench: pid (\d+)", line)
            if match and not pid:
                pid = int(match[1])
                return False
            if re.fullmatch(r"npu-bench: exit \d+", line):
                lines.append(line)
                return True
            lines.append(line)
            bar.note(line.strip())
            return False

        try:
            connection.stream(SCRIPT.format(log=LOG, command=command), on_line=on_line)
        except KeyboardInterrupt:
            _stop(connection, pid)
            raise
        except Unreachable as error:
            if not error.lost or not pid:
                raise
            raise Unreachable(
                f"{error.message}\nthe benchmark keeps running there",
                hint=f"when it is done: invoke bench {connection.flags} --last",
                lost=True,
            ) from error
    return _outcome(connection, lines)


def _outcome(connection: Connection, lines: Sequence[str]) -> tuple[str, str]:
    """From what was printed, the last line of which is the exit status."""
    printed = "\n".join(lines[:-1]) + "\n"
    status = int(lines[-1].rpartition(" ")[2])
    found = None
    for line in lines:
        found = re.fullmatch(store.RESULT_LINE, line) or found
    if found is not None and found["path"]:
        return found["path"], printed
    tail = "\n".join(f"    {line}" for line in lines[-12:-1])
    if status == 2:
        raise UserError(f"npu-bench on {connection.host} refuses:\n{tail}")
    if found is not None:
        raise CheckFailed(f"the benchmark failed: {found['reason'].strip()}\n{printed}")
    raise CheckFailed(f"npu-bench on {connection.host} ended with status {status}:\n{tail}")


def _stop(connection: Connection, pid: int) -> None:
    """End what was started there; the connection may be gone, then it ends by itself."""
    if pid:
        with contextlib.suppress(UserError):
            connection.attempt(f"kill -INT -{pid}", what="stop the benchmark", timeout=20)


def _newest(connection: Connection) -> str:
    output = connection.run(
        f"ls -t {RESULTS}/*.json 2>/dev/null | head -n 1", what="look for results"
    )
    path = output.decode("utf-8", "replace").strip()
    if not path:
        raise UserError(
            f"there is no result in {RESULTS} on {connection.host}",
            hint=f"invoke bench {connection.flags} runs the benchmark",
        )
    return path


def _images_of(release: dict[str, str]) -> Path:
    """The images folder of what runs on the board, to keep its build-info with the result.

    A folder that is not there when our last build of that variant is another one.
    """
    variant = re.sub(r"[^A-Za-z0-9._-]", "-", release.get("VARIANT", "")).strip(".-") or "board"
    images = output_dir() / variant / "images"
    try:
        info = json.loads((images / "build-info.json").read_text(encoding="utf-8"))
        built = str(info["project"]["commit"])
    except (OSError, ValueError, KeyError, TypeError):
        built = ""
    same = built and release.get("COMMIT", "").removesuffix("-dirty") == built
    return images if same else images.parent / "images-of-another-build"
