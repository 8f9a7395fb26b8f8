"""Requested = actual: dropped symbols are found, located and explained."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pico_image.base.errors import UserError
from pico_image.base.files import ROOT
from pico_image.config import kconfig
from pico_image.config.configuration import Origin
from pico_image.config.kconfig import Tree, evaluate
from pico_image.config.render import Symbol

CONFIG_IN = """\
menu "Packages"
\tdepends on BR2_HAVE_PACKAGES

config BR2_PACKAGE_PLAIN
\tbool "plain"
\tselect BR2_PACKAGE_LIB if BR2_USE_LIB
\thelp
\t  A program.
\t  if you read this as a condition, everything below is wrong
\t  config BR2_PACKAGE_IN_HELP

comment "plain needs the moon"
\tdepends on BR2_MOON

config BR2_PACKAGE_GLIBC_ONLY
\tbool "glibc only" # not for others
\tdepends on BR2_TOOLCHAIN_USES_GLIBC || \\
\t\tBR2_FORCE
\tdepends on BR2_INSTALL_LIBSTDCPP

if BR2_PACKAGE_PLAIN

config BR2_PACKAGE_PLAIN_EXTRA
\tbool "extra"

endif

endmenu

config BR2_PACKAGE_LIB
\tbool "lib"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Config.in").write_text(CONFIG_IN)
    return tmp_path


def asked(name: str, value: str = "y") -> dict[str, Symbol]:
    return {name: Symbol(name, value, Origin("configs/variants/mine.yml", 7))}


BASE = "BR2_HAVE_PACKAGES=y\nBR2_INSTALL_LIBSTDCPP=y\n"


def test_nothing_to_say_when_all_was_taken(folder: Path) -> None:
    requested = asked("BR2_PACKAGE_PLAIN") | asked("BR2_PACKAGE_LIB", "n")
    kconfig.check(requested, BASE + "BR2_PACKAGE_PLAIN=y\n", [folder])


@pytest.mark.parametrize(
    ("name", "value", "dotconfig", "reason"),
    [
        ("BR2_PACKAGE_PLIAN", "y", BASE, "knows no such symbol; did you mean BR2_PACKAGE_PLAIN?"),
        ("BR2_PACKAGE_PLAIN", "y", "", "depends on BR2_HAVE_PACKAGES, which"),
        (
            "BR2_PACKAGE_GLIBC_ONLY",
            "y",
            BASE + "# BR2_PACKAGE_GLIBC_ONLY is not set\n",
            r"is n: it depends on BR2_TOOLCHAIN_USES_GLIBC \|\| +BR2_FORCE, which",
        ),
        ("BR2_PACKAGE_PLAIN_EXTRA", "y", BASE, "depends on BR2_PACKAGE_PLAIN, which"),
        (
            "BR2_PACKAGE_LIB",
            "n",
            BASE + "BR2_PACKAGE_PLAIN=y\nBR2_USE_LIB=y\nBR2_PACKAGE_LIB=y\n",
            "is y: it is selected by BR2_PACKAGE_PLAIN",
        ),
        ("BR2_JLEVEL", "4", BASE + "BR2_JLEVEL=2\n", "asked to be 4, is 2"),
    ],
)
def test_a_dropped_symbol_is_located_and_explained(
    folder: Path, name: str, value: str, dotconfig: str, reason: str
) -> None:
    with pytest.raises(UserError, match=rf"mine\.yml:7: {name} (?s:.*){reason}") as caught:
        kconfig.check(asked(name, value), dotconfig, [folder])
    assert "moon" not in str(caught.value).lower()


def test_without_trees_the_fact_alone_is_told() -> None:
    (difference,) = kconfig.compare(asked("BR2_PACKAGE_PLAIN"), "")
    assert str(difference).endswith("was asked to be y, is absent")


def test_help_text_is_no_syntax(folder: Path) -> None:
    tree = Tree.read([folder])
    assert "BR2_PACKAGE_IN_HELP" not in tree.entries
    assert tree.entries["BR2_PACKAGE_LIB"].depends == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("A", True),
        ("!A", False),
        ("A && !B", True),
        ("B || (A && !(B))", True),
        ("B && A || A", True),
        ('S = "text"', True),
        ('S != "text"', False),
        ("MISSING", False),
        ("$(shell,x)", None),
        ("A &&", None),
        ("(A", None),
        ("A B", None),
    ],
)
def test_expressions(expression: str, expected: bool | None) -> None:
    assert evaluate(expression, {"A": "y", "B": "n", "S": '"text"'}) is expected


