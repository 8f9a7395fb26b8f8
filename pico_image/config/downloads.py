"""What the Buildroot packages of a variant download, as far as configs/sources.yml has it.

Nothing is listed twice: a package's .hash file says which files it takes and their hashes, its .mk
which of them it takes with these symbols, and a source with the same hash where a file is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pico_image.config.configuration import Config
from pico_image.config.schema import Source

_CONDITION = re.compile(r"if(n?)eq \(\$\((BR2_\w+)\),y\)$")


def wanted(config: Config, symbols: Mapping[str, str]) -> dict[str, Source]:
    """``PACKAGE/FILE`` (as in Buildroot's download folder) -> a source with that one file.

    For the packages of ours that the symbols select, by themselves or through one another.
    """
    sources = {
        file.sha256: source.model_copy(update={"files": [file]})
        for source in config.sources.values()
        for file in source.files
    }
    folder = config.root / "package"
    names = sorted(path.parent.name for path in folder.glob("*/*.mk"))
    left = [name for name in names if symbols.get(f"BR2_PACKAGE_{_variable(name)}") == "y"]
    found: dict[str, Source] = {}
    for name in left:  # grows
        text = _active((folder / name / f"{name}.mk").read_text(encoding="utf-8"), symbols)
        for line in re.findall(rf"^{_variable(name)}_DEPENDENCIES \+?= (.*)$", text, re.MULTILINE):
            left += [other for other in line.split() if other in names and other not in left]
        hashes = folder / name / f"{name}.hash"
        lines = hashes.read_text(encoding="utf-8").splitlines() if hashes.is_file() else []
        for _, digest, file in (line.split() for line in lines if line.startswith("sha256")):
            if digest in sources and re.search(rf"(?<![\w.-]){re.escape(file)}(?![\w.-])", text):
                found[f"{name}/{file}"] = sources[digest]
    return found


def _variable(package: str) -> str:
    return package.upper().replace("-", "_")


def _active(text: str, symbols: Mapping[str, str]) -> str:
    """The lines of a .mk that make reads with these symbols, its version filled in.

    Under a condition on something else, both branches.
    """
    kept: list[str] = []
    states: list[bool | None] = []
    for line in text.replace("\\\n", " ").splitlines():
        if match := _CONDITION.match(line):
            states.append((symbols.get(match[2]) == "y") != bool(match[1]))
        elif re.match("ifn?(eq|def) ", line):
            states.append(None)
        elif line == "else":
            states[-1] = states[-1] if states[-1] is None else not states[-1]
        elif line == "endif":
            states.pop()
        elif False not in states:
            kept.append(line)
    version = re.search(r"^(\w+_VERSION) = (\S+)$", text, re.MULTILINE)
    active = "\n".join(kept)
    return active.replace(f"$({version[1]})", version[2]) if version else active
