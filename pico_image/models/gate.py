"""The version gate: a model must not be newer than the runtime that will read it.

"failed to decode config data!" and a crash on the board are what users met most often, each time
a model of a newer toolkit on an older runtime. The versions stand in ``configs/sources.yml``.
"""

from __future__ import annotations

from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.config.configuration import Config
from pico_image.models.environment import lock_file
from pico_image.models.worker import rknn_file

TOOLKIT, RUNTIME, DRIVER = "rknn-toolkit2", "rknn-runtime", "rknpu-driver"
#: The runtime's own words: "requires driver version >= 0.2.1".
OLDEST_DRIVER = "0.2.1"


def check(config: Config) -> dict[str, str]:
    """Versions of toolkit, runtime and driver, after holding them against each other.

    Raises UserError when the toolkit is newer than the runtime, the lock installs another toolkit
    than the configuration says, or the driver is too old.
    """
    versions = {name: config.source(name).version for name in (TOOLKIT, RUNTIME, DRIVER)}
    toolkit, runtime = versions[TOOLKIT], versions[RUNTIME]
    if rknn_file.version(toolkit) > rknn_file.version(runtime):
        raise UserError(
            f"models would be made by rknn-toolkit2 {toolkit}, newer than the runtime {runtime} "
            "that the image ships",
            hint=f"in configs/sources.yml set {TOOLKIT} to {runtime} (and requirements/rknn.in, "
            f"then requirements/lock-models.sh), or ship a runtime >= {toolkit}",
        )
    locked = locked_version(lock_file("rknn"), TOOLKIT)
    if locked != toolkit:
        raise UserError(
            f"requirements/rknn.txt installs {TOOLKIT} {locked}, "
            f"configs/sources.yml says {toolkit}",
            hint="make them agree: requirements/rknn.in, then requirements/lock-models.sh",
        )
    if rknn_file.version(versions[DRIVER]) < rknn_file.version(OLDEST_DRIVER):
        raise UserError(
            f"the NPU driver {versions[DRIVER]} is older than {OLDEST_DRIVER}, which the runtime "
            f"{runtime} asks for"
        )
    return versions


def check_model(config: Config, model: Path) -> rknn_file.RknnFile:
    """Read a ``.rknn`` and refuse it when the image's board or runtime cannot run it."""
    facts = rknn_file.read(model)
    rknn_file.refuse_unfit(facts, runtime=config.source(RUNTIME).version)
    return facts


def locked_version(lock: Path, package: str) -> str | None:
    """The version of a package in a lock file."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, equals, rest = line.partition("==")
        if equals and name.strip() == package:
            return rest.split()[0]
    return None
