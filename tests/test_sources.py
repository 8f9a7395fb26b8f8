"""Downloads: by hash, from places in order, the bad ones named."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import requests

from pico_image import sources
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.card.parts import Parts
from pico_image.config import configuration
from pico_image.config.schema import Place, Source, SourceFile
from pico_image.image import build
from pico_image.models import environment

CONTENT = b"the right bytes" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /good, /wrong, /truncated, /slow, /long and 404 for the rest."""

    def do_GET(self) -> None:
        if self.path == "/good":
            self._answer(CONTENT, len(CONTENT))
        elif self.path == "/wrong":
            self._answer(b"x" * len(CONTENT), len(CONTENT))
        elif self.path == "/truncated":
            self._answer(CONTENT[:100], len(CONTENT))
        elif self.path == "/long":
            self._answer(CONTENT * 2, len(CONTENT) * 2)
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            try:
                for byte in CONTENT:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.01)
            except OSError:
                pass
        else:
            self.send_error(404, "Gone")

    def _answer(self, body: bytes, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PICO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PICO_OUTPUT_DIR", str(tmp_path / "out"))
    return tmp_path / "cache"


def source(*urls: str, content: bytes = CONTENT, size: int | None = len(CONTENT)) -> Source:
    return Source(
        name="thing",
        version="1",
        licence="MIT",
        purpose="testing",
        files=[
            SourceFile(
                file="thing.bin",
                sha256=hashlib.sha256(content).hexdigest(),
                size=size,
                places=[Place(url=url) for url in urls],
            )
        ],
    )


def parts_left(cache: Path) -> list[Path]:
    return list(cache.rglob("*.part"))


def test_a_good_place_is_fetched_once(server: str, cache: Path) -> None:
    first = sources.fetch(Console(), source(f"{server}/good"))
    assert first.read_bytes() == CONTENT
    again = sources.fetch(Console(offline=True), source("http://127.0.0.1:1/none"))
    assert again == first
    assert parts_left(cache) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone", "answered 404"),
        ("/wrong", "wrong content"),
        ("/truncated", "IncompleteRead|wrong content|ChunkedEncodingError"),
        ("/long", "sent more than"),
    ],
)
def test_a_bad_place_is_named_and_the_next_one_tried(
    server: str, cache: Path, path: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"127.0.0.1: .*({reason})"):
        sources.fetch(Console(), source(server + path))
    assert parts_left(cache) == []
    good = sources.fetch(Console(), source(server + path, f"{server}/good"))
    assert good.read_bytes() == CONTENT


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give up places that stall after ``seconds``; a good one may be slow on a busy machine."""
    get = requests.get

    def ask(url: str, **options: Any) -> requests.Response:
        patience = {"timeout": 60} if url.endswith("/good") else {}
        return get(url, **{**options, **patience})

    monkeypatch.setattr(requests, "get", ask)
    monkeypatch.setattr(sources, "STALL_SECONDS", seconds)


def test_a_slow_place_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, 0.3)
    got = sources.fetch(Console(), source(f"{server}/slow", f"{server}/good", size=None))
    assert got.read_bytes() == CONTENT
    with pytest.raises(UserError, match="too slow|timed out"):
        sources.fetch(Console(), source(f"{server}/slow", content=b"other", size=None))


def test_unreachable_and_offline_say_what_is_needed_and_where_to_put_it(cache: Path) -> None:
    with pytest.raises(UserError, match="could not download thing 1 .testing."):
        sources.fetch(Console(), source("http://127.0.0.1:1/x"))
    with pytest.raises(UserError, match="downloads are off") as caught:
        sources.fetch(Console(offline=True), source("http://127.0.0.1:1/x"))
    assert str(cache / "downloads") in (caught.value.hint or "")
    with pytest.raises(UserError, match="environment of the models conv"):
        environment.environment(Console(offline=True), "models")


def test_offline_is_that_of_one_run_alone(server: str) -> None:
    """Two runs of one process at the same time: --offline of the one reached the other."""
    refused = threading.Event()
    wanted = source(f"{server}/good")

    def download() -> Path:
        assert refused.wait(60)
        return sources.fetch(Console(), wanted)

    with futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(download)
        with pytest.raises(UserError, match="downloads are off"):
            sources.fetch(Console(offline=True), wanted)
        refused.set()
        assert other.result().read_bytes() == CONTENT


def test_a_damaged_file_in_a_carried_cache_is_fetched_again(server: str, cache: Path) -> None:
    wanted = source(f"{server}/good")
    path = cache / "downloads/sha256" / wanted.files[0].sha256 / "thing.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    assert sources.fetch(Console(), wanted).read_bytes() == CONTENT


def test_a_users_own_copy_of_the_runtime_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From RKNN_RUNTIME_DIR or its folder of that version, where the bytes are the right ones."""
    monkeypatch.setenv("RKNN_RUNTIME_DIR", str(tmp_path / "rknpu2"))
    wanted = source("http://127.0.0.1:1/none")
    for place in ("rknpu2", "rknpu2/1"):
        own = tmp_path / place / "thing.bin"
        own.parent.mkdir()
        own.write_bytes(b"another version's")
        with pytest.raises(UserError, match="downloads are off"):
            sources.fetch(Console(offline=True), wanted)
        own.write_bytes(CONTENT)
        assert sources.fetch(Console(offline=True), wanted) == own
        own.write_bytes(b"another version's")
    assert own.is_file()


