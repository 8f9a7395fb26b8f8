"""A small container base from this machine's own programs: each with the libraries it loads.

It stands in for luckfoxtech/luckfox_pico:1.0, which tests cannot pull. The programs are real
(bash, git, make, tar, rsync, mkfs.ext4, mkenvimage); nothing of the vendor is in it.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

PROGRAMS = (
    *("bash", "sh", "env", "cat", "cp", "mv", "rm", "ln", "ls", "mkdir", "rmdir", "touch", "chmod"),
    *("chown", "date", "df", "du", "echo", "false", "true", "head", "tail", "sort", "uniq", "wc"),
    *(
        "tr",
        "cut",
        "basename",
        "dirname",
        "realpath",
        "readlink",
        "mktemp",
        "sleep",
        "sync",
        "nproc",
    ),
    *(
        "sha256sum",
        "stat",
        "tee",
        "test",
        "printf",
        "seq",
        "dd",
        "truncate",
        "xargs",
        "id",
        "uname",
    ),
    *(
        "find",
        "sed",
        "grep",
        "awk",
        "tar",
        "gzip",
        "make",
        "git",
        "rsync",
        "cmp",
        "diff",
        "expr",
        "flock",
        "split",
    ),
    *("mkfs.ext4", "resize2fs", "e2fsck", "tune2fs", "debugfs", "mkenvimage", "timeout"),
    *("mount", "mknod"),
)
FOLDERS = ("/tmp", "/root", "/proc", "/sys", "/dev", "/run", "/var/tmp")


def missing() -> str | None:
    """Which program of the base this machine lacks, or None."""
    lost = [name for name in (*PROGRAMS, "ldd") if _which(name) is None]
    return f"not installed: {', '.join(lost)}" if lost else None


def _which(name: str) -> Path | None:
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin")
    return Path(found) if found else None


def archive() -> bytes:
    """The base as a tar archive for ``docker import``."""
    files: set[Path] = set()
    programs = [path for name in PROGRAMS if (path := _which(name)) is not None]
    core = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip())
    programs += [
        core / name for name in ("git-remote-http", "git-sh-setup") if (core / name).exists()
    ]
    # Not git-remote-*: the tests' server speaks git:// and the helpers pull in half of TLS.
    programs = [path for path in programs if path.name != "git-remote-http"]
    answer = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    libraries = {Path(name) for name in re.findall(r"(/\S+) \(0x", answer)}
    files.update(programs, libraries)
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as bundle:
        names: set[str] = set()
        for name in ("bin", "sbin", "lib", "lib64"):
            link = Path("/") / name
            if link.is_symlink():
                bundle.add(link, name, recursive=False)
                names.add(name)
        for folder in FOLDERS:
            member = tarfile.TarInfo(folder.lstrip("/"))
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in folder else 0o755
            bundle.addfile(member)
        for path in sorted(files):
            # The name as the program or the loader will ask for it, the content behind any links.
            parent = path.parent.resolve()
            name = str(parent / path.name).lstrip("/")
            if name in names:
                continue
            names.add(name)
            member = bundle.gettarinfo(str(path.resolve()), name)
            member.uid = member.gid = 0
            with path.resolve().open("rb") as content:
                bundle.addfile(member, content)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/mke2fs.conf", Path("/etc/mke2fs.conf").read_text()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            bundle.addfile(member, io.BytesIO(text.encode()))
    return output.getvalue()
