"""The emulator's kernel: Debian's armmp build, taken out of its package, and its modules."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pico_image import sources
from pico_image.base.cache import build_once, code_of
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.compile.toolchain import source_hashes
from pico_image.config.configuration import Config

#: The packages whose code makes the folders of this package, for their cache keys: a change of
#: theirs makes all of it anew.
RECIPES = ("pico_image.emulator.system", "pico_image.compile")
#: Loaded in this order in the initramfs, each after what it depends on. ext4 asks for crc32c
#: through the kernel's crypto interface, so no dependency is written down for it. Entropy and
#: network too: a root file system that was made for a board has no modules of this kernel.
MODULES = ("crc32c_generic", "sdhci_pci", "ext4", "virtio_mmio", "virtio_rng", "virtio_net")


def kernel(console: Console, config: Config) -> Path:
    """Debian's kernel: ``zImage``, ``config``, ``release`` and, flat in ``modules/``, the modules.

    Their names begin with a number and sort in loading order.
    """
    source = config.source("linux-armmp")
    inputs = {
        "source": source_hashes(config, [source.name]),
        "modules": MODULES,
        "recipe": code_of(*RECIPES),
    }

    def build(prefix: Path) -> None:
        with console.step(f"take the kernel {source.version} out of its package"):
            tree = sources.unpack(console, source, prefix / "work")
            image = next((tree / "boot").glob("vmlinuz-*"))
            release = image.name.removeprefix("vmlinuz-")
            shutil.copyfile(image, prefix / "zImage")
            shutil.copyfile(tree / "boot" / f"config-{release}", prefix / "config")
            (prefix / "release").write_text(release + "\n", encoding="ascii")
            files = {
                _module_name(path): path
                for path in sorted((tree / "lib" / "modules" / release).rglob("*.ko"))
            }
            (prefix / "modules").mkdir()
            for number, name in enumerate(_closure(files, MODULES)):
                shutil.copyfile(files[name], prefix / "modules" / f"{number:02d}-{name}.ko")
            shutil.rmtree(prefix / "work")

    return build_once("emulator-kernel", inputs, build, notify=console.info)


def _module_name(path: Path) -> str:
    return path.name.removesuffix(".ko").replace("-", "_")


def _closure(files: Mapping[str, Path], names: Iterable[str]) -> list[str]:
    """Modules with all that they depend on, in loading order (``depends=`` in ``.modinfo``)."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name not in files:
            raise UserError(f"the kernel package has no module {name}")
        match = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for need in match[1].decode("ascii").split(",") if match and match[1] else []:
            visit(need.replace("-", "_"))
        order.append(name)

    for name in names:
        visit(name)
    return order
