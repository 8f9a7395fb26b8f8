"""An engine's first answers, for what no installed engine can be: old, of another architecture."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    #: What ``/version`` and ``/info`` answer (Docker Engine API, sections System).
    answers: dict[str, dict[str, Any]]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.rpartition("/")[2]
        assert isinstance(self.server, _Server)
        body = json.dumps(self.server.answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "test"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@contextlib.contextmanager
def answering(socket: Path, *, api: str = "1.45", architecture: str = "x86_64") -> Iterator[str]:
    """Listen on ``socket``; the URL."""
    server = _Server(str(socket), _Handler)
    server.answers = {
        "version": {"ApiVersion": api, "Version": "1.0-fake", "MinAPIVersion": "1.12"},
        "info": {"Architecture": architecture, "Name": "fake", "NCPU": 2, "MemTotal": 1 << 30},
    }
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"unix://{socket}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
