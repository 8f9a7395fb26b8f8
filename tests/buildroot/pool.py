"""One file of the distribution's pool, by hash, as a source of the tests."""

from __future__ import annotations

from pico_image.config.schema import Place, Source, SourceFile


def pool(name: str, version: str, path: str, sha256: str) -> Source:
    file = SourceFile(file=path.rpartition("/")[2], sha256=sha256, places=[Place(pool=path)])
    return Source(
        name=name, version=version, licence="see the source", purpose="a test's build by Buildroot",
        files=[file],
    )  # fmt: skip
