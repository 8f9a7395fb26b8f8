"""Run the benchmark on a board over SSH and fetch the complete result.

The benchmark does not depend on the connection: when that is lost, the benchmark still ends and
keeps its result on the board, and `invoke bench --host HOST --last` fetches it.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pico_image.base.errors import CheckFailed, UserError
from pico_image.base.files import output_dir
from pico_image.board.ssh import Connection, Unreachable
from pico_image.results import store

RESULTS = "/userdata/bench"
#: The options of npu-bench for each suite.
SUITES = {"quick": ["--quick"], "full": [], "mlperf": ["--mlperf-style"]}
#: A result with thousands of samples is some hundred KB.
LEAST_KIB = 2048
WAIT_SECONDS = 900.0
LOG = "/tmp/npu-bench-ssh.log"
#: A session of its own, so that a lost connection does not end it; `tail` shows what it prints.
#: busybox looks at the file once a second; we hang up at "exit" and do not wait for the `sleep`.
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


def options_of(suite: str) -> list[str]:
    """The options of npu-bench for a suite. Raises UserError for an unknown one."""
    if suite not in SUITES:
        raise UserError(f"unknown suite {suite!r}", hint=f"allowed: {', '.join(SUITES)}")
    return SUITES[suite]


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
    variant = re.sub(r"[^A-Za-z0-9._-]", "-", release.get("VARIANT", "")).strip(".-") or "board"
    return store.keep(console, result, printed, variant, _build_info_of(release, variant))


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
    printed: list[str] = []
    pid = 0
    script = SCRIPT.format(log=LOG, command=shlex.join(["npu-bench", *options]))
    with (
        connection.console.progress(f"npu-bench on {connection.host}", 0) as bar,
        contextlib.closing(connection.lines(script)) as lines,
    ):
        try:
            for line in lines:
                if ended := re.fullmatch(r"npu-bench: exit (\d+)", line):
                    return _outcome(connection, printed, int(ended[1])), "\n".join(printed) + "\n"
                if not pid and (started := re.fullmatch(r"npu-bench: pid (\d+)", line)):
                    pid = int(started[1])
                else:
                    printed.append(line)
                    bar.note(line.strip())
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
    raise AssertionError("Connection.lines ends with an error")


def _outcome(connection: Connection, printed: Sequence[str], status: int) -> str:
    """The result's path on the board. Raises for a run that has none."""
    ends = [match for line in printed if (match := re.fullmatch(store.RESULT_LINE, line))]
    if ends and ends[-1]["path"]:
        return ends[-1]["path"]
    tail = "\n".join(f"    {line}" for line in printed[-11:])
    if status == 2:
        raise UserError(f"npu-bench on {connection.host} refuses:\n{tail}")
    if ends:
        text = "\n".join(printed)
        raise CheckFailed(f"the benchmark failed: {ends[-1]['reason'].strip()}\n{text}")
    raise CheckFailed(f"npu-bench on {connection.host} ended with status {status}:\n{tail}")


def _stop(connection: Connection, pid: int) -> None:
    """Stop the benchmark; without a connection it ends by itself."""
    if pid:
        with contextlib.suppress(UserError):
            connection.attempt(f"kill -INT -{pid}", what="stop the benchmark", timeout=20)


def _newest(connection: Connection) -> str:
    # npu-doctor writes there, too.
    output = connection.run(
        f"ls -t {RESULTS}/*.json 2>/dev/null | grep -v /doctor- | head -n 1",
        what="look for results",
    )
    path = output.decode("utf-8", "replace").strip()
    if not path:
        raise UserError(
            f"there is no result in {RESULTS} on {connection.host}",
            hint=f"invoke bench {connection.flags} runs the benchmark",
        )
    return path


def _build_info_of(release: Mapping[str, str], variant: str) -> Path | None:
    """The build-info of what runs on the board: None unless it is our last build of the variant."""
    path = output_dir() / variant / "images" / "build-info.json"
    try:
        commit = json.loads(path.read_text(encoding="utf-8"))["project"]["commit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if commit and release.get("COMMIT", "").removesuffix("-dirty") == commit else None
