"""Bad servers, and downloads killed at random moments: the next run is right.

Every choice comes from one seed, printed by each test; PICO_FAULT_SEED sets another. A kill is
SIGKILL to a real process.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import random
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pico_image import sources
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.config.schema import Place, Source, SourceFile
from tests.support.killing import PROOFS, Child, Moments, chance
from tests.test_sources import impatient

__all__ = ["chance"]

KILLS, BAD_ANSWERS = (50, 120) if PROOFS else (4, 8)
CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PICO_CACHE_DIR", str(folder))
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """/good, /slow and /FAULT/N: the fault comes at byte N."""

    def do_GET(self) -> None:
        _, fault, at = f"{self.path}/0".split("/")[:3]
        self.send_response(200)
        if fault != "cut":  # without a length a cut looks like the end
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with contextlib.suppress(OSError):
            getattr(self, f"_{fault}")(int(at))

    def _good(self, at: int) -> None:
        self.wfile.write(CONTENT)

    def _slow(self, at: int) -> None:
        for start in range(0, len(CONTENT), 10_000):
            self.wfile.write(CONTENT[start : start + 10_000])
            time.sleep(0.01)

    def _bit(self, at: int) -> None:
        self.wfile.write(CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :])

    def _cut(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])

    def _reset(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def _stall(self, at: int) -> None:
        self.wfile.write(CONTENT[:at])
        time.sleep(3.0)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def source(*urls: str) -> Source:
    file = SourceFile(
        file="thing.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        places=[Place(url=url) for url in urls],
    )
    return Source(name="thing", version="1", licence="MIT", purpose="testing", files=[file])


def test_a_place_that_fails_at_any_byte_is_named_and_the_next_taken(
    server: str, cache: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 1.0)
    for number in range(BAD_ANSWERS):
        fault = ("bit", "cut", "reset", "stall")[number % 4]
        bad = f"{server}/{fault}/{chance.randrange(len(CONTENT))}"
        with pytest.raises(UserError, match=r"could not download thing 1(.|\n)*127\.0\.0\.1: "):
            sources.fetch(Console(), source(bad))
        assert [path for path in cache.rglob("*") if path.name.startswith((".", "thing"))] == []
        got = sources.fetch(Console(), source(bad, f"{server}/good"))
        assert got.read_bytes() == CONTENT, bad
        shutil.rmtree(cache)


def _fetch(url: str) -> None:
    sources.fetch(Console(), source(url))


def test_a_killed_download_is_done_again_whole(
    server: str, cache: Path, chance: random.Random
) -> None:
    moments = Moments(chance, Child(_fetch, f"{server}/slow").wait())
    hits = tries = 0
    while hits < KILLS:
        tries += 1
        assert tries < 2 * KILLS + 10, "too few kills came before the end"
        shutil.rmtree(cache)
        child = Child(_fetch, f"{server}/slow")
        hit = child.kill_after(moments.next(), tools=True)
        moments.learn(hit, child)
        hits += hit
        got = sources.fetch(Console(), source(f"{server}/good"))
        assert got.read_bytes() == CONTENT
        assert list(cache.rglob("*.part")) == [], "what a killed download left is still there"
