"""The Invoke namespace: the tasks of ``pico_image/tasks``, gathered from their rooms."""

from pico_image.tasks.building import build_all, build_image, fetch, sdk_config, shell
from pico_image.tasks.common import mistakes_exit_2
from pico_image.tasks.images import (
    flash,
    inspect_image,
    legal_info,
    repack,
    sbom,
    sign,
    size_report,
    verify,
)
from pico_image.tasks.models import convert_models, inspect_model
from pico_image.tasks.results import compare, history, report
from pico_image.tasks.running import bench, collect, deploy, emulate, try_, verify_board
from pico_image.tasks.upkeep import clean, doctor, lint, test
from pico_image.tasks.variants import diff_config, menuconfig, render, show_config, variants

__all__ = [
    "bench",
    "build_all",
    "build_image",
    "clean",
    "collect",
    "compare",
    "convert_models",
    "deploy",
    "diff_config",
    "doctor",
    "emulate",
    "fetch",
    "flash",
    "history",
    "inspect_image",
    "inspect_model",
    "legal_info",
    "lint",
    "menuconfig",
    "render",
    "repack",
    "report",
    "sbom",
    "sdk_config",
    "shell",
    "show_config",
    "sign",
    "size_report",
    "test",
    "try_",
    "variants",
    "verify",
    "verify_board",
]

mistakes_exit_2()
