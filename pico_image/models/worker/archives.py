"""Files out of fetched archives, and what a broken one is called. (Worker code.)"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pico_image.base.errors import UserError


def member(archives: Mapping[str, str], source: str, path: str) -> bytes:
    """One file out of a fetched archive (a wheel is a zip file), or the file itself."""
    archive = Path(archives[source])
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                return bundle.read(path)
        return archive.read_bytes()
    except KeyError as error:
        raise UserError(f"{archive.name} of source {source} has no {path}") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"could not read {path} from {archive}: {error}") from error


def taken(item: Mapping[str, Any], archives: Mapping[str, str], what: str) -> bytes:
    """The bytes of an entry of a model file: ``file`` on this machine, or of an archive."""
    if not item.get("file"):
        return member(archives, item["source"], item["path"])
    try:
        return Path(item["file"]).read_bytes()
    except OSError as error:
        raise UserError(f"could not read {what} {item['file']}: {error.strerror}") from error
