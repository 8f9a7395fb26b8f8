"""The cache of what can be made again: its folder, and entries that are made once and kept.

One rule says what an entry depends on besides its data: the code of the package that holds its
recipe, hashed whole (``code_of``). There is no list of functions or modules to keep.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from pico_image.base.errors import UserError
from pico_image.base.files import FULL, ROOT, locked, remove_tree
from pico_image.base.project import NAME

CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Cache of luckfox-pico-npu; made by ./inv, safe to delete (./inv clean --level cache).\n"
)


def cache_dir() -> Path:
    """The one cache: downloads, converted models, compiled libraries. ``PICO_CACHE_DIR``."""
    folder = os.environ.get("PICO_CACHE_DIR")
    path = Path(folder).expanduser() if folder else platformdirs.user_cache_path(NAME)
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        tag = path / "CACHEDIR.TAG"
        if not tag.exists():
            tag.write_text(CACHEDIR_TAG, encoding="ascii")
        _hold(path)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {path}: {error.strerror}",
            hint="free space or name another folder with PICO_CACHE_DIR",
        ) from error
    return path


#: The cache folder of this process, open and locked (shared) until the process ends, so that no
#: other process removes it. One entry: a second PICO_CACHE_DIR is only seen in tests.
_held: dict[Path, int] = {}
_held_lock = threading.Lock()


def _hold(path: Path) -> None:
    with _held_lock:
        if path in _held:
            return
        while _held:
            os.close(_held.popitem()[1])
        _held[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(_held[path], fcntl.LOCK_SH)


def cache_removed() -> Path | None:
    """The cache that this process uses, if another program removed it by force."""
    with _held_lock:
        removed = (path for path, handle in _held.items() if os.fstat(handle).st_nlink == 0)
        return next(removed, None)


def remove_cache() -> None:
    """Remove the cache. Raises UserError while another process uses it."""
    path = cache_dir()
    try:
        fcntl.flock(_held[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"the cache {path} is in use by another process",
            hint="wait for the build, the conversion or the download to end, then run this again",
        ) from error
    except OSError:
        pass  # a file system without locks
    remove_tree(path)
    with _held_lock:
        os.close(_held.pop(path))


def build_once(
    name: str,
    inputs: Mapping[str, object],
    build: Callable[[Path], None],
    *,
    notify: Callable[[str], None] | None = None,
) -> Path:
    """The folder that ``build`` fills, made once for each set of ``inputs`` and kept in the cache.

    ``inputs`` must name everything the result depends on (hashes, versions, options, and the
    hash of the code that builds). ``build`` gets an empty folder on the cache's file system;
    when it returns, the folder is renamed into place, so an interrupted build leaves no entry.
    Two processes that need the same entry build it once.
    """
    text = json.dumps(inputs, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    base = cache_dir() / "built" / name
    final = base / key
    if final.is_dir():
        return final
    with locked(base / f"{key}.lock", f"the build of {name}", notify=notify):
        if final.is_dir():
            return final
        # We hold the lock, so a killed build of the same entry left these.
        for abandoned in base.glob(f"{key}.*.part"):
            with contextlib.suppress(OSError):
                remove_tree(abandoned)
        working = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".part", dir=base))
        try:
            build(working)
            (working / ".inputs.json").write_text(text + "\n", encoding="utf-8")
            working.chmod(0o755)
            os.replace(working, final)
        except BaseException as error:
            # Most recipes run programs, whose own errors do not tell that their folder is gone.
            if isinstance(error, (OSError, UserError)) and not working.is_dir():
                raise UserError(
                    f"the cache folder {base} was removed while {name} was being built",
                    hint="run it again; remove a cache only when nothing uses it",
                ) from error
            with contextlib.suppress(OSError):  # programs that Ctrl-C ends may still write
                remove_tree(working)
            if isinstance(error, OSError) and error.errno in FULL:
                raise UserError(
                    f"no space left while building {name} under {base}",
                    hint="free some space, or name another cache with PICO_CACHE_DIR",
                ) from error
            raise
    return final


@functools.cache
def code_of(*packages: str) -> str:
    """Hash of everything in packages such as ``pico_image.compile``, their subpackages included.

    Comments, docstrings and layout of Python files are left out: a better sentence costs nobody
    ten minutes of TensorFlow Lite. Files of other kinds (templates) count byte for byte.
    """
    digest = hashlib.sha256()
    for package in sorted(packages):
        folder = ROOT / package.replace(".", "/")
        for path in sorted(folder.rglob("*")):
            if "__pycache__" in path.parts or not path.is_file():
                continue
            content = path.read_bytes()
            if path.suffix == ".py":
                content = _without_prose(content).encode()
            name = path.relative_to(ROOT).as_posix()
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _without_prose(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
            ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
