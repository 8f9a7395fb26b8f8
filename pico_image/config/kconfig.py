"""Compares the symbols that a variant requests with those that Buildroot took.

Kconfig drops unknown symbols, and symbols with an unmet dependency, silently. After a
defconfig is loaded, ``compare`` names each such symbol, the file and line that requested it and,
if the ``Config.in`` files are at hand, the missing dependency.

``Tree`` reads those files. It is no Kconfig implementation (Buildroot's own decides what is set):
it follows ``config``, ``depends on``, ``select``, ``if``, ``menu`` and ``choice`` and evaluates
boolean expressions, enough to name the missing dependency, and leaves out what it cannot read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.config.render import Symbol, parse_line

_TOKEN = re.compile(r"\s*(\|\||&&|!=|=|!|\(|\)|\"[^\"]*\"|[A-Za-z0-9_.-]+)")


@dataclass(frozen=True)
class Difference:
    """One symbol whose value is not the requested one, and the reason if it is known."""

    symbol: Symbol
    actual: str
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.symbol.origin}: {self.symbol.name} was asked to be {self.symbol.value}, "
            f"is {self.actual}{': ' + self.reason if self.reason else ''}"
        )


def read_dotconfig(text: str) -> dict[str, str]:
    """Symbols and values of a ``.config`` or defconfig; ``n`` for "is not set"."""
    return dict(filter(None, (parse_line(line.strip()) for line in text.splitlines())))


def compare(
    requested: Mapping[str, Symbol], dotconfig: str, trees: Iterable[Path] = ()
) -> list[Difference]:
    """Each requested symbol that ``dotconfig`` does not have with that value.

    ``trees`` are folders with ``Config.in`` files (Buildroot's, our ``package/``) that
    tell the reasons; without them only the values are reported.
    """
    actual = read_dotconfig(dotconfig)
    wrong = [symbol for name, symbol in requested.items() if actual.get(name, "n") != symbol.value]
    tree = Tree.read(trees) if wrong else Tree({})
    return [
        Difference(
            symbol,
            actual.get(symbol.name, "n" if symbol.name in tree.entries else "absent"),
            _reason(symbol, actual, tree),
        )
        for symbol in wrong
    ]


def check(requested: Mapping[str, Symbol], dotconfig: str, trees: Iterable[Path] = ()) -> None:
    """Raise UserError listing every difference."""
    differences = compare(requested, dotconfig, trees)
    if differences:
        shown = "\n".join(f"  {difference}" for difference in differences)
        raise UserError(
            f"Buildroot did not take {len(differences)} of {len(requested)} requested "
            f"symbols:\n{shown}",
            hint="correct them where they are asked for, or ask for what they depend on",
        )


def _reason(symbol: Symbol, actual: Mapping[str, str], tree: Tree) -> str:
    if not tree.entries:
        return ""
    if symbol.name not in tree.entries:
        near = difflib.get_close_matches(symbol.name, tree.entries, n=1, cutoff=0.8)
        return "Buildroot knows no such symbol" + (f"; did you mean {near[0]}?" if near else "")
    missing = tree.unmet(symbol.name, actual)
    if missing:
        return "it depends on " + " and on ".join(missing) + ", which the configuration is not"
    if symbol.value == "n":
        selectors = tree.selected_by(symbol.name, actual)
        if selectors:
            return f"it is selected by {', '.join(selectors)}"
    if actual.get(symbol.name, "n") == "n":
        return "another choice of the same group, or a type mismatch, keeps it off"
    return ""


def changes(before: str, after: str) -> dict[str, str]:
    """What differs between two defconfigs (``make savedefconfig``), as extra_symbols.

    A symbol that is only in ``before`` went back to its default, which a variant's file can
    only say for a bool: it becomes ``n``.
    """
    old, new = read_dotconfig(before), read_dotconfig(after)
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    changed.update({name: "n" for name in old if name not in new and old[name] in ("y", "n")})
    return dict(sorted(changed.items()))


def as_variant_lines(changed: Mapping[str, str]) -> str:
    """Lines for a variant's file that ask for what ``changes`` found; empty text for nothing."""
    if not changed:
        return ""
    lines = ["extra_symbols:"]
    for name, value in sorted(changed.items()):
        text = value[1:-1].replace('\\"', '"').replace("\\\\", "\\") if value[:1] == '"' else value
        quoted = "'" + text.replace("'", "''") + "'"
        plain = re.fullmatch(r"[a-z][A-Za-z0-9_./-]*", text) and text not in _YAML_WORDS
        lines.append(f"  {name}: {text if plain else quoted}")
    return "\n".join(lines) + "\n"


#: Plain words that YAML 1.1 does not read as text.
_YAML_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


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
