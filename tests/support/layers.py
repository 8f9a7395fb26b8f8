"""Who may import whom: the table, and the readers of imports and includes that it is held against.

``docs/architecture.md`` shows the same table: ``python -m tests.support.layers`` writes it there.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.files import ROOT

BELOW_CARDS = ("base", "config", "sources")
BELOW_BACKENDS = (*BELOW_CARDS, "card", "engine", "compile", "models", "results")
BELOW_IMAGE = (*BELOW_BACKENDS, "sdk", "emulator")


@dataclass(frozen=True)
class Room:
    """A package (or a module) of pico_image, or a folder of app/."""

    holds: str
    may_use: tuple[str, ...]


#: The rooms of pico_image, from the bottom up. A dot: a room within a room.
ROOMS: Mapping[str, Room] = {
    "base": Room("errors, console, files, cache (`build_once`, locks)", ()),
    "config": Room("schema, loading with file and line, `Target`, partitions, capacity, rendering",
                   ("base",)),
    "sources": Room("downloads by hash", ("base", "config")),
    "card": Room("making parts, tar archives, file systems, env, FIT, composing, block map, reading"
                 " back, repacking, flashing; what an image may have",
                 ("base", "config")),
    "engine": Room("a container engine; knows nothing of Luckfox", ("base",)),
    "compile": Room("cross compiler, TensorFlow Lite, image libraries, `app/`", BELOW_CARDS),
    "models.worker": Room("what runs in the converters' own Pythons", ("base",)),
    "models": Room("the host's side of model conversion", (*BELOW_CARDS, "models.worker")),
    "results": Room("results: read, check, keep, find; statistics; compare, history, report",
                    ("base",)),
    "sdk": Room("the backend `luckfox-sdk`: the vendor's SDK in a container",
                (*BELOW_CARDS, "card", "engine", "compile", "models")),
    "emulator": Room("the backend `emulator`: a root file system for QEMU, and its machine",
                     (*BELOW_CARDS, "card", "compile", "models", "results")),
    "image": Room("build (picks the backend), finish (composing, papers), SBOM, licences, signing",
                  BELOW_IMAGE),
    "board": Room("a board over SSH: connect, bench, deploy, collect, verify",
                  tuple(room for room in (*BELOW_IMAGE, "image") if room not in ("sdk", "engine"))),
    "doctor": Room("is this machine fit, each finding with its remedy",
                   (*BELOW_IMAGE, "image", "board")),
    "tasks": Room("the edge: parse, one call, print", (*BELOW_IMAGE, "image", "board", "doctor")),
}  # fmt: skip

#: The folders of app/, which include each other's headers by their bare names.
APP: Mapping[str, Room] = {
    "common": Room("timing, statistics, JSON, pictures, top-k, system facts; the runner core", ()),
    "rknn": Room("the RKNN C API and file format", ("common",)),
    "npu": Room("`npu-runner`: that core over the RKNN runtime", ("common", "rknn")),
    "neon": Room("`neon-runner`: that core over TensorFlow Lite", ("common",)),
    "rknn-sim": Room("the RKNN C API for machines without an NPU", ("common", "rknn")),
    "bench": Room("`npu-bench`: runs both over the installed models", ("common",)),
    "doctor": Room("`npu-doctor`: what a board is, what is wrong with it, what helps", ("common",)),
    "fuzz": Room("fuzzers of every parser", ("common", "rknn", "neon", "bench", "doctor")),
    "tests": Room("unit tests", ("common", "rknn", "npu", "neon", "rknn-sim", "bench", "doctor")),
}  # fmt: skip

#: Words that tell a stranger nothing.
FORBIDDEN = {"standing", "kinship", "media", "gate", "region", "placing"}
#: Module names that more than one room has on purpose.
SAME_NAME = {"__init__", "backend"}
MAX_PARAMETERS = 6


@dataclass(frozen=True)
class Import:
    """Module (or C file) ``source`` imports ``target``; names from ``pico_image`` or ``app`` on."""

    source: str
    target: str
    line: int


@dataclass
class Module:
    """A Python module: its dotted name without ``pico_image.``, and what the rules look at."""

    name: str
    imports: list[Import] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    has_code: bool = False


def room_of(module: str) -> str:
    """The room of a module: the longest that its name starts with."""
    rooms = [room for room in ROOMS if f"{module}.".startswith(f"{room}.")]
    return max(rooms, key=len, default=module)


def read_modules(top: Path) -> dict[str, Module]:
    """Every module under the folder ``top`` (a ``pico_image``), parsed."""
    trees = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return {name: _read_module(name, tree, set(trees)) for name, tree in trees.items()}


def _read_module(name: str, tree: ast.Module, known: set[str]) -> Module:
    module = Module(name)
    module.has_code = any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for target in _targets(node, known):
                if target != name:
                    module.imports.append(Import(name, target, node.lineno))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            module.names.append(node.name)
            if _parameters(node) > MAX_PARAMETERS:
                module.over.append(f"{name}.{node.name}")
        elif isinstance(node, ast.ClassDef):
            module.names.append(node.name)
    return module


def _targets(node: ast.Import | ast.ImportFrom, known: set[str]) -> Iterator[str]:
    """The modules of pico_image that a statement imports, anywhere in a module."""
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        dotted = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        raise ValueError(f"line {node.lineno}: imports are absolute here")
    else:
        dotted = [alias.name for alias in node.names]
    for each in dotted:
        package, _, target = each.partition(".")
        if package == "pico_image":
            # A name within a module: the module is what is imported.
            yield target if target in known else target.rpartition(".")[0]


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [each.arg for each in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
    # "_" is the context that Invoke hands to each task.
    return len(arguments) - (arguments[:1] in (["self"], ["cls"], ["_"]))


def forbidden_imports(modules: Mapping[str, Module]) -> Iterator[tuple[str, str]]:
    """Imports against the table: ``"ROOM imports ROOM"``, and where."""
    for module in modules.values():
        room = room_of(module.name)
        for each in module.imports:
            other = room_of(each.target)
            if room != other and other and other not in ROOMS[room].may_use:
                where = f"{module.name}:{each.line} imports {each.target}"
                allowed = ", ".join(ROOMS[room].may_use) or "nothing"
                yield f"{room} imports {other}", f"{where}; {room} may import {allowed}"


def package_edges(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which room imports which, as it is."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module in modules.values():
        room = room_of(module.name)
        edges[room] |= {room_of(each.target) for each in module.imports} - {room, ""}
    return edges


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The circles of a graph: each a sorted list of the nodes that reach each other."""
    reach = {node: _reachable(edges, node) for node in edges}
    together = {
        frozenset(other for other in reach[node] if node in reach.get(other, ()))
        for node in edges
        if node in reach[node]
    }
    return sorted(sorted(each) for each in together)


