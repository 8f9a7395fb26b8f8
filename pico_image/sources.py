"""Downloads by hash into the one cache, from a list of places in order.

A place that is gone, slow or serves the wrong bytes is reported and the next one is tried.
Downloads are kept as ``CACHE/downloads/sha256/HASH/FILE``; that folder can be copied to a machine
without a network.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from pypi_simple import PyPISimple

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import atomic_write, locked, sha256_file
from pico_image.config.schema import Source, SourceFile

#: Debian's archive of every file it ever published, addressed by SHA-1 (the SHA-256 is still
#: checked). The pool drops a version when a newer one arrives: tensorflow, oourafft and cpuinfo
#: are in unstable only and were seen to vanish.
SNAPSHOT = "https://snapshot.debian.org/file/"

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0
#: Slower than this over STALL_SECONDS counts as gone: 56 MB would take two hours.
MINIMUM_BYTES_PER_SECOND = 8 * 1024


class PlaceFailed(Exception):
    """A place did not serve a file, for the reason in the text."""


def downloads_dir() -> Path:
    return cache_dir() / "downloads" / "sha256"


def _cached(source: Source) -> Path | None:
    """The file of ``source`` if it is in the cache and whole; a damaged one is removed.

    Or in RKNN_RUNTIME_DIR, a user's own copy of the NPU runtime (older ones in folders named
    after their versions).
    """
    own = Path(os.environ.get("RKNN_RUNTIME_DIR") or downloads_dir())
    for file in source.files:
        path = downloads_dir() / file.sha256 / file.file
        if path.is_file():
            # The cache may be a copy made by hand; hashing 60 MB takes 0.2 s.
            if sha256_file(path) == file.sha256:
                return path
            path.unlink(missing_ok=True)  # another run may have removed it, too
        for copy in (own / file.file, own / source.version / file.file):
            if copy.is_file() and sha256_file(copy) == file.sha256:
                return copy
    return None


def fetch(console: Console, source: Source) -> Path:
    """A local file of ``source`` with one of the SHA-256 hashes in the configuration.

    Raises UserError with every place that was tried and what was wrong there.
    """
    if not source.files:
        raise UserError(f"source {source.name} has no files to download")
    path = _cached(source)
    if path is not None:
        return path
    if console.offline:
        raise UserError(
            f"{source.name} {source.version} is needed ({source.purpose}), is not in the cache, "
            "and downloads are off",
            hint=f"run `invoke fetch` on a machine with a network and copy {downloads_dir()}",
        )
    failures: list[str] = []
    for file in source.files:
        folder = downloads_dir() / file.sha256
        with locked(folder.with_suffix(".lock"), f"the download of {file.file}"):
            path = folder / file.file
            if path.is_file():
                return path
            # We hold the lock, so a killed download of the same file left these.
            for abandoned in folder.glob(".*.part"):
                abandoned.unlink(missing_ok=True)
            for label, url in _places(file, failures):
                try:
                    _download(console, url, file, path)
                except PlaceFailed as error:
                    failures.append(f"{label}: {error}")
                    console.log(f"{file.file}: {label}: {error}; trying the next place")
                    continue
                if failures:
                    console.log(f"{file.file}: taken from {label}")
                return path
    tried = "\n".join(f"    {line}" for line in failures)
    raise UserError(
        f"could not download {source.name} {source.version} ({source.purpose}):\n{tried}",
        hint="check the network; a cache from another machine can be copied to "
        f"{downloads_dir()} as HASH/FILE",
    )


def unpack(console: Console, source: Source, folder: Path) -> Path:
    """Fetch ``source`` and unpack it into ``folder``, leading folders stripped.

    Understands tar archives, zip files and wheels, and Debian packages.
    """
    archive = fetch(console, source)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.suffix == ".deb":
            console.run(["dpkg-deb", "-x", archive, folder], what=f"unpack {archive.name}")
        elif archive.suffix in (".zip", ".whl"):
            with zipfile.ZipFile(archive) as bundle:
                bundle.extractall(folder)
        else:
            _untar(archive, folder, _file_of(source, archive).strip)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"could not unpack {archive}: {error}") from error
    return folder


def _file_of(source: Source, path: Path) -> SourceFile:
    """Which of the source's files a fetched path is."""
    return next(file for file in source.files if file.sha256 == path.parent.name)


