"""Work inside the converters' own environments, and a cache of a test's own that borrows them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.models import environment

#: Where the files of functions for the environments lie.
HERE = ROOT / "tests" / "models"


def caller(python: Path) -> Callable[..., Any]:
    """What runs a function inside the environment of an interpreter."""

    def call(file: str, function: str, **arguments: Any) -> Any:
        code = (
            "import json, sys; sys.path.insert(0, sys.argv[1]); "
            f"import {file} as cases; "
            f"print(json.dumps(cases.{function}(**json.loads(sys.argv[2]))))"
        )
        answer = subprocess.run(
            [python, "-c", code, str(HERE), json.dumps(arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout.splitlines()[-1])

    return call


def borrowing_cache(console: Console, mine: Path) -> Path:
    """A new cache whose converters' environments and downloads are those of the shared one."""
    shared = cache_dir()
    for name in ("models", "rknn"):
        environment.environment(console, name)
    (mine / "built").mkdir(parents=True)
    for folder in (shared / "built").glob("environment-*"):
        (mine / "built" / folder.name).symlink_to(folder)
    (mine / "downloads").symlink_to(shared / "downloads")
    return mine
