"""Which files of the emulator's root file system each component of the bill of materials is.

A component says it in properties: ``pico:installed`` a path or pattern in the root file system,
``pico:linked-into`` a program that it was linked into statically. A test holds this against what
is really in a built image. For the boards Buildroot's lists take this place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclonedx.model import Property
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense

from pico_image.compile.libraries import IMAGE_SOURCES, TFLITE_SOURCES
from pico_image.emulator.rootfs import NOT_PROGRAMS
from pico_image.models.card import ModelCard

INSTALLED, LINKED = "pico:installed", "pico:linked-into"
BUSYBOX, E2FSPROGS = ("/bin/busybox",), ("/usr/sbin/e2fsck", "/usr/sbin/resize2fs")
SERVER = ("/usr/sbin/dropbear", "/usr/sbin/dropbearkey")
#: Ours, not compiled: init scripts and settings, and the keys that the user handed in.
SYSTEM = ("/etc/*", "/usr/share/udhcpc/*", "/usr/bin/adbd", "/root/.ssh/authorized_keys")
#: What post-build.sh writes into an image of the SDK, of what is handed to it or by itself.
HANDED_IN = ("/etc/pico-image-release", "/etc/npu-bench.conf", "/root/.ssh/authorized_keys")
RUNTIME = "glibc, libgcc and libstdc++ of the cross compiler"
RUNTIME_LICENCES = ("LGPL-2.1-or-later", "GPL-3.0-or-later WITH GCC-exception-3.1")


def programs(packages: Sequence[str]) -> list[str]:
    """The packages that are a program in the image."""
    return [name for name in packages if name not in NOT_PROGRAMS]


def properties(
    packages: Sequence[str], cards: Sequence[ModelCard], *, ssh_server: bool
) -> dict[str, list[Property]]:
    """``bom-ref`` to the properties that name its files."""
    bench = [name for name in programs(packages) if name == "npu-bench"]
    runners = [name for name in programs(packages) if name in ("neon-runner", "npu-runner")]
    linked = dict.fromkeys(IMAGE_SOURCES, runners)
    linked["cjson"] = [*runners, *bench]
    neon = [name for name in runners if name == "neon-runner"]
    linked |= dict.fromkeys(TFLITE_SOURCES, neon)
    installed: dict[str, Sequence[str]] = {
        "source:linux-armmp": ["/lib/modules/*"],
        "source:busybox": BUSYBOX,
        "source:e2fsprogs": E2FSPROGS,
        "source:dropbear": SERVER,
        "own:system": SYSTEM,
        **{f"own:{name}": [f"/usr/bin/{name}"] for name in programs(packages)},
    }
    for card in cards:
        folder = f"/usr/share/npu-models/{card.name}"
        installed[f"model:{card.name}"] = [f"{folder}/*"]
        for image in card.images:
            path = image.path
            installed[f"model:{card.name}:{path}"] = [f"{folder}/{path}"]
    compiled = [f"/usr/bin/{name}" for name in programs(packages)]
    compiled += [*BUSYBOX, *E2FSPROGS, *(SERVER if ssh_server else ())]
    found = {ref: [Property(name=INSTALLED, value=path) for path in paths]
             for ref, paths in installed.items()}  # fmt: skip
    for name, users in linked.items():
        found[f"source:{name}"] = [Property(name=LINKED, value=f"/usr/bin/{x}") for x in users]
    found["toolchain:runtime"] = [Property(name=LINKED, value=path) for path in compiled]
    return found


def overlaid(root: Path) -> list[str]:
    """What this project puts over the vendor's and Buildroot's files in an image of the SDK."""
    overlay = root / "board/luckfox-pico/overlay"
    found = [path for path in sorted(overlay.rglob("*")) if path.is_symlink() or path.is_file()]
    return [f"/{path.relative_to(overlay).as_posix()}" for path in found] + [*HANDED_IN]


def system(commit: str, licence: str, installed: Sequence[str] = ()) -> Component:
    """The board's own files: overlay, settings and keys."""
    return Component(
        name="luckfox-pico-npu",
        version=commit,
        type=ComponentType.APPLICATION,
        description="init scripts and settings of this project, and the keys given to the build",
        licenses=[DisjunctiveLicense(id=licence)],
        bom_ref="own:system",
        properties=[Property(name=INSTALLED, value=path) for path in installed],
    )


def runtime(compiler: str) -> Component:
    """The C and C++ libraries that came with the cross compiler, in every program."""
    return Component(
        name=RUNTIME,
        version=compiler,
        type=ComponentType.LIBRARY,
        description="linked statically into every program of the emulator's image",
        licenses=[DisjunctiveLicense(name=name) for name in RUNTIME_LICENCES],
        bom_ref="toolchain:runtime",
    )


def compiler_of(folders: Mapping[str, Path]) -> str:
    """The version line of the compiler, as the build of a cached folder wrote it down."""
    for folder in folders.values():
        try:
            inputs = json.loads((folder / ".inputs.json").read_text(encoding="utf-8"))
            return str(inputs["toolchain"]["compiler"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return "unknown"
