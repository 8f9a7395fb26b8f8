"""What is built: a variant on its board, resolved once.

A variant overrides some values of its board. ``Target`` holds the values that count; no other
module compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pico_image.base import project
from pico_image.base.errors import ConfigError, UserError
from pico_image.config.configuration import Config
from pico_image.config.partitions import PartitionTable
from pico_image.config.schema import Board, Variant


@dataclass(frozen=True)
class Target:
    """A variant and its board, with the values that the variant may override."""

    config: Config
    variant: Variant
    board: Board
    #: With the device of the card in the board's kernel.
    layout: PartitionTable
    #: What the image reserves for the NPU, MiB.
    cma_mib: int

    @classmethod
    def of(cls, config: Config, variant: Variant | str) -> Target:
        """Resolve a variant, by name or as it is.

        Raises UserError for an unknown name, ConfigError (file and line) for a layout that the
        kernel would not read.
        """
        if isinstance(variant, str):
            variant = config.variant(variant)
        board = config.board(variant.board)
        try:
            layout = PartitionTable.parse(variant.partitions or board.partitions)
        except UserError as error:
            where, line = _place(config, variant, "partitions")
            raise ConfigError(where, line, error.message, hint=error.hint) from error
        if layout.device is None:
            layout = layout.with_device(board.block_device)
        cma_mib = board.cma_mib if variant.cma_mib is None else variant.cma_mib
        return cls(config, variant, board, layout, cma_mib)

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def emulated(self) -> bool:
        """Whether QEMU stands in for a board: without a chip, an image boots nowhere else."""
        return self.board.soc is None

    @property
    def on_card(self) -> bool:
        """Whether the board boots from a card; eMMC takes the parts over USB, not a card image."""
        return self.board.medium == "sd_card"

    @property
    def packages(self) -> list[str]:
        return self.variant.packages

    @property
    def models(self) -> list[str]:
        return self.variant.models

    @property
    def partitions(self) -> str:
        """The partition string as it is written."""
        return self.variant.partitions or self.board.partitions

    def env(self) -> dict[str, str]:
        """The variables that U-Boot reads from ``env.img`` and hands to the kernel."""
        return boot_variables(self.layout, self.cma_mib, self.board.kernel_arguments)

    def release(self) -> str:
        """The lines of ``/etc/pico-image-release``, which a shell may source."""
        revision = project.revision(self.config.root)
        values = {
            "BACKEND": self.board.backend,
            "BUILD_DATE": project.source_date(self.config.root),
            "COMMIT": str(revision),
            "VARIANT": self.name,
            "VERSION": revision.commit[:12],
        }
        if self.variant.allowed:  # inspect-image has the image alone
            values["ALLOWED"] = f'"{"; ".join(self.variant.allowed)}"'
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def error(self, key: str, message: str, hint: str | None = None) -> ConfigError:
        """A ConfigError at the place where the variant, or else its board, sets ``key``."""
        where, line = _place(self.config, self.variant, key)
        return ConfigError(where, line, message, hint=hint)


def boot_variables(
    layout: PartitionTable, cma_mib: int, kernel_arguments: str = ""
) -> dict[str, str]:
    """The variables of the vendor's build: layout, root device, size of the NPU's memory.

    ``layout`` needs a device and a partition ``rootfs``. The vendor's SPL reads ``sd_parts`` when
    it updates flash memory from a card.
    """
    arguments = f" root={layout.node('rootfs')} rootfstype=ext4 rk_dma_heap_cma={cma_mib}M"
    if kernel_arguments:
        arguments += f" {kernel_arguments}"
    return {
        "blkdevparts": str(layout),
        "sys_bootargs": arguments,
        "sd_parts": "mmcblk0:16K@512(env),512K@32K(idblock),4M(uboot)",
    }


def _place(config: Config, variant: Variant, key: str) -> tuple[Path, int | None]:
    for owner in (f"variant {variant.name}", f"board {variant.board}"):
        origin = config.origins.get(owner, {}).get(key)
        if origin is not None:
            return config.root / origin.file, origin.line
    return config.root / "configs/variants" / f"{variant.name}.yml", None
