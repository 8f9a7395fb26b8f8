"""The parsers in C under libFuzzer with ASan and UBSan: a fixed budget, the same inputs each time.

``./inv test --level proofs`` gives every target twenty minutes instead. What a longer run finds
is written to ``out/fuzz``; mend the fault and keep the file in ``tests/app/fuzz/TARGET``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pico_image.base.files import output_dir
from tests.app.build import kept_build, run
from tests.app.fuzz_seeds import FOUND, write_corpus

#: Executions in CI: about ten seconds each on an idle core.
RUNS = {
    "card": 40_000,
    "golden": 60_000,
    "labels": 60_000,
    "mask": 100_000,
    "options": 300_000,
    "picture": 20_000,
    "rknn": 100_000,
    "tflite": 200_000,
}
LONG_SECONDS = 1200
#: A shell that forks. Started right by the tests' process, a program inherits that one's peak of
#: memory (Linux keeps it over vfork and exec), and libFuzzer takes it for its own: behind tests
#: that had needed 1.8 GB, all targets ended as "out-of-memory".
FORK = ("sh", "-c", '"$@"; exit $?', "sh")


@pytest.fixture(scope="module")
def fuzz() -> Path:
    options = ("-DPICO_FUZZ=ON", "-DPICO_BENCH=OFF", "-DCMAKE_C_COMPILER=clang")
    return kept_build("app-fuzz", *options, needs="clang") / "fuzz"


def test_every_finding_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= set(RUNS)


@pytest.mark.parametrize("target", RUNS)
def test_nothing_breaks(fuzz: Path, tmp_path: Path, target: str) -> None:
    long = os.environ.get("PICO_PROOFS") == "1"
    kept = output_dir() / "fuzz" if long else tmp_path
    kept.mkdir(parents=True, exist_ok=True)
    corpus = tmp_path / "corpus" / target
    write_corpus(target, corpus)
    seeds = len(list(corpus.iterdir()))
    budget = f"-max_total_time={LONG_SECONDS}" if long else f"-runs={RUNS[target]}"
    done = run(
        [
            *FORK,
            *(fuzz / f"fuzz-{target}", "-seed=1", budget, "-max_len=8192", "-timeout=20"),
            *("-rss_limit_mb=1024", "-print_final_stats=1", f"-artifact_prefix={kept}/{target}-"),
            corpus,
        ],
        timeout=LONG_SECONDS + 600,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None and int(executed[1]) >= (seeds if long else RUNS[target])
    # A target that refuses everything at the first byte would never learn a new input.
    assert len(list(corpus.iterdir())) > seeds


def test_a_fault_is_noticed(fuzz: Path, tmp_path: Path) -> None:
    """Self-test: one byte beyond an input of this program's own is reported, and ends it."""
    source = tmp_path / "fault.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdint.h>\n#include <stdlib.h>\n#include <string.h>\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {\n"
        "    volatile uint8_t *copy = malloc(4);\n"
        "    memset((void *)copy, 0, 4);\n"
        "    int bad = size > 2 && data[0] == 'R' && data[1] == 'K' ? copy[4] : 0;\n"
        "    free((void *)copy);\n    return bad & 0;\n}\n"
    )
    program = tmp_path / "fault"
    built = run(["clang", "-g", "-fsanitize=fuzzer,address", source, "-o", program])
    assert built.returncode == 0, built.stderr
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        run([program, "-seed=1", "-runs=2000000", f"-artifact_prefix={tmp_path}/"])
    assert list(tmp_path.glob("crash-*"))
