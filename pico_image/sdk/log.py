"""What the output of a build tells: package n of total, time left, why it failed, what to do.

Sources: Buildroot's manual (``show-build-order``; ``build-time.log``: one line
``SECONDS:start|end:STEP: PACKAGE`` for each step) and its MESSAGE macro (``>>> NAME VERSION STEP``,
bold when a terminal is known). Issue numbers are those of the SDK's own tracker.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import CommandError
from pico_image.engine.run import Ended, killed

#: Lines of our own script: the order of the packages, one a line.
ORDER = "@order "

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\(B|\][^\x07]*\x07)")
_MESSAGE = re.compile(r"^>>> +(?P<rest>\S.*)$")
#: A package without a version prints two spaces.
_PACKAGE = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._+-]*) (?P<version>\S*) (?P<step>[A-Z].*)$")
_TIMING = re.compile(r"^(?P<at>\d+\.\d+):(?P<edge>start|end) *:(?P<step>[^:]*): (?P<name>\S+)$")
#: make's own last words: ``make[1]: *** [package/pkg-generic.mk:293: .../output/build/NAME-V/...``
_MAKE_ERROR = re.compile(r"\*\*\* \[.*?/output/build/(?P<folder>[^/\]]+)/\.stamp_(?P<step>\w+)\]")
#: A line that names a cause, as compilers, ld, CMake, tar, wget, patch and Buildroot write it. Not
#: -Werror in a compiler's command line.
_TELLING = re.compile(
    r"(?<![-\w])error[: ,]|fatal:|undefined reference|No such file|(cannot|can't) |not found|"
    r"unable to|was asked to be|Killed|No space left|FAILED|Permission denied",
    re.IGNORECASE,
)
#: No cause: probes of CMake, configure and Meson, of which "not found" is an ordinary answer; the
#: checks of tools that build.sh prints between lines of asterisks, and what it says of itself at
#: the end; the folders that make enters; steps of other jobs (``  CC      x.o``).
_NOISE = re.compile(
    r"-- |checking |configure: (?!error)|(Header|Program|Library|Run-time dependency|Checking) |"
    r"\*{4,}|Check \[OK\]: |Please install .* first$|    sudo apt-get install |"
    r"\[build\.sh:(info\]|error\] (Running|exit code) )|"
    r"g?make(\[\d+\])?: (Entering|Leaving) directory |.*\*\*\* Waiting for unfinished jobs|"
    r"  [A-Z]{2,8} (\[M\])? +\S+$|@"
)
#: make's own words, ``make[2]: *** [FILE:LINE: TARGET] Error 1``: a line for each make around it.
_MAKE = re.compile(r"^(?:g?make(?:\[(?P<depth>\d+)\])?|(?P<file>\S+)): \*\*\* ")
#: Lines that explain a failure, at most; how far the cause is from make's words; and how far its
#: lines are from one another (a compiler prints lines of the source between).
RELEVANT_LINES, REACH, TOGETHER = 15, 60, 8

#: Estimate for a package that was never timed.
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
    """Reads Buildroot's output line by line and tells how far it is."""

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

    def feed(self, line: str, now: float | None = None) -> None:
        """Take one line of output."""
        if line.startswith(ORDER):
            name = line[len(ORDER) :].strip()
            if name and name not in self._order:
                self._order.append(name)
            return
        text = plain(line)
        if text:
            self.last = text
        if error := _MAKE_ERROR.search(text):
            self.failed_package = self.failed_package or error["folder"]
            return
        message = _MESSAGE.match(text)
        if not message:
            return
        match = _PACKAGE.match(message["rest"])
        if not match:
            self.package, self.step = "", message["rest"]
            return
        self.package, self.step = match["name"], match["step"]
        # `make source` runs through all packages first: downloading is not building.
        self._building = not self.step.startswith("Downloading")
        if self._building and self.package not in self._began:
            self._began[self.package] = time.monotonic() if now is None else now
            self._seen.append(self.package)

    @property
    def done(self) -> int:
        """Packages begun in this run, the current one included."""
        return len(self._seen)

    @property
    def total(self) -> int:
        """Packages of this run, 0 while not known."""
        return len(self._seen) + len(self._later()) if self._order else 0

    def _later(self) -> list[str]:
        # The order holds all packages; those before the first one seen were built by earlier runs.
        places = [self._order.index(name) for name in self._seen if name in self._order]
        return self._order[max(places, default=-1) + 1 :]

    def seconds_left(self, now: float | None = None) -> float | None:
        """Estimate from earlier timings of these packages; None without any."""
        if not self._order or not self._seen or not self._past:
            return None
        moment = time.monotonic() if now is None else now
        current = self._seen[-1]
        spent = moment - self._began[current]
        left = max(0.0, self._past.get(current, UNKNOWN_SECONDS) - spent)
        return left + sum(self._past.get(name, UNKNOWN_SECONDS) for name in self._later())

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


