"""The commands and links in the documents exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.parser import Parser

import tasks
from pico_image.base.files import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_their_flags(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parser = Parser(Collection.from_module(tasks).to_contexts())
    blocks = "\n".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
    for command in re.findall(r"^(?:\w+=\S* )*(?:\./inv|invoke) ([a-z].*)$", blocks, re.MULTILINE):
        # Raises ParseError for a task or a flag that is not there.
        parser.parse_argv(shlex.split(command, comments=True))
    for task in re.findall(r"`(?:\./inv|invoke) ([a-z]\S*?)[ `]", text):
        assert task in (*Collection.from_module(tasks).task_names, "help"), task


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#: ]+\.\w+)(?:#[^)]*)?\)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    top = "pico_image|tests|app|configs|docker|docs|br2-external|board|benchmarks|requirements"
    for name in re.findall(rf"`((?:{top})/[\w./*-]+)`", text):
        if "mine" in name or re.search("[A-Z]{4}", name):
            continue  # for the reader to choose
        if name == "br2-external/configs/":
            continue  # written by `invoke render`
        assert list(ROOT.glob(name.rstrip("/"))), name
