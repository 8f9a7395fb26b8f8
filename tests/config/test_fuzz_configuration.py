"""Bad bytes in YAML files: a configuration or a UserError, never another exception or a hang."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pico_image.base.errors import ConfigError, UserError
from pico_image.base.files import ROOT
from pico_image.config import configuration
from tests.support.mutations import EDITS, edited


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """configs/ with fewer sources and variants, so that an example takes no 100 ms."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "configs", root / "configs")
    sources = root / "configs/sources.yml"
    text = sources.read_text()
    sources.write_text(text[: text.index("\n  xnnpack:") + 1])
    for path in (root / "configs").glob("*/luckfox-*.yml"):
        path.unlink()
    for name in ("mobilenet-v2", "mobilenet-v2-random", "dense-control"):
        (root / f"configs/models/{name}.yml").unlink()
    configuration.load(root)
    return root


#: Values that are something else in YAML than they look, or that its parser stumbles over.
VALUES = st.sampled_from(
    [
        *("~", "[]", "{}", "[a]", "{a: b}", "''", "-1", "1e999", ".nan", "0x", "1_0", "yes"),
        *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary é", "!!set {a}"),
        *("!!python/object:os.system x", "&a [*a]", "*b", "<<: 1", "? [a]", "2001-99-99", "|", ">"),
        *(
            "9" * 5000,
            "[" * 400,
            "'",
            '"\\x',
            "%YAML 9",
            "--- a\n--- b",
            "\t",
            "\x00",
            "é",
            "\ud7ff",
        ),
    ]
)
FILES = st.sampled_from(
    [
        *("boards/emulator.yml", "sources.yml"),
        *("models/efficientnet-lite0.yml", "variants/emulator.yml"),
    ]
)


def load(tree: Path, name: str, data: bytes) -> None:
    path = tree / "configs" / name
    good = path.read_bytes()
    path.write_bytes(data)
    try:
        configuration.load(tree)
    except ConfigError as error:
        assert str(error).startswith(str(tree)), "the file is not named"
    except UserError:
        pass
    finally:
        path.write_bytes(good)


@settings(max_examples=90)
@given(name=FILES, line=st.floats(0, 1, exclude_max=True), value=VALUES, key=st.booleans())
def test_configuration_with_another_value(
    tree: Path, name: str, line: float, value: str, key: bool
) -> None:
    lines = (tree / "configs" / name).read_text().splitlines()
    at = int(line * len(lines))
    if key:
        lines[at] = re.sub(r"[^\s:-][^:]*:", lambda _: f"{value}:", lines[at], count=1)
    else:
        lines[at] = re.sub(r"(:|-)\s.*|:$", lambda m: f"{m[0][0]} {value}", lines[at], count=1)
    load(tree, name, "\n".join(lines).encode("utf-8", "surrogatepass"))


@settings(max_examples=60)
@given(name=FILES, edits=EDITS)
def test_configuration_with_other_bytes(
    tree: Path, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    load(tree, name, edited((tree / "configs" / name).read_bytes(), edits))


@pytest.mark.parametrize(
    "value", ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "[a]\nextends: [a]"]
)
def test_a_yaml_tag_that_does_not_fit_names_its_line(tree: Path, value: str) -> None:
    path = tree / "configs/variants/zzz.yml"
    path.write_text(f"---\ntitle: a\nboard: {value}\n")
    try:
        with pytest.raises(ConfigError, match=r"zzz\.yml:[34]: "):
            configuration.load(tree)
    finally:
        path.unlink()


def test_a_yaml_bomb_is_refused_at_once(tree: Path) -> None:
    """Nine aliases of nine aliases of ...: 400 bytes that are 3 thousand million values."""
    path = tree / "configs/variants/zzz.yml"
    rows = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(["a0: &a0 x", *rows]) + "\n")
    try:
        with pytest.raises(ConfigError, match="more than"):
            configuration.load(tree)
    finally:
        path.unlink()
