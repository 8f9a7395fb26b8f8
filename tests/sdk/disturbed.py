"""An SDK build in a process of its own that tells of a point of it, so that it can be disturbed.

A point is a request to the engine or a line of the build's output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import docker

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.parts import Contents
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.sdk.backend import Backend
from pico_image.sdk.workspace import Options
from tests.sdk.conftest import VARIANT, Project
from tests.support.killing import FORKS, Child

#: For a build to come to its point or its end; it takes about three seconds.
PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a build ended: ``done``, ``told`` (an error for its user) or ``bug``."""

    how: str
    text: str
    points: int


class _Points:
    """Counts what the build comes by, and says so at number ``at``."""

    def __init__(self, at: int | None, tell: Connection) -> None:
        self._at = at
        self._tell = tell
        self._lock = threading.Lock()
        self.count = 0

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                if self.count == self._at:
                    self._tell.send(None)
            return function(*arguments, **options)

        return watched


def _build(
    root: Path, options: Options, contents: Contents, at: int | None, tell: Connection
) -> None:
    points = _Points(at, tell)
    docker.APIClient.send = points.watch(docker.APIClient.send)  # type: ignore[method-assign]
    Console.log = points.watch(Console.log)  # type: ignore[method-assign]
    how, text = "done", ""
    try:
        config = configuration.load(root)
        console = Console(stream=io.StringIO())
        with (
            console.logging_to(root.parent / "logs", "build"),
            contextlib.closing(Backend(console, options)) as backend,
        ):
            backend.build(Target.of(config, VARIANT), contents)
    except UserError as error:
        how, text = "told", str(error)
    except BaseException:
        how, text = "bug", traceback.format_exc()
    tell.send(Ended(how, text, points.count))


class Build:
    """A build in a process of its own; ``at`` is the point of which it tells."""

    def __init__(self, project: Project, at: int | None = None) -> None:
        self._ours, theirs = FORKS.Pipe(duplex=False)
        self.child = Child(_build, project.root, project.options, project.contents, at, theirs)
        theirs.close()
        self.ended: Ended | None = None

    def hear(self, seconds: float = PATIENCE) -> bool:
        """Wait for its point or its end; whether it still goes on."""
        assert self._ours.poll(seconds), "the build says nothing"
        with contextlib.suppress(EOFError):  # it was killed
            self.ended = self._ours.recv()
            return self.ended is None
        return False

    def ends_within(self, seconds: float) -> bool:
        return self._ours.poll(seconds)

    def wait(self) -> Ended:
        while self.hear():
            pass
        assert self.ended is not None
        self.child.wait()
        return self.ended