@given(st.text())
def test_no_expression_breaks_the_reader(text: str) -> None:
    assert evaluate(text, {}) in (True, False, None)


def test_changes_become_lines_for_a_variant() -> None:
    before = 'BR2_A=y\nBR2_B="old"\nBR2_GONE="text"\nBR2_OFF=y\n'
    after = 'BR2_A=y\nBR2_B="it\'s \\"new\\""\nBR2_C=y\n# BR2_D is not set\nBR2_N=5\n'
    changed = kconfig.changes(before, after)
    assert changed == {
        "BR2_B": '"it\'s \\"new\\""',
        "BR2_C": "y",
        "BR2_D": "n",
        "BR2_N": "5",
        "BR2_OFF": "n",
    }
    assert yaml.safe_load(kconfig.as_variant_lines(changed)) == {
        "extra_symbols": {
            "BR2_B": 'it\'s "new"',
            "BR2_C": "y",
            "BR2_D": "n",
            "BR2_N": "5",
            "BR2_OFF": "n",
        }
    }
    assert kconfig.as_variant_lines({}) == ""


CHECK = ROOT / "br2-external/check-config.sh"


@pytest.mark.parametrize(
    ("asked", "actual", "found"),
    [
        ("BR2_A=y\n# BR2_B is not set\n", 'BR2_A=y\nBR2_C="x"\n', []),
        ("BR2_A=y\n# BR2_B is not set\n", "BR2_A=y\n# BR2_B is not set\n", []),
        ("BR2_A=y\n", "# BR2_A is not set\n", ["{0}:1: BR2_A was asked to be y, is n"]),
        (
            "# from mine.yml:9\nBR2_A=y\nBR2_B=y\n",
            "BR2_AA=y\n",
            [
                "mine.yml:9: BR2_A was asked to be y, is absent (no such symbol, or a dependency "
                "is missing)",
                "{0}:3: BR2_B was asked to be y, is absent (no such symbol, or a dependency is "
                "missing)",
            ],
        ),
        ("# BR2_A is not set\n", "BR2_A=y\n", ["{0}:1: BR2_A was asked to be n, is y"]),
        (
            'BR2_S="a b=c"\nBR2_I=5\n',
            'BR2_S="a b"\nBR2_I=5\n',
            ['{0}:1: BR2_S was asked to be "a b=c", is "a b"'],
        ),
    ],
)
@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_the_check_inside_buildroot(
    tmp_path: Path, shell: str, asked: str, actual: str, found: list[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "defconfig").write_text(asked)
    (tmp_path / ".config").write_text(actual)
    files = [str(tmp_path / "defconfig"), str(tmp_path / ".config")]
    command = [shell, "ash"] if shell == "busybox" else [shell]
    answer = subprocess.run(
        [*command, str(CHECK), *files], capture_output=True, text=True, check=False
    )
    assert answer.stdout.splitlines() == [line.format(files[0]) for line in found]
    assert answer.returncode == (1 if found else 0), answer.stderr


KCONFIG = """\
config BR2_PACKAGE_A
\tbool "a"
\tdepends on BR2_X && !BR2_STATIC_LIBS # dlopen
\tdepends on BR2_FIRST || \\
\t\tBR2_SECOND
\tselect BR2_PACKAGE_OTHER
\thelp
\t  depends on nothing that is told here

comment "a needs a toolchain w/ x"
\tdepends on !BR2_Z

config BR2_PACKAGE_AB
\tdepends on BR2_Y
"""


@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_the_check_inside_buildroot_tells_what_is_missing(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/Config.in").write_text(KCONFIG)
    (tmp_path / "defconfig").write_text("BR2_PACKAGE_A=y\nBR2_PACKAGE_AC=y\nBR2_PACKAGE_AB=y\n")
    (tmp_path / ".config").write_text("BR2_STATIC_LIBS=y\n")
    command = [shell, "ash"] if shell == "busybox" else [shell]
    answer = subprocess.run(
        [*command, str(CHECK), "defconfig", ".config", "package"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line.partition(", is absent ")[2] for line in answer.stdout.splitlines()] == [
        "(it depends on BR2_X, !BR2_STATIC_LIBS, BR2_FIRST || BR2_SECOND, see package/Config.in)",
        "(Buildroot has no such symbol)",
        "(it depends on BR2_Y, see package/Config.in)",
    ]
    assert answer.returncode == 1 and not answer.stderr


def test_the_check_inside_buildroot_needs_both_files(tmp_path: Path) -> None:
    command = ["sh", str(CHECK), str(tmp_path / "a"), str(tmp_path / "b")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2 and "could not read" in answer.stderr
