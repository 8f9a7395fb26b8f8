"""One board for all tests in here, but for those that take its power away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pico_image.base.console import Console
from pico_image.board import bench
from pico_image.board.ssh import Connection
from pico_image.results import store
from tests.board.boards import FAST, Board, booted


@pytest.fixture(scope="package")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Leave it as it was. Results that are fetched are kept in its folder meanwhile."""
    with booted(tmp_path_factory.mktemp("board")) as running:
        yield running


@pytest.fixture(scope="package")
def measured(board: Board) -> store.Run:
    """The real benchmark, run once; its result lies on the board from then on."""
    return bench.bench(board.connection, options=FAST)


@pytest.fixture
def nowhere(tmp_path: Path) -> Callable[..., Connection]:
    def make(host: str, **options: Any) -> Connection:
        return Connection(Console(), host, known_hosts=tmp_path / "known_hosts", **options)

    return make
