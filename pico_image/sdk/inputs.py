"""What each stage is made from, and what to remove when that changes.

A stage is up to date when its inputs are those of its last run. Where they differ,
``rootfs_actions`` removes only as much as a build from nothing would make differently.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from pico_image.base.errors import UserError
from pico_image.engine.volumes import Entry, Tree, tree_hash
from pico_image.sdk import checkout

#: Raise it when a stage does something else with the same inputs.
FORMAT = 2

Inputs = dict[str, Any]


class Stage(Enum):
    """A stage, in the order in which they run: the last is Buildroot's, the others the SDK's."""

    UBOOT = "uboot"
    KERNEL = "kernel"
    MEDIA = "media"
    ROOTFS = "rootfs"

    @classmethod
    def named(cls, name: str | None) -> Stage | None:
        """The stage of that name. Raises UserError with the known ones."""
        try:
            return cls(name) if name is not None else None
        except ValueError:
            known = ", ".join(stage.value for stage in cls)
            raise UserError(f"unknown stage {name!r}", hint=f"known: {known}") from None

    @property
    def needs(self) -> tuple[Stage, ...]:
        """Stages whose results it uses."""
        return (Stage.KERNEL,) if self is Stage.ROOTFS else ()  # it installs modules


_SDK = (Stage.UBOOT, Stage.KERNEL, Stage.MEDIA)
#: BoardConfig variables and the stages that read them; all of the SDK's stages read any other.
_READ_BY = (
    (r"RK_UBOOT_\w+", (Stage.UBOOT,)),
    # The kernel's device tree has a root= of its own.
    (r"RK_BOOT_MEDIUM|RK_PARTITION_FS_TYPE_CFG", (Stage.UBOOT, Stage.KERNEL)),
    (r"RK_KERNEL_\w+", (Stage.KERNEL,)),
    # Sizes are only in env.img, which we make ourselves after the stages.
    (r"RK_PARTITION_CMD_IN_ENV|RK_JOBS", ()),
)
_EXPORT = re.compile(r"^export (\w+)=(.*)$")

#: Symbols that Buildroot reads when it assembles the target, not when it builds packages.
_FINAL = re.compile(
    r"BR2_(TARGET_GENERIC_\w+|TARGET_ENABLE_ROOT_LOGIN|ROOTFS_\w+|TARGET_ROOTFS_\w+|SYSTEM_\w+|"
    r"CCACHE\w*|JLEVEL|DL_DIR|PRIMARY_SITE\w*|BACKUP_SITE|DEFCONFIG)"
)

#: Says which programs busybox has; the links and scripts of those that it had stay in the target.
_BUSYBOX = "board/luckfox-pico/busybox.fragment"


def stage_key(inputs: Mapping[str, Any]) -> str:
    """One hash for a stage's inputs."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def board_values(text: str) -> dict[str, str]:
    """The variables that a BoardConfig file exports; its other lines under the name ``""``."""
    values: dict[str, str] = {}
    rest = []
    for line in text.splitlines():
        if match := _EXPORT.match(line.strip()):
            values[match[1]] = match[2].strip("\"'")
        elif line.strip() and not line.strip().startswith("#"):
            rest.append(line.strip())
    values[""] = "\n".join(rest)
    return values


def values_for(stage: Stage, values: Mapping[str, str]) -> dict[str, str]:
    """The BoardConfig variables that ``stage`` reads."""
    chosen = {}
    for name, value in values.items():
        found = (stages for pattern, stages in _READ_BY if re.fullmatch(pattern, name))
        if stage in next(found, _SDK):
            chosen[name] = value
    if stage is Stage.KERNEL:
        # The number of the root partition.
        table = values.get("RK_PARTITION_CMD_IN_ENV", "")
        chosen["partition names"] = " ".join(re.findall(r"\(([^)]*)\)", table))
    return chosen


def packages(tree: Tree) -> dict[str, dict[str, Any]]:
    """Our Buildroot packages: version, hash of everything each is made from, dependencies.

    A package is made from its folder, the files of our tree that its .mk names through
    BR2_EXTERNAL_LUCKFOX_NPU_PATH, and the folders in the variables that it reads:
    PICO_MODELS_DIR, PICO_NEON_RUNNER.
    """
    ours: dict[str, dict[str, Any]] = {}
    for path, entry in tree.items():
        match = re.fullmatch(r"package/([^/]+)/\1\.mk", path)
        if not match:
            continue
        name = match[1]
        text = _text(entry)
        places = [f"package/{name}/"]
        for place in re.findall(r"\$\(BR2_EXTERNAL_LUCKFOX_NPU_PATH\)/\.\./([\w./-]+)", text):
            places.append(place.rstrip("/"))
        if "PICO_MODELS_DIR" in text:
            places.append("models/")
        if "PICO_NEON_RUNNER" in text:
            places.append("prebuilt/")
        variable = re.sub(r"[^A-Z0-9]", "_", name.upper())
        version = re.search(rf"^{variable}_VERSION\s*[:?]?=\s*(\S+)", text, re.MULTILINE)
        depends: list[str] = []
        for line in re.findall(rf"^{variable}_DEPENDENCIES\s*\+?=\s*(.*)$", text, re.MULTILINE):
            depends += line.rstrip("\\").split()
        ours[name] = {
            "version": version[1] if version else "",
            "hash": tree_hash(_below(tree, places)),
            "depends": sorted(set(depends)),
        }
    return ours


