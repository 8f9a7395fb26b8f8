"""Boards, variants, models and sources: the data in ``configs/``, typed and cross-checked.

``schema`` declares each kind. Every complaint names the file, the line, the value and what is
allowed there; YAML is read with its line numbers, and a duplicate key is an error.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.config.schema import Board, ModelSpec, Source, Variant

Location = tuple[Any, ...]

#: Deeper nesting is no configuration of ours, and would overflow the parser's stack.
MAX_DEPTH = 32
#: Our files have some hundred values. Aliases of aliases make billions out of 400 bytes.
MAX_VALUES = 50_000


@dataclass(frozen=True)
class Origin:
    """Where a value was written."""

    file: str
    line: int | None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Config:
    """All of ``configs/``, checked."""

    root: Path
    boards: dict[str, Board]
    variants: dict[str, Variant]
    models: dict[str, ModelSpec]
    sources: dict[str, Source]
    origins: dict[str, dict[str, Origin]]

    def variant(self, name: str) -> Variant:
        """The variant of that name; UserError with the known ones otherwise."""
        return _pick(self.variants, name, "variant", "invoke variants lists them")

    def board(self, name: str) -> Board:
        return _pick(self.boards, name, "board", "see configs/boards/")

    def model(self, name: str) -> ModelSpec:
        return _pick(self.models, name, "model", "see configs/models/")

    def source(self, name: str) -> Source:
        return _pick(self.sources, name, "source", "see configs/sources.yml")

    def flatten(self, variant_name: str) -> dict[str, tuple[Any, Origin]]:
        """One variant with its board: ``{"board.soc": (value, where it was written)}``."""
        variant = self.variant(variant_name)
        board = self.board(variant.board)
        flat: dict[str, tuple[Any, Origin]] = {}
        for prefix, model, origins in (
            ("", variant, self.origins[f"variant {variant.name}"]),
            ("board.", board, self.origins[f"board {board.name}"]),
        ):
            for key, value in model.model_dump().items():
                if isinstance(value, dict):
                    for inner, entry in value.items():
                        where = origins.get(f"{key}.{inner}", origins.get(key, _DEFAULT))
                        flat[f"{prefix}{key}.{inner}"] = (entry, where)
                else:
                    flat[prefix + key] = (value, origins.get(key, _DEFAULT))
        return flat


_DEFAULT = Origin("default", None)
_T = TypeVar("_T")
_M = TypeVar("_M", bound=BaseModel)


def _pick(table: dict[str, _T], name: str, kind: str, hint: str) -> _T:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"unknown {kind} {name!r}{guess}",
        hint=f"known: {', '.join(sorted(table))}" if table else hint,
    )


def load(root: Path = ROOT) -> Config:
    """Read and check ``configs/`` below ``root``.

    Raises ConfigError (file, line, value, what is allowed) for the first error.
    """
    folder = root / "configs"
    origins: dict[str, dict[str, Origin]] = {}
    sources = _sources(folder / "sources.yml", root, origins)
    boards, _ = _folder(folder / "boards", Board, "board", root, origins)
    models, _ = _folder(folder / "models", ModelSpec, "model", root, origins)
    variants, documents = _folder(folder / "variants", Variant, "variant", root, origins)
    for name, variant in variants.items():
        document, parents = documents[name]
        _known(variant.board, boards, document, ("board",), parents)
        for number, model in enumerate(variant.models):
            _known(model, models, document, ("models", number), parents)
    return Config(root, boards, variants, models, sources, origins)


def _known(
    name: str,
    table: dict[str, Any],
    document: Document,
    where: tuple[str | int, ...],
    parents: list[Document],
) -> None:
    if name in table:
        return
    owner = next((d for d in (document, *parents) if where[0] in d.data), document)
    near = difflib.get_close_matches(name, table, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        owner.path,
        owner.line(where),
        f"{where[0]}: unknown value {name!r}{guess}",
        hint=f"allowed: {', '.join(sorted(table))}",
    )


def _check_name(document: Document) -> None:
    """A file is called as what it describes."""
    path = document.path
    if "name" in document.data and document.data["name"] != path.stem:
        raise ConfigError(
            path,
            document.line(("name",)),
            f"name is {document.data['name']!r} but the file is called {path.name}",
            hint="leave name out, or rename the file",
        )


def _sources(path: Path, root: Path, origins: dict[str, dict[str, Origin]]) -> dict[str, Source]:
    document = read_yaml(path)
    key = "sources"
    entries = document.data.get(key)
    if not isinstance(entries, dict) or set(document.data) != {key}:
        raise ConfigError(path, 1, f"expected one mapping called {key!r} and nothing else")
    table: dict[str, Source] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise ConfigError(path, document.line((key, name)), f"{name!r} is not a mapping")
        table[str(name)] = _validate(Source, {"name": name, **entry}, document, (key, name))
        origins[f"source {name}"] = {
            str(field): Origin(_relative(path, root), document.line((key, name, field)))
            for field in entry
        }
    return table


def _folder(
    folder: Path, model: type[_M], kind: str, root: Path, origins: dict[str, dict[str, Origin]]
) -> tuple[dict[str, _M], dict[str, tuple[Document, list[Document]]]]:
    """What the files of a folder describe, and for each its file and those that it extends."""
    paths = {path.stem: path for path in folder.glob("*.yml")}
    documents = {name: read_yaml(paths[name]) for name in sorted(paths)}
    # Mappings with keys of the user's choice are merged, all other values replaced.
    free = {key for key, each in model.model_fields.items() if get_origin(each.annotation) is dict}
    entries: dict[str, _M] = {}
    chains: dict[str, tuple[Document, list[Document]]] = {}
    for name, document in documents.items():
        if name.startswith("_"):  # a part to extend from
            continue
        chain = _chain(name, documents)
        merged: dict[str, Any] = {}
        where: dict[str, Origin] = {}
        for part in reversed(chain):
            for key, value in part.data.items():
                if key in ("extends", "name"):
                    continue
                if key in free and isinstance(value, dict) and isinstance(merged.get(key), dict):
                    merged[key] = {**merged[key], **value}
                else:
                    merged[key] = value
            where.update(_origins(part, root))
        _check_name(document)
        entries[name] = _validate(model, {"name": name, **merged}, document, parents=chain[1:])
        origins[f"{kind} {name}"] = where
        chains[name] = (document, chain[1:])
    return entries, chains


def _chain(name: str, documents: dict[str, Document]) -> list[Document]:
    """A file of a folder and those that it extends, nearest first."""
    chain: list[Document] = []
    seen: list[str] = []
    current: str | None = name
    while current is not None:
        document = documents[current]
        chain.append(document)
        seen.append(current)
        parent = document.data.get("extends")
        known = isinstance(parent, str) and parent in documents
        if parent is not None and (not known or parent in seen):
            problem = "extends itself" if known else f"extends: unknown {parent!r}"
            raise ConfigError(
                document.path,
                document.line(("extends",)),
                problem,
                hint=f"allowed: {', '.join(sorted(set(documents) - set(seen)))}",
            )
        current = parent
    return chain


def _origins(document: Document, root: Path) -> dict[str, Origin]:
    file = _relative(document.path, root)
    origins: dict[str, Origin] = {}
    for key, value in document.data.items():
        origins[str(key)] = Origin(file, document.line((key,)))
        if isinstance(value, dict):
            for inner in value:
                origins[f"{key}.{inner}"] = Origin(file, document.line((key, inner)))
        elif isinstance(value, list):
            for number in range(len(value)):
                origins[f"{key}.{number}"] = Origin(file, document.line((key, number)))
    return origins


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _validate(
    model: type[_M],
    data: dict[str, Any],
    document: Document,
    prefix: Location = (),
    parents: list[Document] | None = None,
) -> _M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        # A misspelt key also makes the right one "missing": name the one that was typed.
        first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
        location = tuple(first["loc"])
        owner = document
        if location:
            for candidate in (document, *(parents or [])):
                if location[0] in candidate.data:
                    owner = candidate
                    break
        allowed = ""
        if first["type"] == "extra_forbidden":
            allowed = f"allowed: {', '.join(sorted(model.model_fields))}"
            message = f"unknown key {location[-1]!r}"
        else:
            shown = f" (value {first['input']!r})" if first["type"] != "missing" else ""
            message = f"{'.'.join(map(str, location))}: {_plain(first['msg'])}{shown}"
        raise ConfigError(
            owner.path, owner.line(prefix + location), message, hint=allowed or None
        ) from None


def _plain(message: str) -> str:
    return re.sub(r"^Value error, ", "", message)


@dataclass(frozen=True)
class Document:
    """A mapping read from a file and the line on which each of its values was written."""

    path: Path
    data: dict[Any, Any]
    lines: dict[Location, int]

    def line(self, location: Location) -> int | None:
        """The line of the nearest value at or above ``location``."""
        while location:
            if location in self.lines:
                return self.lines[location]
            location = location[:-1]
        return self.lines.get((), None)


def read_yaml(path: Path) -> Document:
    """Read one YAML mapping. Raises ConfigError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, None, f"could not read this configuration file: {error}") from error
    lines: dict[Location, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise ConfigError(path, 1, "the file is empty; expected a mapping")
            data = _construct(loader, node, path, (), lines)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            path, mark.line + 1 if mark else None, f"not valid YAML: {error.problem}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(path, None, f"not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(path, 1, f"expected a mapping, found {type(data).__name__}")
    return Document(path, data, lines)


def _construct(
    loader: yaml.SafeLoader,
    node: yaml.Node,
    path: Path,
    location: Location,
    lines: dict[Location, int],
) -> Any:
    line = node.start_mark.line + 1
    lines[location] = line
    if len(lines) > MAX_VALUES:
        raise ConfigError(path, line, f"more than {MAX_VALUES} values, aliases written out")
    if len(location) > MAX_DEPTH:
        raise ConfigError(path, line, f"nested more than {MAX_DEPTH} deep")
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(loader, key_node, path)
            if not isinstance(key, (str, int, float, bool)):
                raise ConfigError(path, key_node.start_mark.line + 1, "a key must be a plain word")
            if key in result:
                raise ConfigError(path, key_node.start_mark.line + 1, f"duplicate key {key!r}")
            inner = (*location, key)
            result[key] = _construct(loader, value_node, path, inner, lines)
            lines[inner] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, item, path, (*location, number), lines)
            for number, item in enumerate(node.value)
        ]
    return _scalar(loader, node, path)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Any:
    """A value by its tag. PyYAML has no errors of its own for `!!int ''` or `!!bool x`."""
    try:
        return loader.construct_object(node, deep=True)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        line = node.start_mark.line + 1
        kind = node.tag.rpartition(":")[2]
        raise ConfigError(
            path, line, f"not valid YAML: no {kind}: {str(node.value)[:40]!r}"
        ) from error
