"""Renders the files of a variant that Buildroot and the Luckfox SDK read.

A variant of the ``luckfox-sdk`` backend becomes a Buildroot defconfig and a BoardConfig file,
both in ``br2-external/configs/``, from the Jinja2 templates in ``configs/templates/``. Both are
sorted, headed "do not edit" and ignored by git; ``check`` fails if one was edited.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from pico_image.base.errors import CheckFailed, ConfigError, UserError
from pico_image.base.files import write_text
from pico_image.config import capacity
from pico_image.config.configuration import Config, Origin
from pico_image.config.target import Target

CONFIGS = Path("br2-external/configs")
TEMPLATES = Path("configs/templates")
DEFCONFIG_TEMPLATE = "defconfig.j2"
BOARD_CONFIG_TEMPLATE = "board-config.mk.j2"

_SYMBOL = re.compile(r"^BR2_[A-Za-z0-9_]+$")
_SET = re.compile(r"^(BR2_[A-Za-z0-9_]+)=(.*)$")
_UNSET = re.compile(r"^# (BR2_[A-Za-z0-9_]+) is not set$")


@dataclass(frozen=True)
class Symbol:
    """A Buildroot symbol, its value as in a defconfig ('n' for not set), and who requests it."""

    name: str
    value: str
    origin: Origin

    def __str__(self) -> str:
        return f"# {self.name} is not set" if self.value == "n" else f"{self.name}={self.value}"


def defconfig_name(variant: str) -> str:
    """The defconfig's file name; never one of the SDK's own, which it would shadow."""
    return f"npu_{_underscores(variant)}_defconfig"


def board_config_name(variant: str) -> str:
    return f"BoardConfig-npu-{variant}.mk"


def renderable(config: Config) -> list[str]:
    """The variants that Buildroot builds, sorted."""
    return sorted(
        name for name, variant in config.variants.items() if config.board(variant.board).buildroot
    )


def symbols(config: Config, variant_name: str) -> dict[str, Symbol]:
    """Every Buildroot symbol that a variant asks for, with the file and line that asks.

    Raises ConfigError for a package that is not there or that the board cannot have, and for
    an extra symbol that is not well formed.
    """
    target = _checked(config, variant_name)
    variant = target.variant
    template = TEMPLATES / DEFCONFIG_TEMPLATE
    text = _render(target, DEFCONFIG_TEMPLATE)
    lines = _template_lines(config.root / template)
    origins = config.origins[f"variant {variant.name}"]
    packages = {f"BR2_PACKAGE_{_underscores(name).upper()}" for name in variant.packages}
    requested: dict[str, Symbol] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, value = parse_line(line) or _not_a_symbol(template, line)
        if name in packages:
            origin = origins.get("packages", Origin(template.as_posix(), None))
        elif name == "BR2_ROOTFS_POST_SCRIPT_ARGS":
            origin = origins["allowed"]
        else:
            origin = Origin(template.as_posix(), lines.get(name))
        requested[name] = Symbol(name, value, origin)
    for name, value in variant.extra_symbols.items():
        origin = origins.get(f"extra_symbols.{name}", Origin("configs/variants", None))
        if not _SYMBOL.match(name):
            raise ConfigError(
                config.root / origin.file, origin.line,
                f"extra_symbols: {name!r} is not the name of a Buildroot symbol",
                hint="write it as in Buildroot's .config: BR2_PACKAGE_HTOP: y",
            )  # fmt: skip
        if any(ord(letter) < 32 for letter in value):
            raise ConfigError(
                config.root / origin.file, origin.line,
                f"extra_symbols: the value of {name} has a line break or control character",
            )  # fmt: skip
        requested[name] = Symbol(name, _value(value), origin)
    return dict(sorted(requested.items()))


def defconfig(config: Config, variant_name: str) -> str:
    """The text of a variant's Buildroot defconfig."""
    lines = [_header("#", DEFCONFIG_TEMPLATE, variant_name)]
    for symbol in symbols(config, variant_name).values():
        if symbol.origin.file.startswith("configs/variants"):
            lines.append(f"# from {symbol.origin}\n")  # read by br2-external/check-config.sh
        lines.append(f"{symbol}\n")
    return "".join(lines)


