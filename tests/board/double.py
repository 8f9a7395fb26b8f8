"""A double of a board and of `ssh`, for what a test of the host's side needs of both.

``ssh`` (OpenSSH, ssh(1): runs the last word in the login shell of the other side, ends with its
status, with 255 when anything else fails) runs the script here, under busybox as on the board where
that is installed, with the board's folders below one of the test's. A program there that makes the
file ``lost`` takes the connection away.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.board.ssh import Connection

SSH = """\
#!/bin/sh
for script; do :; done
printf '%s\\n' "$script" >>{root}/commands
for folder in /etc/pico-image-release /usr/share/npu-models /userdata; do
    script=$(printf '%s' "$script" | sed "s#\\([ \\"=]\\)$folder#\\1{root}$folder#g")
done
PATH={root}/bin:$PATH {shell} -c "$script"
status=$?
[ ! -e {root}/lost ] || {{
    echo "client_loop: send disconnect: Connection reset by peer" >&2
    exit 255
}}
exit $status
"""


@dataclass(frozen=True)
class Double:
    """The board's files below ``root``; its programs in ``root/bin``."""

    root: Path

    @classmethod
    def start(cls, root: Path, patch: pytest.MonkeyPatch) -> Double:
        """A board with an image of ours, and `ssh` that leads to it."""
        for folder in ("bin", "etc", "usr/share/npu-models", "userdata", "desk"):
            (root / folder).mkdir(parents=True)
        (root / "etc/pico-image-release").write_text('VARIANT="double"\n')
        shell = "busybox ash" if shutil.which("busybox") else "sh"
        ssh = root / "desk" / "ssh"
        ssh.write_text(SSH.format(root=root, shell=shell))
        ssh.chmod(0o755)
        patch.setenv("PATH", f"{ssh.parent}", prepend=":")
        patch.setenv("PICO_OUTPUT_DIR", str(root / "out"))
        return cls(root)

    @property
    def connection(self) -> Connection:
        return Connection(Console(), "board")

    def program(self, name: str, script: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def model(self, name: str, source: Path | None = None) -> Path:
        """The folder of an installed model: a copy of ``source``, or empty files by its names."""
        folder = self.root / "usr/share/npu-models" / name
        if source is not None:
            shutil.copytree(source, folder)
            return folder
        (folder / "golden").mkdir(parents=True)
        for path in ("model.rknn", "golden/golden.json"):
            (folder / path).touch()
        return folder

    @property
    def left_over(self) -> list[str]:
        """What a search left on the board."""
        return sorted(path.name for path in (self.root / "userdata").iterdir())