def _reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    left = list(edges[start])
    while left:
        node = left.pop()
        if node not in reached:
            reached.add(node)
            left.extend(edges.get(node, ()))
    return reached


def longest_chain(edges: Mapping[str, set[str]]) -> list[str]:
    """The longest path of a graph without circles."""
    known: dict[str, list[str]] = {}

    def chain(node: str) -> list[str]:
        if node not in known:
            known[node] = [node, *max((chain(each) for each in edges.get(node, ())),
                                      key=len, default=[])]  # fmt: skip
        return known[node]

    return max((chain(node) for node in edges), key=len, default=[])


def module_circles(modules: Mapping[str, Module]) -> Iterator[tuple[str, str]]:
    """Circles between the modules of one room: ``"circle in ROOM"``, and its modules."""
    edges: dict[str, set[str]] = {}
    for name, module in modules.items():
        edges[name] = {
            each.target for each in module.imports if room_of(each.target) == room_of(name)
        }
    for circle in circles(edges):
        yield f"circle in {room_of(circle[0])}", ", ".join(circle)


def bad_names(modules: Mapping[str, Module]) -> Iterator[str]:
    """Names that repeat their folder's, that two rooms share, or that tell nothing."""
    owners: dict[str, list[str]] = defaultdict(list)
    packages = {name.rpartition(".")[0] for name in modules}
    rooms = {room.rpartition(".")[2] for room in ROOMS}
    for name, module in modules.items():
        folder, _, own = name.rpartition(".")
        for part in folder.split("."):
            if part and own.startswith((f"{part}_", f"{part.rstrip('s')}_")):
                yield f"{name} repeats the name of its folder"
        if name not in packages and room_of(name) != "tasks":
            owners[own].append(name)
            if "." in name and own in rooms:
                yield f"{name} has the name of a room"
        for part in sorted(FORBIDDEN & set(own.split("_"))):
            yield f"{name} is named {part}"
        for word in module.names:
            if (plain := word.lower().strip("_")) in FORBIDDEN:
                yield f"{name}: {word} is named {plain}"
    for own, names in owners.items():
        if len(names) > 1 and own not in SAME_NAME:
            yield f"{' and '.join(sorted(names))} have one name"


