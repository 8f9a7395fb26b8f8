"""./inv: the newcomer's first command, run with a faked system around it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.card.compose import compose
from tests.support import synthetic_results
from tests.support.card_images import make_parts

#: What the script itself calls; all else is missing in the faked system.
COREUTILS = ("sh", "cat", "cmp", "cp", "dirname", "id", "mkdir", "sed", "sort", "tail", "tr")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what ./inv reads, in a folder with a space in its name."""
    tree = tmp_path / "my tree"
    (tree / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "inv", tree / "inv")
    shutil.copy(ROOT / "pyproject.toml", tree)
    for file in (ROOT / "requirements").glob("*.txt"):
        shutil.copy(file, tree / "requirements")
    return tree


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with the shell's tools and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COREUTILS:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def fake(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    path.chmod(0o755)


def run(tree: Path, path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tree / "inv"), *words],
        env={"PATH": str(path), "HOME": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_rights_it_prints_the_exact_command(tree: Path, bare: Path) -> None:
    fake(bare, "id", "echo 1000")
    fake(bare, "apt-get", "exit 0")
    done = run(tree, bare, "try")
    assert done.returncode == 2
    assert "sudo sh -c 'apt-get update && apt-get install -y" in done.stderr
    assert "gcc-arm-linux-gnueabihf" in done.stderr
    assert "qemu-system-arm" in done.stderr
    assert "docker.io" not in done.stderr, "only ./inv test needs the container engine"


def test_with_root_it_installs_what_is_missing(tree: Path, bare: Path, tmp_path: Path) -> None:
    record = tmp_path / "apt.txt"
    fake(bare, "id", "echo 0")
    fake(bare, "apt-get", f'echo "$@" >> {record}; [ "$1" = update ]')
    done = run(tree, bare, "test")
    assert done.returncode == 2, "the faked installation fails"
    assert "could not install the system packages" in done.stderr
    lines = record.read_text(encoding="ascii").splitlines()
    assert lines[0] == "update"
    assert "cmake" in lines[1].split()
    assert "genimage" in lines[1].split()


def test_of_two_packages_the_one_that_the_distribution_has_is_taken(
    tree: Path, bare: Path, tmp_path: Path
) -> None:
    """The fuzzers' runtime is in clang's package or in another: a clean machine had none."""
    there = tmp_path / "lib-14.0" / "there.a"
    there.parent.mkdir()
    there.touch()
    (tree / "requirements" / "system-emulator.txt").write_text(
        f"{tmp_path}/lib-*/absent.a new|old\n{tmp_path}/lib-*/there.a never\nnone last|later\n"
    )
    record = tmp_path / "apt.txt"
    fake(bare, "id", "echo 0")
    fake(bare, "apt-cache", f'[ -e {tmp_path}/updated ] && [ "$2" = new ]')
    fake(bare, "apt-get", f'echo "$@" >> {record}; [ "$1" = update ] && : > {tmp_path}/updated')
    assert run(tree, bare, "emulate").returncode == 2
    installing = record.read_text(encoding="ascii").splitlines()[1]
    assert installing.endswith("--no-install-recommends later new python3-venv")


def test_without_a_known_package_manager_it_names_the_packages(tree: Path, bare: Path) -> None:
    done = run(tree, bare, "try")
    assert done.returncode == 2
    assert "no apt-get here" in done.stderr
    assert "cmake" in done.stderr


@pytest.fixture
def python_alone(tree: Path, bare: Path) -> Path:
    """The faked system with a Python, and ``.venv`` as the script leaves it: a link to ours."""
    # `doctor` asks apt-get for the mirrors that it knows.
    fake(bare, "apt-get", f"[ $1 = indextargets ] || echo \"$*\" >'{tree}/apt'; exit 1")
    (bare / "python3").symlink_to(sys.executable)
    (tree / ".venv/bin").mkdir(parents=True)
    fake(tree / ".venv/bin", "python", f'exec "{sys.executable}" "$@"')
    for name in (".made", "host.txt", "report.txt"):
        (tree / ".venv" / name).touch()
        if name != ".made":
            shutil.copy(tree / "requirements" / name, tree / ".venv" / name)
    for name in ("pico_image", "configs", "app", "tasks.py"):
        (tree / name).symlink_to(ROOT / name)
    return bare


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--list",), 0),
        (("--help", "try"), 0),
        (("help", "try"), 0),
        (("try", "--help"), 0),
        (("variants",), 0),
        (("show-config",), 0),
        (("diff-config", "luckfox-pico", "luckfox-pico-mini"), 0),
        (("render", "--check"), 1),
        (("doctor", "--offline"), 0),
        (("clean", "--dry-run"), 0),
        (("history",), 0),
        (("compare", "one", "two"), 0),
        (("report", "one"), 0),
        (("inspect-image", "sdcard.img"), 0),
        (("flash", "--image", "sdcard.img", "--device", "nowhere"), 2),
        (("verify", "sdcard.img"), 0),
        (("bench", "--host", "127.0.0.1", "--port", "9"), 2),
        (("fetch", "--offline"), 2),
        (("deploy", "--host", "127.0.0.1", "--undo"), 2),
    ],
)
def test_python_alone_is_enough(
    tree: Path, python_alone: Path, words: tuple[str, ...], status: int
) -> None:
    """Without a cross compiler the variants could not be listed, so macOS could not flash."""
    for seed, name in enumerate(("one", "two")):
        folder = tree / "out/results" / name
        folder.mkdir(parents=True)
        text = json.dumps(synthetic_results.result(runs=30, seed=seed))
        (folder / "result.json").write_text(text)
    if "sdcard.img" in words:
        parts, table = make_parts(tree / "parts")
        compose(Console(stream=io.StringIO()), parts, table, tree / "sdcard.img")
    done = subprocess.run(
        [tree / "inv", *words],
        cwd=tree,
        env={
            "PATH": str(python_alone),
            "HOME": str(tree),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PICO_OUTPUT_DIR": str(tree / "out"),
            "DOCKER_HOST": f"unix://{tree}/no-engine",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (tree / "apt").exists(), done.stderr
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "lists"),
    [
        (("try",), {"compile", "image", "emulator"}),
        (("build-image",), {"image"}),
        (("build-image", "--variant", "emulator"), {"compile", "image"}),
        (("build-image", "--variant=emulator"), {"compile", "image"}),
        (("build-all",), {"image"}),
        (("build-all", "--variants", "luckfox-pico,emulator"), {"compile", "image"}),
        (("legal-info",), set()),
        (("legal-info", "--variant", "emulator"), {"compile"}),
        (("convert-models",), set()),
        (("deploy", "--host", "pico.local", "--model", "x"), set()),
        (("deploy", "--host", "pico.local", "--programs"), {"compile"}),
        (("emulate",), {"emulator"}),
        (("emulate", "--rootfs", "rootfs.tar"), {"compile", "image", "emulator"}),
        (("emulate", "--variant", "luckfox-pico-mini"), {"compile", "image", "emulator"}),
        (("bench",), {"emulator"}),
        (("bench", "--host=pico.local"), set()),
        (("-e", "test"), {"compile", "image", "emulator", "test"}),
        (("lint",), set()),
    ],
)
def test_a_task_asks_for_what_it_needs(
    tree: Path, bare: Path, words: tuple[str, ...], lists: set[str]
) -> None:
    """Each list names one program that is nowhere; .venv is made by a fake that fails."""
    for name in ("compile", "image", "emulator", "test"):
        (tree / f"requirements/system-{name}.txt").write_text(f"absent-{name} package-{name}\n")
    fake(bare, "python3", 'case "$*" in *--clear*) exit 1 ;; esac')
    done = run(tree, bare, *words)
    assert done.returncode == 2
    assert set(re.findall(r"package-(\w+)", done.stderr)) == lists
    assert ("could not make" in done.stderr) == (not lists)


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_help_says_what_to_do_next_without_python(
    tree: Path, bare: Path, words: tuple[str, ...]
) -> None:
    done = run(tree, bare, *words)
    assert done.returncode == 0 and done.stderr == ""
    commands = re.findall(r"^  \./inv (\S+)", done.stdout, re.MULTILINE)
    assert commands == ["try", "doctor", "build-image", "flash", "bench", "report"]
    assert set(commands) <= set(Collection.from_module(tasks).task_names)