def make_tar(path: Path, names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        for name, content in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def tar_source(tmp_path: Path, names: dict[str, bytes]) -> Source:
    content = make_tar(tmp_path / "thing.tar.gz", names)
    return Source(
        name="thing",
        version="1",
        licence="MIT",
        purpose="testing",
        files=[
            SourceFile(
                file="thing.tar.gz",
                sha256=hashlib.sha256(content).hexdigest(),
                places=[Place(url=(tmp_path / "thing.tar.gz").as_uri())],
            )
        ],
    )


def test_unpack_strips_the_leading_folder(tmp_path: Path) -> None:
    wanted = tar_source(tmp_path, {"top/a": b"1", "./top/b/c": b"2"})
    folder = sources.unpack(Console(), wanted, tmp_path / "x")
    assert (folder / "a").read_bytes() == b"1"
    assert (folder / "b/c").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["top/../../evil", "top//etc/../../../evil"])
def test_unpack_refuses_to_leave_its_folder(tmp_path: Path, name: str) -> None:
    wanted = tar_source(tmp_path, {name: b"x"})
    with pytest.raises(UserError, match="could not unpack"):
        sources.unpack(Console(), wanted, tmp_path / "deep" / "x")
    assert not list(tmp_path.rglob("evil"))


def test_apt_mirrors_come_from_the_system() -> None:
    sources.apt_sites.cache_clear()
    for site in sources.apt_sites():
        assert site.startswith(("http://", "https://", "file:", "copy:", "mirror"))


def test_pypi_place_finds_a_file_by_name() -> None:
    url = sources._pypi_url("six==1.16.0", "six-1.16.0-py2.py3-none-any.whl")
    assert url.partition("#")[0].endswith("six-1.16.0-py2.py3-none-any.whl")
    with pytest.raises(sources.PlaceFailed, match="has no file"):
        sources._pypi_url("six==1.16.0", "seven.whl")


def test_two_fetches_at_once_download_once(server: str) -> None:
    wanted = source(f"{server}/good")
    results: list[Path] = []
    threads = [
        threading.Thread(
            target=functools.partial(lambda: results.append(sources.fetch(Console(), wanted)))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert results[0].read_bytes() == CONTENT


def test_a_matrix_of_variants_is_offline_on_every_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline: list[bool] = []

    def note(own: Console, *_: object) -> Parts:
        offline.append(own.offline)
        return Parts(tmp_path)

    monkeypatch.setattr(build, "build_image", note)
    for each in (True, False):
        console = Console(offline=each, stream=io.StringIO())
        names = ["luckfox-pico-mini", "emulator"]
        build.build_all(console, configuration.load(), names, contexts=["a", "b"])
    assert offline == [True, True, False, False]