def read_app(top: Path) -> list[Import]:
    """What the C files under ``top`` (an ``app``) use of each other.

    That is each ``#include "x.h"``, and in a .c file each function that another .c file of its
    folder defines: files whose functions call each other are a circle, whoever declares them.
    """
    files = {
        path.relative_to(top).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(top.rglob("*.[ch]"))
    }
    by_name = {Path(name).name: name for name in files if name.endswith(".h")}
    defined: dict[str, set[str]] = defaultdict(set)
    for name, text in files.items():
        for function in re.findall(r"^(?!static|typedef)\w[\w *]*?\b(\w+)\([^;]*?\)\n?\s*\{",
                                   text, re.MULTILINE):  # fmt: skip
            if name.endswith(".c"):
                defined[function].add(name)
    owner = {function: min(names) for function, names in defined.items() if len(names) == 1}
    uses = []
    for name, text in files.items():
        code = re.sub(r"/\*.*?\*/|//[^\n]*", lambda each: "\n" * each[0].count("\n"), text,
                      flags=re.DOTALL)  # fmt: skip
        for number, line in enumerate(code.splitlines(), 1):
            if included := re.match(r'#include "(?:.*/)?(.+)"', line):
                if included[1] in by_name:
                    uses.append(Import(name, by_name[included[1]], number))
            elif name.endswith(".c"):
                words = re.findall(r"\b\w+\b", re.sub(r'"(\\.|[^"\\])*"', "", line))
                called = {owner[word] for word in words if word in owner}
                uses += [
                    Import(name, other, number)
                    for other in sorted(called - {name})
                    if Path(other).parent == Path(name).parent
                ]
    return uses


def forbidden_includes(uses: list[Import]) -> Iterator[tuple[str, str]]:
    """Uses against the table: ``"app/FOLDER uses app/FOLDER"``, and where."""
    for use in uses:
        folder, other = use.source.split("/")[0], use.target.split("/")[0]
        if folder != other and other not in APP[folder].may_use:
            where = f"app/{use.source}:{use.line} uses {use.target}"
            yield f"app/{folder} uses app/{other}", where


def app_circles(uses: list[Import]) -> Iterator[tuple[str, str]]:
    """Circles between C files: ``"circle in app/FOLDER"``, and its files."""
    edges: dict[str, set[str]] = defaultdict(set)
    for use in uses:
        edges[use.source].add(use.target)
        edges[use.target] |= set()
    for circle in circles(edges):
        yield f"circle in app/{circle[0].split('/')[0]}", ", ".join(circle)


DOCUMENT = ROOT / "docs/architecture.md"
BEGIN = "<!-- begin: written by `python -m tests.support.layers`, do not edit -->"
END = "<!-- end -->"


def table(rooms: Mapping[str, Room], folder: str) -> list[str]:
    """A table of rooms in Markdown."""
    lines = [f"| `{folder}` | holds | may import |", "|---|---|---|"]
    for name, room in rooms.items():
        module = rooms is ROOMS and name in ("sources", "doctor")
        path = f"{name}.py" if module else f"{name.replace('.', '/')}/"
        lines.append(f"| `{path}` | {room.holds} | {shortened(room, rooms)} |")
    return lines


def shortened(room: Room, rooms: Mapping[str, Room]) -> str:
    """What a room may import, shorter where that is all above it but a few."""
    name = next(each for each in rooms if rooms[each] is room)
    above = list(rooms)[: list(rooms).index(name)]
    without = [each for each in above if each not in room.may_use and "." not in each]
    if len(above) > 4 and len(without) <= 2:
        return "all above" + (f" but {', '.join(without)}" if without else "")
    return ", ".join(room.may_use) or "nothing"


def block() -> str:
    """The generated part of docs/architecture.md."""
    lines = [BEGIN, "", *table(ROOMS, "pico_image/"), "", *table(APP, "app/"), "", END]
    return "\n".join(lines)


def with_block(text: str) -> str:
    """``text`` (the document) with its generated part as it should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/architecture.md has no generated block")
    return before + block() + after


if __name__ == "__main__":
    DOCUMENT.write_text(with_block(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