def test_version_names_the_commit(tree: Path, bare: Path) -> None:
    pattern = r"luckfox-pico-npu \d+\.\d+\.\d+ \(commit {}\)\n"
    assert re.fullmatch(pattern.format("unknown"), run(tree, bare, "--version").stdout)
    git = shutil.which("git")
    assert git
    (bare / "git").symlink_to(git)
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*settings, "commit", "-q", "-m", "one"]):
        subprocess.run([git, *words], cwd=tree, check=True)
    assert re.fullmatch(pattern.format("[0-9a-f]{12}"), run(tree, bare, "--version").stdout)
    (tree / "inv").write_text((tree / "inv").read_text() + "# changed\n")
    changed = run(tree, bare, "--version").stdout
    assert re.fullmatch(pattern.format("[0-9a-f]{12}, modified"), changed)


@pytest.mark.parametrize("name", ["compile", "image", "emulator", "test"])
def test_every_package_list_line_is_a_pair(name: str) -> None:
    path = ROOT / f"requirements/system-{name}.txt"
    title, *lines = path.read_text(encoding="ascii").splitlines()
    assert title.startswith("# For ")
    for line in lines:
        assert line.startswith("#") or len(line.split()) == 2, line


def test_python_packages_are_locked_by_hash_and_bring_no_cuda() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.name.startswith("system") or path.name.endswith("-overrides.txt"):
            continue
        text = path.read_text(encoding="utf-8")
        for block in text.replace("\\\n", " ").splitlines():
            if "==" in block and not block.lstrip().startswith("#"):
                assert "--hash=sha256:" in block, f"{path.name}: {block[:60]}"
        assert "nvidia" not in text
        assert "://" not in text, "a lock names no registry"


def test_when_nothing_is_missing_it_adds_little(tmp_path: Path) -> None:
    """The bound is the issue's half second; the smallest of five runs, so that load is no fault.

    Of more where that is not enough: a machine may be busy for half a minute.
    """
    python = ROOT / ".venv" / "bin" / "python"
    if not (ROOT / ".venv" / ".made").exists():
        pytest.skip("no .venv made by ./inv")

    def took(*words: str) -> float:
        began = time.monotonic()
        subprocess.run(words, cwd=ROOT, capture_output=True, check=True, env=dict(os.environ))
        return time.monotonic() - began

    ours: list[float] = []
    bare: list[float] = []
    give_up = time.monotonic() + 120
    while len(ours) < 5 or (min(ours) - min(bare) >= 0.5 and time.monotonic() < give_up):
        ours.append(took("./inv", "--list"))
        bare.append(took(str(python), "-m", "invoke", "--list"))
    assert min(ours) - min(bare) < 0.5
