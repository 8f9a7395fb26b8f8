"""What Buildroot's output tells about its progress: package n of total, time left, what failed.

Sources: Buildroot's manual (``show-build-order``; ``build-time.log``: one line
``SECONDS:start|end:STEP: PACKAGE`` for each step) and its MESSAGE macro (``>>> NAME VERSION STEP``,
bold when a terminal is known).
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping

#: Lines of our own script: the order of the packages, one a line.
ORDER = "@order "

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\(B|\][^\x07]*\x07)")
_MESSAGE = re.compile(r"^>>> +(?P<rest>\S.*)$")
_PACKAGE = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._+-]*) (?P<version>\S+) (?P<step>[A-Z].*)$")
#: A package without a version prints two spaces.
_UNVERSIONED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._+-]*)  (?P<step>[A-Z].*)$")
_TIMING = re.compile(r"^(?P<at>\d+\.\d+):(?P<edge>start|end) *:(?P<step>[^:]*): (?P<name>\S+)$")
#: make's own last words: ``make[1]: *** [package/pkg-generic.mk:293: .../output/build/NAME-V/...``
_MAKE_ERROR = re.compile(r"\*\*\* \[.*?/output/build/(?P<folder>[^/\]]+)/\.stamp_(?P<step>\w+)\]")
#: Lines that belong to a failure, as compilers, CMake, make, ld and configure write them.
_TELLING = re.compile(
    r"error[: ]|\*\*\*|fatal:|undefined reference|No such file|cannot find|not found|Killed|"
    r"No space left|FAILED|Permission denied|Error \d+",
    re.IGNORECASE,
)

#: Seconds that a package is taken to last before it was ever timed.
UNKNOWN_SECONDS = 10.0


def plain(line: str) -> str:
    """The line without terminal colours."""
    return _ESCAPES.sub("", line).rstrip()


def timings(text: str) -> dict[str, float]:
    """Seconds by package from a ``build-time.log``; the last build of each counts."""
    begun: dict[tuple[str, str], float] = {}
    steps: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        match = _TIMING.match(line)
        if not match:
            continue
        key = (match["name"], match["step"].strip())
        if match["edge"] == "start":
            begun[key] = float(match["at"])
        elif key in begun:
            steps[key[0]][key[1]] = float(match["at"]) - begun.pop(key)
    return {name: sum(parts.values()) for name, parts in steps.items()}


class Follower:
    """Reads Buildroot's output line by line and knows how far it is."""

    def __init__(self, past: Mapping[str, float] | None = None) -> None:
        self._past = dict(past or {})
        self._order: list[str] = []
        self._seen: list[str] = []
        self._began: dict[str, float] = {}
        self._building = False
        self.package = ""
        self.step = ""
        self.failed_package = ""
        self.last = ""

    def feed(self, line: str, now: float | None = None) -> bool:
        """Take one line; True when it changed what is being worked on."""
        if line.startswith(ORDER):
            name = line[len(ORDER) :].strip()
            if name and name not in self._order:
                self._order.append(name)
            return False
        text = plain(line)
        if text:
            self.last = text
        if error := _MAKE_ERROR.search(text):
            self.failed_package = self.failed_package or error["folder"]
            return False
        message = _MESSAGE.match(text)
        if not message:
            return False
        match = _PACKAGE.match(message["rest"]) or _UNVERSIONED.match(message["rest"])
        if not match:
            self.package, self.step = "", message["rest"]
            return True
        self.package, self.step = match["name"], match["step"]
        # `make source` runs through all packages first: downloading is not building.
        self._building = not self.step.startswith("Downloading")
        if self._building and self.package not in self._began:
            self._began[self.package] = time.monotonic() if now is None else now
            self._seen.append(self.package)
        return True

    @property
    def done(self) -> int:
        """Packages begun in this run, the current one included."""
        return len(self._seen)

    @property
    def total(self) -> int:
        """Packages of this run, 0 while not known.

        The order holds all packages; those before the first one seen were built by earlier runs.
        """
        return len(self._remaining(include_seen=True))

    def _remaining(self, *, include_seen: bool) -> list[str]:
        if not self._order:
            return []
        if not self._seen:
            return list(self._order) if include_seen else []
        indices = [self._order.index(name) for name in self._seen if name in self._order]
        if not indices:
            return list(self._order)
        later = self._order[max(indices) + 1 :]
        return [*self._seen, *later] if include_seen else later

    def seconds_left(self, now: float | None = None) -> float | None:
        """Estimate from earlier timings of these packages; None while there is nothing to go by."""
        if not self._order or not self._seen or not self._past:
            return None
        moment = time.monotonic() if now is None else now
        current = self._seen[-1]
        spent = moment - self._began[current]
        left = max(0.0, self._past.get(current, UNKNOWN_SECONDS) - spent)
        return left + sum(
            self._past.get(name, UNKNOWN_SECONDS) for name in self._remaining(include_seen=False)
        )

    def headline(self, now: float | None = None) -> str:
        """``package 12 of 83, 9 min left: openssh, Building``."""
        if not self.package:
            return self.step
        if self.step.startswith("Downloading"):
            return f"downloading {self.package}"
        count = f"package {self.done} of {self.total}" if self.total else f"package {self.done}"
        left = self.seconds_left(now)
        time_left = "" if left is None else f", {_duration(left)} left"
        return f"{count}{time_left}: {self.package}, {self.step}"


def relevant(lines: list[str], count: int = 15) -> list[str]:
    """The lines that tell most about a failure: from the first telling one near the end."""
    cleaned = [text for line in lines if (text := plain(line)) and not line.startswith("@")]
    window = cleaned[-200:]
    for index, line in enumerate(window):
        if _TELLING.search(line):
            start = max(0, index - 3)
            tail = window[start:]
            return tail if len(tail) <= count else [*tail[: count - 4], "...", *tail[-3:]]
    return window[-count:]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
