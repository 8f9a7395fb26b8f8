"""The converters' own Python environments, made on demand, and work inside them.

Converters disagree about numpy and protobuf, so each has an environment of its own, installed
from a lock with hashes (``requirements/NAME.txt``) through pip and the system's own pip
configuration. It lies in the cache and is keyed by the lock and the interpreter. Work runs there
in a subprocess and a scratch folder: stray files, log noise and memory end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pico_image import sources
from pico_image.base.cache import build_once, cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import CommandError, UserError
from pico_image.base.files import ROOT, scratch_folder, sha256_file
from pico_image.config import configuration
from pico_image.config.schema import Source
from pico_image.models.worker.jobs import to_json

#: Size on disk, for the message before a long download.
SIZES = {"models": "0.4 GB", "rknn": "0.6 GB"}
#: The package that runs in the environments, hashed whole into the key of every stage.
WORKER = "pico_image.models.worker"
#: The newest Python that rknn-toolkit2 2.3.2 has wheels for.
NEWEST_FOR_RKNN = (3, 12)
ANOTHER_PYTHON = "run ./inv with Python 3.10, 3.11 or 3.12 (PYTHON=python3.12 ./inv)"


def lock_file(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def environment(console: Console, name: str) -> Path:
    """The Python interpreter of the environment ``name`` ("models" or "rknn").

    Raises UserError when this machine cannot have it, CommandError when pip fails.
    """
    lock = lock_file(name)
    reason = unfit_for(name)
    if reason is not None:
        raise reason
    python, identity = _interpreter(console, name)
    inputs = {"lock": sha256_file(lock), "machine": platform.machine(), **identity}

    def build(folder: Path) -> None:
        if console.offline:
            raise UserError(
                f"the Python environment of the {name} converter is not in the cache, and "
                "downloads are off",
                hint=f"run `invoke fetch` on a machine with a network and copy {cache_dir()}",
            )
        with console.step(f"make the Python environment of the {name} converter ({SIZES[name]})"):
            console.run(
                [python, "-m", "venv", folder / "venv"],
                what=f"make a Python environment for the {name} converter",
                hint="install the package python3-venv" if "base" in identity else ANOTHER_PYTHON,
            )
            console.run(
                [
                    folder / "venv" / "bin" / "python",
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    # Half of the time and a tenth of the size (55 s to 28 s, 644 MB to 583 MB for
                    # rknn): modules that are used are compiled at their first import.
                    "--no-compile",
                    "--require-hashes",
                    "--disable-pip-version-check",
                    "--no-warn-script-location",
                    "--requirement",
                    lock,
                ],
                what=f"install the {name} converter",
                progress="installing",
                hint="check the network and pip's configuration (pip config list)",
            )

    path = build_once(f"environment-{name}", inputs, build, notify=console.info)
    return path / "venv" / "bin" / "python"


def _interpreter(console: Console, name: str) -> tuple[Path, dict[str, str | None]]:
    """The Python of the environment ``name``, and the values that identify it.

    It is ours. Where rknn-toolkit2 has no wheel for ours (Debian 13 has Python 3.13 alone), it is a
    relocatable build, by hash. Raises UserError when that cannot be downloaded.
    """
    if name != "rknn" or sys.version_info[:2] <= NEWEST_FOR_RKNN:
        return Path(sys.executable), {
            "python": platform.python_version(),
            "abi": sysconfig.get_config_var("SOABI"),
            "base": sys.base_prefix,
        }
    source = python_source()
    hashes = " ".join(file.sha256 for file in source.files)

    def build(folder: Path) -> None:
        sources.unpack(console, source, folder / "python")

    built = build_once("python", {"files": hashes}, build, notify=console.info)
    return built / "python" / "bin" / "python3", {"python": source.version, "files": hashes}


def python_source() -> Source:
    """The Python that rknn-toolkit2 gets on this machine where it has no build for ours."""
    return configuration.load().sources[f"cpython-{platform.machine()}"]


def unfit_for(name: str) -> UserError | None:
    """Why this machine cannot have the environment ``name``; None when it can.

    rknn-toolkit2 2.3.2 comes as wheels for x86-64 and ARM64 Linux alone.
    """
    if name != "rknn":
        return None
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return UserError(
            f"rknn-toolkit2 runs on x86-64 and ARM64 Linux only, this is {platform.system()} "
            f"{platform.machine()}; it is needed to make .rknn models",
            hint="run the conversion in a Linux container or on another machine",
        )
    return None


def unavailable(console: Console, name: str) -> UserError | None:
    """Why the environment ``name`` cannot be made here and now; None when its Python is there."""
    reason = unfit_for(name)
    if reason is not None:
        return reason
    try:
        _interpreter(console, name)
    except UserError as error:
        return UserError(
            f"rknn-toolkit2 has no build for Python {platform.python_version()}, and: "
            f"{error.message}",
            hint=ANOTHER_PYTHON,
        )
    return None


def run_worker(
    console: Console, name: str, call: str, arguments: Mapping[str, object], *, what: str
) -> Any:
    """Run ``MODULE:FUNCTION`` of the worker inside an environment; its result as plain data.

    ``arguments`` are JSON's types, paths and the dataclasses of ``worker.jobs``. The working folder
    is a scratch folder that is deleted afterwards.
    Raises UserError with the worker's own message, CommandError when it crashed.
    """
    python = environment(console, name)
    root = cache_dir() / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    with scratch_folder(f"{name}-", root) as place:
        job = place / "job.json"
        text = to_json({"call": call, "arguments": dict(arguments), "parent": os.getpid()})
        job.write_text(text, encoding="utf-8")
        return _run_in(place, console, python, what)


def _run_in(place: Path, console: Console, python: Path, what: str) -> Any:
    variables = {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "default",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TQDM_DISABLE": "1",
        "TMPDIR": str(place),
    }
    try:
        with _showing(console, what, place / "progress"):
            console.run(
                [python, "-m", f"{WORKER}.main", place / "job.json"],
                what=what,
                cwd=place,
                env=variables,
            )
    except CommandError as error:
        answer = _answer(place)
        if "error" not in answer:
            raise
        said = "".join(f"\n    {line}" for line in complaints(str(error)))
        log = f"\n  full log: {console.log_path}" if console.log_path else ""
        raise UserError(f"{answer['error']}{said}{log}", hint=answer.get("hint")) from error
    return _answer(place)["result"]


@contextlib.contextmanager
def _showing(console: Console, what: str, stage: Path) -> Iterator[None]:
    """Show the elapsed time and the current step of a worker, without its output."""
    done = threading.Event()

    def show() -> None:
        while not done.wait(1.0):
            with contextlib.suppress(OSError):
                bar.note(stage.read_text(encoding="utf-8"))

    with console.progress(what, 0) as bar:
        stage.write_text("starting", encoding="utf-8")
        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def complaints(output: str) -> list[str]:
    """The error lines of rknn-toolkit2: coloured, beginning with E."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    return [line.strip() for line in plain.splitlines() if re.match(r"\s*E [a-zA-Z_]", line)][-3:]


def _answer(place: Path) -> dict[str, Any]:
    path = place / "answer.json"
    if not path.is_file():
        return {}
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answer
