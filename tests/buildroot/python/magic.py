"""Stands in for python-magic in Buildroot's check-package: asks ``file``, which Buildroot needs."""

import subprocess


def from_file(path: str, mime: bool = False) -> str:
    command = ["file", "--brief", *(["--mime-type"] if mime else []), path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
