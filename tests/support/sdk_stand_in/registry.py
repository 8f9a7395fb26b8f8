"""A container registry with one image in it, as engines pull it (OCI distribution)."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _described(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


@contextlib.contextmanager
def serving(name: str, root: bytes, port: int = 0) -> Iterator[tuple[str, str]]:
    """Serve the tar archive ``root`` as image ``name:1``; its reference and its digest."""
    tag = "1"
    layer = gzip.compress(root, 1, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(root)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(CONFIG, config),
            "layers": [_described(LAYER, layer)],
        }
    ).encode()
    found = {"/v2/": ("application/json", b"{}")}
    for reference in (tag, _digest(manifest)):
        found[f"/v2/{name}/manifests/{reference}"] = (MANIFEST, manifest)
    for blob in (config, layer):
        found[f"/v2/{name}/blobs/{_digest(blob)}"] = ("application/octet-stream", blob)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, content = found.get(self.path, ("application/json", b""))
            self.send_response(200 if self.path in found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            if content:
                self.send_header("Docker-Content-Digest", _digest(content))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    # Engines take a registry on this machine without TLS.
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}/{name}:{tag}", _digest(manifest)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