def _below(tree: Tree, places: Iterable[str]) -> Tree:
    return {
        path: entry
        for path, entry in tree.items()
        if any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
    }


def _text(entry: Entry) -> str:
    if isinstance(entry.content, bytes):
        return entry.content.decode(errors="replace")
    return entry.content.read_text(encoding="utf-8", errors="replace")


def symbols(defconfig: str) -> dict[str, str]:
    """Symbols of a defconfig; those that are not set have the value ``n``."""
    values = {}
    for line in defconfig.splitlines():
        if match := re.match(r"^(BR2_\w+)=(.*)$", line):
            values[match[1]] = match[2]
        elif match := re.match(r"^# (BR2_\w+) is not set$", line):
            values[match[1]] = "n"
    return values


def stage_inputs(
    tree: Tree,
    *,
    defconfig: str,
    board_config: str,
    sdk: Mapping[str, str],
    container: str,
    env: Mapping[str, str],
) -> dict[Stage, Inputs]:
    """The inputs of every stage.

    ``tree`` has the files that the container gets, ``defconfig`` and ``board_config`` are paths in
    it; ``sdk`` has hashes of the SDK's folders (see checkout.read_by), ``container`` names the
    image; ``env`` is the environment of the stages.
    """
    values = board_values(_text(tree[board_config]))
    common = {"format": FORMAT, "container": container}
    stages: dict[Stage, Inputs] = {}
    for stage in Stage:
        inputs: Inputs = {**common, "board": values_for(stage, values)}
        inputs["sdk"] = checkout.read_by(stage.value, sdk)
        if stage is Stage.KERNEL:
            ours = ["board/luckfox-pico/kernel.config", "board/luckfox-pico/dts/"]
            inputs["fragment and device trees"] = tree_hash(_below(tree, ours))
        if stage is Stage.ROOTFS:
            board = _below(tree, ["board/", "handed/"])
            inputs |= {
                "symbols": symbols(_text(tree[defconfig])),
                "packages": packages(tree),
                "external": tree_hash(
                    _below(tree, ["br2-external/Config.in", "br2-external/external.mk"])
                ),
                "board files": {path: entry.fingerprint() for path, entry in board.items()},
                "env": dict(env),
            }
        inputs["after"] = [stage_key(stages[needed]) for needed in stage.needs]
        stages[stage] = inputs
    return stages


def rootfs_actions(old: Inputs, new: Inputs) -> list[str]:
    """What to remove before Buildroot continues with ``new`` in a tree that was built with ``old``.

    Buildroot itself rebuilds nothing when a configuration or a local source changes (its manual,
    "Understanding when a full rebuild is necessary").
    """
    if any(old.get(name) != new[name] for name in ("format", "container", "sdk")):
        return ["wipe-output"]
    before, after = dict(old["symbols"]), dict(new["symbols"])
    mine = {**old["packages"], **new["packages"]}
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    owned = {name: owner for name in changed if (owner := _owner(name, mine)) is not None}
    foreign = [name for name in changed if name not in owned and not _FINAL.fullmatch(name)]
    boards = old["board files"], new["board files"]
    if foreign or len({board.get(_BUSYBOX) for board in boards}) > 1:
        # Other packages may find and use it; ccache makes the rebuild fast.
        return ["wipe-output"]
    stale = set(owned.values())
    for name in mine:
        one, two = old["packages"].get(name), new["packages"].get(name)
        if one is None or two is None or one["hash"] != two["hash"]:
            stale.add(name)
    actions = []
    for name in sorted(_with_dependents(stale, mine)):
        versions = {
            table[name]["version"] for table in (old["packages"], new["packages"]) if name in table
        }
        for version in sorted(versions):
            actions += ["drop", f"{name}-{version}" if version else name]
    gone = set(boards[0]) - set(boards[1])
    if gone or any(_FINAL.fullmatch(name) for name in changed):
        actions.append("clean-target")
    return actions


def _owner(symbol: str, mine: Iterable[str]) -> str | None:
    """The package of ours that a symbol belongs to: the longest name that fits."""
    fitting = [
        name
        for name in mine
        if symbol == (prefix := "BR2_PACKAGE_" + re.sub(r"[^A-Z0-9]", "_", name.upper()))
        or symbol.startswith(prefix + "_")
    ]
    return max(fitting, key=len, default=None)


def _with_dependents(names: set[str], mine: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """These packages and all of ours that depend on them."""
    closed = set(names)
    while True:
        more = {name for name, package in mine.items() if closed & set(package["depends"])}
        if more <= closed:
            return closed
        closed |= more
