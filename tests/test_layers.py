"""The rooms: who imports whom, circles, names and sizes, against the table in support/layers.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pico_image.base.files import ROOT
from tests.support import layers

MAX_MODULES = 111
MAX_CHAIN = 9
#: Functions with more than six parameters. Four are tasks: their parameters are flags.
MAX_OVER_SIX = 5


@pytest.fixture(scope="module")
def modules() -> dict[str, layers.Module]:
    return layers.read_modules(ROOT / "pico_image")


def test_imports_keep_the_rules(modules: dict[str, layers.Module]) -> None:
    assert {layers.room_of(name) for name in modules if name} == set(layers.ROOMS)
    assert not list(layers.forbidden_imports(modules))


def test_no_circles(modules: dict[str, layers.Module]) -> None:
    edges = layers.package_edges(modules)
    assert not layers.circles(edges)
    assert len(layers.longest_chain(edges)) <= MAX_CHAIN, layers.longest_chain(edges)
    assert not list(layers.module_circles(modules))


def test_names(modules: dict[str, layers.Module]) -> None:
    assert not list(layers.bad_names(modules))


def test_sizes(modules: dict[str, layers.Module]) -> None:
    with_code = [name for name, module in modules.items() if module.has_code]
    assert len(with_code) <= MAX_MODULES
    over = [function for module in modules.values() for function in module.over]
    assert len(over) <= MAX_OVER_SIX, f"more than six parameters: {', '.join(over)}"


def test_app_keeps_the_rules() -> None:
    uses = layers.read_app(ROOT / "app")
    assert not list(layers.forbidden_includes(uses))
    assert not list(layers.app_circles(uses))


def imports_across(tests: Path) -> list[str]:
    """Test packages that import from another one; what they share lies in tests/support."""
    found = []
    for path in sorted(tests.glob("*/*.py")):
        own = path.parent.name
        for package in re.findall(r"^ *from tests\.(\w+)", path.read_text(encoding="utf-8"), re.M):
            if package not in (own, "support") and (tests / package).is_dir():
                found.append(f"{own}/{path.name} imports from {package}")
    return found


def test_test_packages_import_support_alone() -> None:
    assert imports_across(ROOT / "tests") == []


def test_document_shows_the_table() -> None:
    text = layers.DOCUMENT.read_text(encoding="utf-8")
    assert text == layers.with_block(text), "run: python -m tests.support.layers"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_it_catches_what_python_breaks(tmp_path: Path) -> None:
    """A checker that never complains is no checker."""
    long = ", ".join(f"p{number}" for number in range(7))
    top = write(
        tmp_path,
        {
            "__init__.py": '"""Only words."""\n',
            "base/files.py": "def f():\n    from pico_image.card import flash\n",
            "card/flash.py": "from pico_image.card.env import a\nimport pico_image.base.files\n",
            "card/env.py": "from pico_image.card import flash\n",
            "card/card_reader.py": f"def read(self, {long}): ...\nclass MediaGate: ...\n",
            "image/flash.py": "class Kinship: ...\n",
            "models/worker/main.py": "import pico_image.models.convert as convert\n",
            "models/convert.py": "import pico_image.models.worker.main\n",
        },
    )
    modules = layers.read_modules(top)
    assert [rule for rule, _ in layers.forbidden_imports(modules)] == [
        "base imports card",
        "models.worker imports models",
    ]
    assert ("card.env, card.flash") in [where for _, where in layers.module_circles(modules)]
    assert ["base", "card"] in layers.circles(layers.package_edges(modules))
    assert set(layers.bad_names(modules)) == {
        "card.card_reader repeats the name of its folder",
        "card.flash and image.flash have one name",
        "image.flash: Kinship is named kinship",
    }
    assert modules["card.card_reader"].over == ["card.card_reader.read"]
    assert not modules[""].has_code and modules["card.env"].has_code


def test_it_catches_what_c_breaks(tmp_path: Path) -> None:
    top = write(
        tmp_path,
        {
            "common/one.h": '#include "two.h"\n',
            "common/two.h": '#include "one.h"\nint decode(void);\nint fail(void);\n',
            "common/decode.c": '#include "two.h"\nint decode(void)\n{\n    return fail();\n}\n',
            "common/error.c": '#include "two.h"\nint fail(void) {\n    return decode();\n}\n',
            "common/bad.c": '#include "npu.h"\n// decode() is only named here\n',
            "npu/npu.h": "",
        },
    )
    uses = layers.read_app(top)
    assert [rule for rule, _ in layers.forbidden_includes(uses)] == ["app/common uses app/npu"]
    assert list(layers.app_circles(uses)) == [
        ("circle in app/common", "common/decode.c, common/error.c"),
        ("circle in app/common", "common/one.h, common/two.h"),
    ]


def test_longest_chain() -> None:
    edges = {"tasks": {"image", "base"}, "image": {"base"}, "base": set[str]()}
    assert layers.longest_chain(edges) == ["tasks", "image", "base"]


def test_it_catches_test_packages_that_import_each_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "card/test_flash.py": "from tests.support import arm\nfrom tests.card import x\n",
            "image/test_build.py": "    from tests.card.test_flash import loop\n",
        },
    )
    assert imports_across(tmp_path) == ["image/test_build.py imports from card"]
