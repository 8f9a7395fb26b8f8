"""YAML that remembers its line numbers and refuses duplicate keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pico_image.base.errors import ConfigError

Location = tuple[Any, ...]

#: Nesting beyond this is no configuration of ours but an attempt on the parser's stack.
MAX_DEPTH = 32
#: Ours have some hundred values. Aliases of aliases make thousands of millions out of 400 bytes.
MAX_VALUES = 50_000


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
    """Read one YAML mapping. Raises ConfigError with the line for whatever is wrong."""
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
