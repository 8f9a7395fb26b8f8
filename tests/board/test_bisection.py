"""`invoke verify-board --bisect`: the search, what it leaves on a board, and planted faults."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from pico_image.base.cache import cache_dir
from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.board import bisection
from pico_image.compile.programs import app
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.models import convert, environment
from pico_image.models.prefixes import Prefixes
from pico_image.models.worker.jobs import Cut, Step
from tests.board.double import Double
from tests.support import small_network
from tests.support.arm import CPUINFO, qemu
from tests.support.converters import borrowing_cache, caller


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_the_search_finds_each_layer_with_few_tries(count: int) -> None:
    for first in range(count):
        tried: list[int] = []

        def right(number: int, first: int = first, tried: list[int] = tried) -> bool:
            tried.append(number)
            return number < first

        assert bisection.search(count, right) == bisection.Finding(first, [])
        assert len(set(tried)) <= count.bit_length() + 2
        # Both sides of the answer were tried, those that there are.
        assert {first, first - 1, first + 1} & set(range(count)) <= set(tried)


def test_a_network_that_is_right_when_converted_afresh_has_no_bad_layer() -> None:
    assert bisection.search(7, lambda _: True) == bisection.Finding(None, [])


def test_answers_that_contradict_each_other_are_said() -> None:
    """A wrong layer whose error is clipped away by the next; one that is wrong now and then."""
    finding = bisection.search(7, lambda number: number in (0, 1, 3))
    assert finding.first == 2
    assert "prefix 4, which holds this layer too, is right" in " ".join(finding.doubts)
    answers = {3: [False, True]}
    finding = bisection.search(
        7, lambda number: answers[number].pop(0) if number == 3 else number < 3
    )
    assert finding.first == 3 and "wrong at times" in " ".join(finding.doubts)
    answers = {2: [True, False]}
    finding = bisection.search(
        7, lambda number: answers[number].pop(0) if number == 2 else number < 2
    )
    assert finding.first == 3 and "right at times" in " ".join(finding.doubts)


@dataclass(frozen=True)
class Unconverted:
    """Prefixes that no converter made: the programs that read them are doubles, too."""

    cuts: list[Cut]

    def write(self, number: int, folder: Path, *, simulated: bool) -> None:
        (folder / "golden").mkdir()
        (folder / "model.rknn").write_text(f"{number}\n")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    cuts = [Cut(f"layer{n}", [Step(f"layer{n}", "Conv", [[1, 3]], [1, 5])]) for n in range(4)]
    monkeypatch.setattr(Prefixes, "of", lambda *_: Unconverted(cuts))
    return Double.start(tmp_path / "board", monkeypatch)


def bisect(board: Double, config: Any = None) -> list[str]:
    connection = board.connection
    connection.release()
    return bisection.bisect(connection, config, "some", simulated=False)


def test_a_lost_connection_is_one_message_and_leaves_nothing(board: Double) -> None:
    board.program(
        "npu-runner", f"ls -A {board.root}/userdata >{board.root}/seen; touch {board.root}/lost"
    )
    with pytest.raises(Exception, match="while some up to layer1 was verified") as caught:
        bisect(board)
    assert "run it again" in str(getattr(caught.value, "hint", ""))
    assert (board.root / "seen").read_text().startswith(".pico-bisect.")
    assert board.left_over == []


def test_what_a_power_cut_left_goes_at_the_next_try(board: Double) -> None:
    (board.root / "userdata/.pico-bisect.77").mkdir()
    (board.root / "userdata/bench").mkdir()
    board.program("npu-runner", "exit 3")
    with pytest.raises(Exception, match="status 3"):
        bisect(board)
    assert board.left_over == ["bench"]


def test_a_full_board_is_the_users_to_mend(board: Double) -> None:
    board.program("tar", "echo 'tar: write error: No space left on device' >&2; exit 1")
    board.program("npu-runner", "exit 3")
    with pytest.raises(UserError, match="no space for a prefix in .*/userdata") as caught:
        bisect(board)
    assert "No space left on device" in caught.value.message
    assert board.left_over == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a killed Popen
def test_an_interrupted_search_leaves_nothing(board: Double) -> None:
    """Ctrl-C ends ssh here; the run there ends by itself, and the trap removes the prefix."""
    board.program(
        "npu-runner",
        # The shell that runs this is a child of the double of ssh, until that is killed.
        "ssh() { sed 's/.*) . //; s/ .*//' /proc/$PPID/stat; }\n"
        f"now=$(ssh); kill -INT {os.getpid()}\n"
        "while [ $(ssh) = $now ]; do sleep 0.05; done",
    )
    with pytest.raises(KeyboardInterrupt):
        bisect(board)
    deadline = time.monotonic() + 120
    while board.left_over:
        assert time.monotonic() < deadline, board.left_over
        time.sleep(0.05)
    assert "tar -xf" in (board.root / "commands").read_text()


@dataclass(frozen=True)
class Simulated:
    """A board whose NPU is the functional simulator, with the small network, and its conversion."""

    double: Double
    config: Config
    tflite: Path

    def plant(self, layer: int, inside: Callable[..., Any], *, everywhere: bool = True) -> None:
        """A fault in one layer, in the file that the simulator computes with.

        ``everywhere``: in each prefix that has the layer, too; they are cut from the cache's file.
        """
        prefixes = Prefixes.of(Console(), self.config, small_network.NAME)
        names = [step.name for step in prefixes.cuts[layer].steps]
        inside("cutting_cases", "plant", path=str(self.installed), names=names)
        if everywhere:
            shutil.copyfile(self.installed, self.tflite)

    @property
    def installed(self) -> Path:
        return self.double.root / "usr/share/npu-models" / small_network.NAME / "int8.tflite"


@pytest.fixture(scope="module")
def inside() -> Callable[..., Any]:
    return caller(environment.environment(Console(), "models"))


@pytest.fixture(scope="module")
def whole(
    inside: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Simulated]:
    if qemu() is None:
        pytest.skip("qemu-arm is not installed")
    folder, console = tmp_path_factory.mktemp("bisection"), Console()
    programs = app(console, configuration.load()) / "bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICO_CACHE_DIR", str(borrowing_cache(console, folder / "cache")))
        config = small_network.configured(folder / "project", inside)
        patch.setattr(configuration, "load", lambda: config)
        double = Double.start(folder / "board", patch)
        (double.root / "proc").mkdir()
        (double.root / "proc/cpuinfo").write_text(CPUINFO.format(cpu_part="0xc07"))
        # Only what is looked up below -L is the board's: /proc/cpuinfo.
        program = f"{qemu()} -cpu cortex-a7 -L {double.root} {programs}/npu-runner"
        double.program("npu-runner", f'exec {program} "$@"')
        converted = convert.convert(console, config, small_network.NAME, npu=True)
        double.model(small_network.NAME, converted)
        [tflite] = cache_dir().glob(f"built/tflite-{small_network.NAME}/*/int8.tflite")
        yield Simulated(double, config, tflite)


@pytest.fixture
def simulated(whole: Simulated, capsys: pytest.CaptureFixture[str]) -> Iterator[Simulated]:
    """The same, right again after the test."""
    good = whole.tflite.read_bytes()
    yield whole
    for path in (whole.tflite, whole.installed):
        path.write_bytes(good)
    # Cut from a file with a fault.
    shutil.rmtree(cache_dir() / "built" / f"prefix-tflite-{small_network.NAME}", ignore_errors=True)


def verify(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and output of the task."""
    status = 0
    try:
        tasks.verify_board(Context(), host="board", model=[], bisect=small_network.NAME)
    except Exit as error:
        print(error)
        status = int(error.code)
    return status, capsys.readouterr().out


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 2, 4, 6])
def test_a_planted_fault_is_found_in_its_layer(
    simulated: Simulated,
    inside: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    layer: int,
) -> None:
    simulated.plant(layer, inside)
    status, said = verify(capsys)
    assert status == 1, said
    cut = Prefixes.of(Console(), simulated.config, small_network.NAME).cuts[layer]
    operators = " + ".join(small_network.LAYERS[layer])
    assert f"first bad layer: {cut.tensor}: {operators}, 1x" in said
    assert f"layer {layer + 1} of 7" in said and "doubtful" not in said
    assert "WRONG" in said and simulated.double.left_over == []


@pytest.mark.qemu
@pytest.mark.slow
def test_without_a_fault_there_is_no_bad_layer(
    simulated: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = verify(capsys)
    assert status == 0, said
    assert "no bad layer: layered answers as on the PC" in said
    assert said.startswith("SIMULATED NPU")


@pytest.mark.qemu
@pytest.mark.slow
def test_a_fault_in_the_boards_file_alone_is_in_no_layer(
    simulated: Simulated, inside: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    simulated.plant(2, inside, everywhere=False)
    status, said = verify(capsys)
    assert status == 1, said
    assert "no bad layer: all prefixes of layered" in said
    assert "invoke deploy --host board --model layered" in said
