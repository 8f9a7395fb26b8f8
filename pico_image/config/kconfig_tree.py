"""Reads dependencies from ``Config.in`` files, enough to explain a dropped symbol.

Not a Kconfig implementation: Buildroot's own decides what is set. This one only follows
``config``, ``depends on``, ``select``, ``if``, ``menu`` and ``choice`` and evaluates boolean
expressions, so that an error can say which dependency is missing. What it cannot read it
leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TOKEN = re.compile(r"\s*(\|\||&&|!=|=|!|\(|\)|\"[^\"]*\"|[A-Za-z0-9_.-]+)")


@dataclass
class Entry:
    """One symbol: what it depends on (all of them) and what it selects, under which condition."""

    depends: list[str] = field(default_factory=list)
    selects: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Tree:
    """All symbols of some Config.in files."""

    entries: dict[str, Entry]

    @classmethod
    def read(cls, folders: Iterable[Path]) -> Tree:
        tree = cls({})
        for folder in folders:
            for path in sorted([*folder.rglob("Config.in"), *folder.rglob("Config.in.*")]):
                tree._read_file(path)
        return tree

    def _read_file(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        blocks: list[list[str]] = []
        current: list[str] | None = None  # who gets the next "depends on"
        entry = Entry()
        help_indent: int | None = None
        for line in text.expandtabs(8).splitlines():
            indent = len(line) - len(line.lstrip())
            if help_indent is not None and (not line.strip() or indent > help_indent):
                continue
            help_indent = None
            word, _, rest = _without_comment(line).strip().partition(" ")
            rest = rest.strip()
            if word == "help":
                help_indent = indent
            elif word in ("if", "menu", "choice"):
                blocks.append([rest] if word == "if" else [])
                current = blocks[-1]
            elif word in ("endif", "endmenu", "endchoice"):
                if blocks:
                    blocks.pop()
                current = None
            elif word in ("config", "menuconfig"):
                entry = self.entries.setdefault(rest, Entry())
                entry.depends += [condition for block in blocks for condition in block]
                current = entry.depends
            elif word in ("comment", "source"):
                current = None
            elif word == "depends" and rest.startswith("on ") and current is not None:
                current.append(rest[3:].strip())
            elif word == "select" and current is entry.depends:
                target, _, condition = rest.partition(" if ")
                entry.selects.append((target.strip(), condition.strip()))

    def unmet(self, name: str, actual: Mapping[str, str]) -> list[str]:
        """The dependencies of ``name`` that do not hold in ``actual``."""
        return [
            depends
            for depends in dict.fromkeys(self.entries[name].depends)
            if evaluate(depends, actual) is False
        ]

    def selected_by(self, name: str, actual: Mapping[str, str]) -> list[str]:
        """The set symbols that select ``name``."""
        return sorted(
            selector
            for selector, entry in self.entries.items()
            if actual.get(selector) == "y"
            for target, condition in entry.selects
            if target == name and (not condition or evaluate(condition, actual) is not False)
        )


def evaluate(expression: str, actual: Mapping[str, str]) -> bool | None:
    """Whether a Kconfig expression holds; None when it cannot be read."""
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != re.sub(r"\s+", "", expression):
        return None
    parser = _Parser(tokens, actual)
    try:
        result = parser.either()
    except (IndexError, ValueError):
        return None
    return result if parser.at == len(tokens) else None


class _Parser:
    """Recursive descent over ``||``, ``&&``, ``!``, ``=``, ``!=`` and parentheses."""

    def __init__(self, tokens: list[str], actual: Mapping[str, str]) -> None:
        self.tokens, self.actual, self.at = tokens, actual, 0

    def either(self) -> bool:
        result = self.both()
        while self._accept("||"):
            result = self.both() or result
        return result

    def both(self) -> bool:
        result = self.single()
        while self._accept("&&"):
            result = self.single() and result
        return result

    def single(self) -> bool:
        if self._accept("!"):
            return not self.single()
        if self._accept("("):
            result = self.either()
            if not self._accept(")"):
                raise ValueError("unbalanced")
            return result
        left = self._take()
        for operator in ("!=", "="):
            if self._accept(operator):
                equal = self._value(left) == self._value(self._take())
                return equal if operator == "=" else not equal
        return self._value(left) == "y"

    def _value(self, token: str) -> str:
        if token.startswith('"'):
            return token
        return token if token in ("y", "n", "m") else self.actual.get(token, "n")

    def _take(self) -> str:
        token = self.tokens[self.at]
        if token in ("||", "&&", "!", "(", ")", "=", "!="):
            raise ValueError(token)
        self.at += 1
        return token

    def _accept(self, token: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == token:
            self.at += 1
            return True
        return False


def _without_comment(line: str) -> str:
    """The line without its trailing ``# ...``, unless that stands inside quotes."""
    inside = False
    for number, letter in enumerate(line):
        if letter == '"':
            inside = not inside
        elif letter == "#" and not inside:
            return line[:number].rstrip()
    return line
