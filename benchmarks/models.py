"""The two networks of the comparison as ``.tflite``, float32 and int8, from our own converter."""

from __future__ import annotations

from pathlib import Path

from pico_image.base.console import Console
from pico_image.config.configuration import Config
from pico_image.models import convert

#: MobileNetV2 has random weights: no package registry carries trained ones, and the number of
#: instructions depends on the shapes only.
CONFIGURED = {"efficientnet-lite0": "efficientnet-lite0", "mobilenet-v2": "mobilenet-v2-random"}


def folder(console: Console, config: Config, network: str) -> Path:
    """Folder with ``fp32.tflite`` and ``int8.tflite`` of one of benchmarks.networks."""
    return convert.convert(console, config, CONFIGURED[network], npu=False)