def _untar(archive: Path, folder: Path, strip: int) -> None:
    with tarfile.open(archive) as bundle:
        members = []
        for member in bundle:
            parts = Path(member.name).parts
            parts = parts[1:] if parts[:1] == (".",) else parts
            if len(parts) <= strip:
                continue
            member.name = str(Path(*parts[strip:]))
            if member.islnk():
                member.linkname = str(Path(*Path(member.linkname).parts[strip:]))
            members.append(member)
        # The data filter refuses paths and links that lead out of the folder.
        bundle.extractall(folder, members=members, filter="data")


# -- places ---------------------------------------------------------------------------


def _places(file: SourceFile, failures: list[str]) -> Iterator[tuple[str, str]]:
    """(label, URL) of each place, in order; adds places without a URL to ``failures``."""
    for place in file.places:
        if place.url is not None:
            yield urlsplit(place.url).hostname or place.url, place.url
        elif place.pool is not None:
            sites = apt_sites()
            if not sites:
                failures.append("distribution mirror: this system names none")
            for site in sites:
                for component in ("main", "universe"):
                    url = f"{site}/pool/{component}/{place.pool}"
                    if component == "universe" and "ubuntu" not in site:
                        continue
                    yield f"{urlsplit(site).hostname} ({component})", url
        elif place.pypi is not None:
            try:
                yield f"Python registry, {place.pypi}", _pypi_url(place.pypi, file.file)
            except PlaceFailed as error:
                failures.append(f"Python registry, {place.pypi}: {error}")
    if file.sha1 is not None:
        yield "Debian's snapshot archive", SNAPSHOT + file.sha1


@functools.lru_cache(maxsize=1)
def apt_sites() -> tuple[str, ...]:
    """Mirrors of the distribution from the system's own apt configuration."""
    try:
        answer = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE)"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    sites: list[str] = []
    for line in answer.splitlines():
        origin, _, site = line.partition(" ")
        if origin in ("Debian", "Ubuntu") and "security" not in site and site not in sites:
            sites.append(site.rstrip("/"))
    return tuple(sites)


def _pypi_url(requirement: str, filename: str) -> str:
    """The URL of one file of a release, from the index that pip is configured for."""
    name = requirement.partition("==")[0]
    index = _pip_index()
    try:
        with PyPISimple(index) if index else PyPISimple() as client:
            page = client.get_project_page(name, timeout=STALL_SECONDS)
    except Exception as error:  # the client raises requests', its own and parsers' errors
        raise PlaceFailed(str(error)) from error
    for package in page.packages:
        if package.filename == filename:
            return package.url
    raise PlaceFailed(f"has no file {filename}")


@functools.lru_cache(maxsize=1)
def _pip_index() -> str | None:
    if index := os.environ.get("PIP_INDEX_URL"):
        return index
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None


# -- one download ---------------------------------------------------------------------


def _download(console: Console, url: str, file: SourceFile, path: Path) -> None:
    digest = hashlib.sha256()
    began = time.monotonic()
    received = 0
    try:
        if url.startswith("file:"):
            local = Path(urlsplit(url).path)
            if sha256_file(local) != file.sha256:
                raise PlaceFailed("wrong content (SHA-256 differs)")
            with atomic_write(path) as stream, local.open("rb") as original:
                shutil.copyfileobj(original, stream)
            return
        with (
            contextlib.closing(
                requests.get(url, stream=True, timeout=(CONNECT_SECONDS, STALL_SECONDS))
            ) as answer,
            console.progress(f"download {file.file}", file.size or 0, "B") as bar,
        ):
            if answer.status_code != 200:
                raise PlaceFailed(f"answered {answer.status_code} {answer.reason}")
            with atomic_write(path) as stream:
                # read1 returns the bytes that are there. iter_content waits for a full block: it
                # would take 10 minutes to notice a place that sends 100 bytes a second.
                while block := answer.raw.read1(1 << 16, decode_content=True):
                    received += len(block)
                    if file.size is not None and received > file.size:
                        raise PlaceFailed(f"sent more than the {file.size} bytes expected")
                    digest.update(block)
                    stream.write(block)
                    bar.advance(len(block))
                    took = time.monotonic() - began
                    if took > STALL_SECONDS and received / took < MINIMUM_BYTES_PER_SECOND:
                        raise PlaceFailed(f"too slow ({received / took:.0f} bytes/s)")
                if digest.hexdigest() != file.sha256:
                    raise PlaceFailed(
                        f"wrong content: {received} bytes with SHA-256 {digest.hexdigest()}, "
                        f"expected {file.sha256}"
                    )
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = str(error).splitlines()[0]
        raise PlaceFailed(f"{type(error).__name__}: {reason}") from error
    except FileNotFoundError as error:
        raise PlaceFailed(f"no such file: {error.filename}") from error
