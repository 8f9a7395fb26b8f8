"""Put a converted model below ``out/models``, with nothing of a former one beside it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pico_image.models import card

#: All that a converted model may consist of.
CARRIED = (
    *card.FILES.values(),
    "model.rknn.json",
    "golden",
    "images",
    "labels.txt",
    "model.json",
    "report.json",
)


def replace_files(made: Path, folder: Path) -> None:
    """Copy the model in ``made`` to ``folder`` and remove what of a former one it does not have.

    A ``.rknn`` of other weights would be taken for this model's. Other files there stay. Everything
    is copied before anything is removed, so that a full disk or Ctrl-C costs no earlier result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new.", dir=folder) as scratch:
        new = Path(scratch)
        for name in CARRIED:
            if (made / name).is_dir():
                shutil.copytree(made / name, new / name)
            elif (made / name).is_file():
                shutil.copyfile(made / name, new / name)
        for name in CARRIED:
            target = folder / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if (new / name).exists():
                (new / name).rename(target)
