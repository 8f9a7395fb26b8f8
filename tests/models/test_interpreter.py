"""Where this machine's Python is too new for rknn-toolkit2, a relocatable one by hash takes over.

The build that configs/sources.yml names lies where these tests may not reach. Its stand-in is
this machine's own Python, packed as those builds are: ``python/bin/python3`` and ``python/lib``,
https://gregoryszorc.com/docs/python-build-standalone/main/distributions.html (install_only).
"""

from __future__ import annotations

import functools
import http.server
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import ROOT, sha256_file
from pico_image.config.configuration import load
from pico_image.config.schema import Place, Source, SourceFile
from pico_image.models import convert, environment, pipeline

LEFT_OUT = {"test", "site-packages", "dist-packages", "__pycache__", "idlelib", "tkinter"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of this machine as an install_only archive."""
    path = tmp_path_factory.mktemp("python") / "python.tar.gz"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if LEFT_OUT & set(Path(member.name).parts) else member

    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(os.path.realpath(sys.executable), f"python/bin/{version}")
        link = tarfile.TarInfo("python/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, version
        archive.addfile(link)
        stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
        archive.add(stdlib, f"python/lib/{version}", filter=wanted)
        for library in (Path(sys.base_prefix) / "lib").glob("libpython3*.so*"):
            archive.add(library, f"python/lib/{library.name}")
    return path


@pytest.fixture
def place(packed: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=packed.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def newer(
    tmp_path: Path, packed: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A machine like Debian 13, an empty cache, and a small lock in place of the toolkit's."""
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "version_info", (3, 13, 5))
    monkeypatch.setattr(environment, "python_source", lambda: _source(packed, f"{place}/"))
    text = (ROOT / "requirements" / "host.txt").read_text(encoding="utf-8")
    block = re.search(r"^idna==.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    lock = tmp_path / "rknn.txt"
    lock.write_text(block[0], encoding="utf-8")
    monkeypatch.setattr(environment, "lock_file", lambda name: lock)
    return monkeypatch


def _source(packed: Path, place: str) -> Source:
    file = SourceFile(
        file=packed.name, sha256=sha256_file(packed), places=[Place(url=f"{place}{packed.name}")]
    )
    return Source(name="cpython", version="9", licence="PSF-2.0", purpose="tests", files=[file])


def test_its_environment_is_made_with_the_downloaded_one(newer: pytest.MonkeyPatch) -> None:
    console = Console(stream=io.StringIO())
    assert environment.unavailable(console, "rknn") is None
    python = environment.environment(console, "rknn")
    asked = "import idna, sys; print(sys.base_prefix, idna.__file__, sep='\\n')"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    base, module = map(Path, done.stdout.split())
    assert base.is_relative_to(cache_dir() / "built" / "python"), "it is another Python"
    assert module.is_relative_to(python.parent.parent)
    assert environment.environment(Console(offline=True), "rknn") == python
    # The other converters have builds for every Python that ./inv takes.
    assert environment._interpreter(console, "models")[0] == Path(sys.executable)


def test_without_it_the_image_has_no_npu_models_and_says_why(
    newer: pytest.MonkeyPatch, packed: Path, job: pipeline.Plan
) -> None:
    newer.setattr(environment, "python_source", lambda: _source(packed, "http://127.0.0.1:1/"))
    told = io.StringIO()
    console = Console(stream=told)
    assert convert.wants_npu(console, job.spec, None) is False
    assert "gets no .rknn: rknn-toolkit2 has no build for Python" in told.getvalue()
    assert "could not download cpython 9" in told.getvalue()
    with pytest.raises(UserError, match="127.0.0.1: ") as caught:
        convert.wants_npu(console, job.spec, True)
    assert "PYTHON=python3.12 ./inv" in (caught.value.hint or "")
    with pytest.raises(UserError, match="downloads are off"):
        convert.wants_npu(Console(offline=True), job.spec, True)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_machine_of_the_toolkit_has_one(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    source = environment.python_source()
    assert source == load(ROOT).sources[f"cpython-{machine}"]
    assert tuple(map(int, source.version.split(".")[:2])) == environment.NEWEST_FOR_RKNN
    [file] = source.files
    assert all(machine in text for text in (file.file, file.places[0].url or ""))
