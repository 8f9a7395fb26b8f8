"""Requested = actual: did Buildroot take every symbol that a variant asks for?

Kconfig drops what it does not know and what has an unmet dependency without a word. After a
defconfig is loaded, ``compare`` names each such symbol, the file and line that asked for it, and,
where the ``Config.in`` files at hand tell, the dependency that is missing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pico_image.base.errors import UserError
from pico_image.config.kconfig_tree import Tree
from pico_image.config.render import Symbol, parse_line


@dataclass(frozen=True)
class Difference:
    """One symbol that is not what was asked for, and why as far as that can be told."""

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

    ``trees`` are folders with ``Config.in`` files (Buildroot's, our ``package/``) from which the
    reasons come; without them only the facts are told.
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
    found = {name: value for name, value in new.items() if old.get(name) != value}
    found.update({name: "n" for name in old if name not in new and old[name] in ("y", "n")})
    return dict(sorted(found.items()))


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


#: Plain words that YAML 1.1 reads as something else than text.
_YAML_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})