def relevant(lines: Sequence[str]) -> list[str]:
    """The lines that explain a failure: searched backwards from the last error of make."""
    kept = [text for line in lines if (text := plain(line)) and not _NOISE.match(text)]
    makes = [(index, match) for index, text in enumerate(kept) if (match := _MAKE.match(text))]
    # From the outermost make inwards: an earlier error that did not end the build is less deep.
    at, depth, outer = len(kept) - 1, 0, list[str]()
    for place, (index, match) in enumerate(reversed(makes)):
        inner = depth if match["file"] else int(match["depth"] or 0)
        if inner < depth:
            break
        outer[:0] = [kept[at]] if place else []
        at, depth = index, inner
    first = at
    for index in range(at, max(-1, at - REACH), -1):
        if first < at and first - index > TOGETHER:
            break
        if _TELLING.search(kept[index]):
            first = index
    shown = [*kept[max(0, first - 1) : at + 1], *outer]
    if len(shown) <= RELEVANT_LINES:
        return shown
    return [*shown[: RELEVANT_LINES - 5], "...", *shown[-4:]]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class Failure:
    """A failure that was seen before: its name, a pattern of its lines, and what to do."""

    name: str
    pattern: str
    remedy: str
    #: It may leave truncated files, so the stage must not be continued as it is.
    leaves_truncated_files: bool = False


KNOWN = (
    Failure(
        "disk-full",
        r"No space left on device|Disk quota exceeded",
        "the engine's disk is full: free some space (`docker system df` shows what uses it, "
        "`invoke clean --level volumes` removes our volumes), then run the same command again",
        leaves_truncated_files=True,
    ),
    Failure(
        "out-of-memory",
        r"fatal error: Killed signal|\bKilled\b.*(cc1|cc1plus|ld|collect2)|"
        r"internal compiler error: Killed|virtual memory exhausted|Cannot allocate memory",
        "a compiler ran out of memory: use fewer jobs (`--jobs 2`), or give the engine more memory",
        leaves_truncated_files=True,
    ),
    Failure(
        "unfit-sdk",
        r"^error: this SDK ",
        "take the SDK at the pin in configs/sources.yml (without --sdk-path and --sdk-url), or put "
        "in what is missing; another name of a BoardConfig goes into configs/boards/BOARD.yml",
    ),
    Failure(
        "dropped-symbol",
        r"BR2_\w+ was asked to be .*, is ",
        "Buildroot drops a symbol of the variant; file and line are above: mend that line (`invoke "
        "menuconfig` shows the symbols and prints lines for the file)",
    ),
    Failure(
        "npu-models",
        r"npu-models: .* is missing",
        "a model has not been converted: run `invoke convert-models`, then this again",
    ),
    Failure(
        "wrong-hash",
        r"has wrong sha(256|512|1) hash|wrong sha256",
        "a download has another hash than its package states: remove that file from the "
        "downloads (`invoke shell`, then see /cache/dl), and check whether a proxy changes files",
    ),
    Failure(
        "patch",
        r"hunks? FAILED|can't find file to patch",
        "a patch does not fit the version that is built: compare the package in br2-external with "
        "this SDK's Buildroot",
    ),
    Failure(
        "download",
        r"Could not resolve host|Temporary failure in name resolution|Connection timed out|"
        r"unable to resolve host|Network is unreachable|Connection refused|"
        r"\.stamp_downloaded\].*Error",
        "a source could not be downloaded: check the engine's network and proxy (http_proxy is "
        "passed on); finished downloads are kept, so run the same command again; `invoke fetch` "
        "downloads everything without building",
    ),
    Failure(
        "case-insensitive",
        r"No rule to make target '?net/netfilter/xt_",
        "the SDK is on a file system that takes xt_DSCP.c and xt_dscp.c for one file (a Mac's or "
        "Windows folder): keep the engine's volumes on a Linux file system",
    ),
    Failure(
        "wrong-architecture",
        r"Exec format error|qemu-x86_64.*(fault|Could not open)|rosetta error",
        "the toolchain has x86-64 programs only: build on an x86-64 engine (`docker context`)",
    ),
    Failure(
        "missing-tool",
        r"(not found|No such file or directory)\n(.*\n){0,3}.*\*\*\* \[.*\] Error 127|"
        r"^ERROR: No '\S+', please",
        "the build image lacks a program: add it to docker/Dockerfile, or give another image with "
        "--base-image",
    ),
)


def recognise(ended: Ended, lines: Sequence[str]) -> Failure | None:
    """The known failure that the engine reports or the last lines show, or None."""
    if ended.out_of_memory:
        return next(known for known in KNOWN if known.name == "out-of-memory")
    text = "\n".join(plain(line) for line in lines[-300:])
    for known in KNOWN:
        if re.search(known.pattern, text, re.IGNORECASE | re.MULTILINE):
            return known
    return None


def explain(
    what: str, ended: Ended, lines: Sequence[str], log: Path | None, *, hint: str | None = None
) -> CommandError:
    """The error for a program of the SDK that failed: telling lines, log, remedy if known."""
    known = recognise(ended, lines)
    remedy = known.remedy if known is not None else killed(ended.status) or hint
    return CommandError(what, ended.status, "\n".join(relevant(lines)), log, hint=remedy)