def board_config(config: Config, variant_name: str) -> str:
    """The text of a variant's BoardConfig file for the SDK's build.sh."""
    text = _render(_checked(config, variant_name), BOARD_CONFIG_TEMPLATE)
    lines = [line.rstrip() for line in text.splitlines()]
    head = "#!/bin/bash\n" + _header("#", BOARD_CONFIG_TEMPLATE, variant_name)
    return head + "".join(f"{line}\n" for line in lines if line)


def files(config: Config, variant_name: str) -> dict[Path, str]:
    """What is rendered for a variant: ``{path below the tree's top: text}``."""
    return {
        CONFIGS / defconfig_name(variant_name): defconfig(config, variant_name),
        CONFIGS / board_config_name(variant_name): board_config(config, variant_name),
    }


def write(config: Config, variant_names: Iterable[str]) -> list[Path]:
    """Render and write; returns the paths. A file that is right already is not touched."""
    paths = []
    for name in variant_names:
        for relative, text in files(config, name).items():
            path = config.root / relative
            if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
                write_text(path, text)
            paths.append(path)
    return paths


def check(config: Config, variant_names: Iterable[str]) -> None:
    """Raise CheckFailed with a diff for each rendered file that is missing or was edited."""
    problems = []
    for name in variant_names:
        for relative, text in files(config, name).items():
            path = config.root / relative
            if not path.is_file():
                problems.append(f"{relative}: not rendered yet")
                continue
            actual = path.read_text(encoding="utf-8", errors="replace")
            problems.extend(
                line.rstrip("\n")
                for line in difflib.unified_diff(
                    actual.splitlines(), text.splitlines(), f"{relative} (as it is)",
                    f"{relative} (as rendered)", lineterm="",
                )
            )  # fmt: skip
    if problems:
        shown = "\n".join(problems)
        raise CheckFailed(
            f"what is in {CONFIGS} is not what the variants say:\n{shown}\n"
            "  hint: put your change into configs/variants/, then run invoke render"
        )


def parse_line(line: str) -> tuple[str, str] | None:
    """Name and value of one line of a defconfig or .config; None for anything else."""
    if match := _SET.match(line):
        return match[1], match[2]
    if match := _UNSET.match(line):
        return match[1], "n"
    return None


def _checked(config: Config, variant_name: str) -> Target:
    target = Target.of(config, variant_name)
    if not target.board.buildroot:
        raise UserError(
            f"variant {target.name} is built without Buildroot (backend {target.board.backend}), "
            "so there is nothing to render for it",
            hint=f"these are rendered: {', '.join(renderable(config))}",
        )
    capacity.check_packages(target)
    return target


def _render(target: Target, template: str) -> str:
    path = target.config.root / TEMPLATES / template
    try:
        return (
            _environment(path.parent)
            .get_template(template)
            .render(
                board=target.board,
                variant=target.variant,
                cma_mib=target.cma_mib,
                partitions=target.partitions,
            )
        )
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(path, error.lineno, f"bad template: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise UserError(
            f"could not find the template {path}",
            hint="git checkout configs/templates brings it back",
        ) from error
    except jinja2.UndefinedError as error:
        raise ConfigError(path, None, f"bad template: {error.message}") from error


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["symbol"] = lambda name: _underscores(name).upper()
    environment.filters["onoff"] = lambda name, on: f"{name}=y" if on else f"# {name} is not set"
    return environment


def _template_lines(path: Path) -> dict[str, int]:
    """The line of a template on which each symbol is written."""
    lines: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for name in re.findall(r"BR2_[A-Za-z0-9_]+", line):
            lines.setdefault(name, number)
    return lines


def _not_a_symbol(template: Path, line: str) -> tuple[str, str]:
    raise ConfigError(template, None, f"rendered a line that is no Buildroot symbol: {line!r}")


def _value(text: str) -> str:
    """A value as Kconfig writes it: y, n, numbers and quoted text stay, other text is quoted."""
    if text in ("y", "n") or re.fullmatch(r"-?[0-9]+|0x[0-9a-fA-F]+|\".*\"", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _underscores(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def _header(mark: str, template: str, variant: str) -> str:
    return (
        f"{mark} Rendered from {TEMPLATES.as_posix()}/{template} for variant {variant}: "
        "do not edit.\n"
        f"{mark} Change configs/variants/{variant}.yml, then run: invoke render\n"
    )
