"""The SD card: layout, environment, composing, reading back, flashing and changing images."""

from pico_image.sdcard.checking import verify
from pico_image.sdcard.composing import Composed, compose
from pico_image.sdcard.describing import describe, describe_diff
from pico_image.sdcard.devices import Device, candidates, list_devices
from pico_image.sdcard.env import board_env, env_image, env_text, read_env
from pico_image.sdcard.extracting import diff_images, extract
from pico_image.sdcard.flashing import Flashed, flash
from pico_image.sdcard.inspecting import inspect_image
from pico_image.sdcard.partitions import Part, PartitionTable
from pico_image.sdcard.publishing import compress, write_readme
from pico_image.sdcard.repacking import repack
from pico_image.sdcard.sums import read_sums, update_sums, write_sums

__all__ = [
    "Composed",
    "Device",
    "Flashed",
    "Part",
    "PartitionTable",
    "board_env",
    "candidates",
    "compose",
    "compress",
    "describe",
    "describe_diff",
    "diff_images",
    "env_image",
    "env_text",
    "extract",
    "flash",
    "inspect_image",
    "list_devices",
    "read_env",
    "read_sums",
    "repack",
    "update_sums",
    "verify",
    "write_readme",
    "write_sums",
]
